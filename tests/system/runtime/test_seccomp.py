"""linux.seccomp: what each action does, conditions on arguments, and listeners."""

from __future__ import annotations

import errno
import json
import os
import platform
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from ..bundle import Bundle
from ..runtimes import Container

OURS = "wherry-runtime"
ARCHITECTURE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}[platform.machine()]
GETPRIORITY = {"x86_64": "140", "aarch64": "141"}[platform.machine()]
# What a runtime and a small static program need, and some more; getpriority is not among them.
NEEDED = tuple(
    """
access arch_prctl brk capget capset chdir clock_nanosleep clone clone3 close close_range dup dup2
dup3 epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd2 execve execveat exit
exit_group faccessat faccessat2 fchdir fchown fchownat fcntl fstat fstatfs futex getcwd getdents64
getegid geteuid getgid getpid getppid getrandom getsid gettid getuid ioctl kill lseek lstat madvise
mkdirat mmap mount mprotect munmap nanosleep newfstatat open openat openat2 pipe2 poll ppoll prctl
prlimit64 pselect6 read readlink readlinkat readv recvfrom recvmsg rseq rt_sigaction rt_sigprocmask
rt_sigreturn sched_getaffinity sched_yield seccomp select sendmsg sendto set_robust_list
set_tid_address setgid setgroups setresgid setresuid setsid setuid sigaltstack stat statfs statx
tgkill umask umount2 uname unlink unlinkat wait4 waitid write writev
    """.split()  # noqa: SIM905 (a table)
)
MASKS = 0xFFFF_FFFF_0000_0000


def filter_of(bundle: Bundle, *rules: dict[str, Any], **more: Any) -> None:
    """Everything is allowed but what the rules say."""
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [ARCHITECTURE],
        "syscalls": list(rules),
    } | more


def rule(action: str, *names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names) or ["getpriority"], "action": action} | more


def call(probe: Bundle, *arguments: int) -> None:
    """Make the container call getpriority, which no libc start-up needs."""
    probe.args("probe", "call", GETPRIORITY, *map(str, arguments or (0, 0)))


def test_an_error(container: Container, probe: Bundle) -> None:
    filter_of(probe, rule("SCMP_ACT_ERRNO"))
    call(probe)
    assert container.output() == f"{-errno.EPERM}\n"


@pytest.mark.parametrize("number", [0, errno.ENOSYS, errno.EXDEV, 4095])
def test_an_error_of_ones_own(container: Container, probe: Bundle, number: int, only) -> None:
    only(OURS, *([] if number == 4095 else ["runc", "crun"]))  # libseccomp refuses the last one
    filter_of(probe, rule("SCMP_ACT_ERRNO", errnoRet=number))
    call(probe)
    # libc takes -4095 … -1 for errors; 0 looks like success.
    assert container.output() == f"{-number}\n"


def test_the_others_are_not_touched(container: Container, probe: Bundle) -> None:
    filter_of(probe, rule("SCMP_ACT_ERRNO", "getsid"))
    call(probe)
    assert int(container.output()) > 0


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"])
def test_deadly_actions(container: Container, probe: Bundle, action: str) -> None:
    filter_of(probe, rule(action))
    call(probe)
    assert container.run(check=False).status == 128 + signal.SIGSYS
    assert container.stdout == ""


@pytest.mark.parametrize("action", ["SCMP_ACT_LOG", "SCMP_ACT_ALLOW"])
def test_harmless_actions(container: Container, probe: Bundle, action: str) -> None:
    filter_of(probe, rule(action))
    call(probe)
    assert int(container.output()) > 0


def test_tracing_without_a_tracer(container: Container, probe: Bundle) -> None:
    filter_of(probe, rule("SCMP_ACT_TRACE"))
    call(probe)
    assert container.output() == f"{-errno.ENOSYS}\n"


def test_the_default_action(container: Container, probe: Bundle) -> None:
    """Everything a static program needs is allowed; getpriority is not."""
    filter_of(probe, rule("SCMP_ACT_ALLOW", *NEEDED), defaultAction="SCMP_ACT_ERRNO")
    call(probe)
    assert container.output() == f"{-errno.EPERM}\n"


def test_the_default_error(container: Container, probe: Bundle) -> None:
    filter_of(probe, rule("SCMP_ACT_ALLOW", *NEEDED), defaultAction="SCMP_ACT_ERRNO", defaultErrnoRet=77)
    call(probe)
    assert container.output() == "-77\n"


@pytest.mark.parametrize(
    ("operator", "value", "value_two", "hits", "misses"),
    [
        ("SCMP_CMP_EQ", 5, None, [5], [4, 6, 5 + (1 << 32)]),
        ("SCMP_CMP_NE", 5, None, [4, 5 + (1 << 32)], [5]),
        ("SCMP_CMP_LT", 5, None, [0, 4], [5, 6, 1 << 32]),
        ("SCMP_CMP_LE", 5, None, [4, 5], [6, 1 << 32]),
        ("SCMP_CMP_GT", 5, None, [6, 1 << 32], [4, 5]),
        ("SCMP_CMP_GE", 5, None, [5, 6, 1 << 32], [4]),
        ("SCMP_CMP_EQ", 5 + (1 << 32), None, [5 + (1 << 32)], [5]),
        ("SCMP_CMP_LE", 1 << 32, None, [5, 1 << 32], [(1 << 32) + 1, 2 << 32]),
        ("SCMP_CMP_MASKED_EQ", 0xF0, 0x50, [0x50, 0x5F, 0x150], [0x40, 0xF0]),
        ("SCMP_CMP_MASKED_EQ", MASKS, 0, [1, 0xFFFF_FFFF], [1 << 32]),
    ],
)
def test_conditions(container, make_container, probe: Bundle, operator, value, value_two, hits, misses) -> None:
    condition = {"index": 1, "value": value, "op": operator}
    if value_two is not None:
        condition["valueTwo"] = value_two
    filter_of(probe, rule("SCMP_ACT_ERRNO", args=[condition], errnoRet=77))
    lines = "; ".join(f"probe call {GETPRIORITY} 9 {argument}" for argument in [*hits, *misses])
    probe.shell(lines)
    results = [int(line) == -77 for line in container.output().splitlines()]
    assert results == [True] * len(hits) + [False] * len(misses)


def test_all_conditions_of_a_rule_must_hold(container: Container, probe: Bundle) -> None:
    conditions = [{"index": index, "value": 9, "op": "SCMP_CMP_EQ"} for index in (0, 1)]
    filter_of(probe, rule("SCMP_ACT_ERRNO", args=conditions, errnoRet=77))
    probe.shell(f"probe call {GETPRIORITY} 9 9; probe call {GETPRIORITY} 9 8; probe call {GETPRIORITY} 8 9")
    assert [line == "-77" for line in container.output().splitlines()] == [True, False, False]


def test_any_rule_of_a_call_may_hold(container: Container, probe: Bundle) -> None:
    filter_of(
        probe,
        *(
            rule("SCMP_ACT_ERRNO", args=[{"index": 1, "value": n, "op": "SCMP_CMP_EQ"}], errnoRet=70 + n)
            for n in (3, 5)
        ),
    )
    probe.shell("; ".join(f"probe call {GETPRIORITY} 9 {n}" for n in (3, 4, 5)))
    first, other, second = container.output().split()
    assert (first, second) == ("-73", "-75")
    assert other not in ("-73", "-75")


def test_unknown_calls_are_passed_over(container: Container, probe: Bundle) -> None:
    filter_of(probe, rule("SCMP_ACT_ERRNO", "call_of_tomorrow", "getpriority"))
    call(probe)
    assert container.output() == f"{-errno.EPERM}\n"


def test_a_call_newer_than_the_profile_does_not_exist(container: Container, probe: Bundle, only) -> None:
    """A profile that names nothing newer gives ENOSYS for the newest calls, so that programs fall back."""
    only(OURS, "runc")
    filter_of(probe, rule("SCMP_ACT_ALLOW", *NEEDED), defaultAction="SCMP_ACT_ERRNO")
    probe.args("probe", "call", "9000")
    assert container.output() == f"{-errno.ENOSYS}\n"


def test_the_filter_is_there(container: Container, probe: Bundle) -> None:
    filter_of(probe, rule("SCMP_ACT_ERRNO"))
    probe.args("grep", "Seccomp", "/proc/self/status")
    assert container.output().split()[:2] == ["Seccomp:", "2"]


@pytest.mark.parametrize(
    "flag", ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"]
)
def test_flags(container: Container, probe: Bundle, flag: str, only) -> None:
    only(OURS, *([] if flag.endswith("TSYNC") else ["crun"]))
    filter_of(probe, rule("SCMP_ACT_ERRNO"), flags=[flag])
    call(probe)
    assert container.output() == f"{-errno.EPERM}\n"


@pytest.mark.parametrize("no_new", [True, False])
def test_with_and_without_new_privileges(container: Container, probe: Bundle, no_new: bool) -> None:
    """Without no_new_privs the filter is loaded while the process may still do it: as root of any kind of user."""
    filter_of(probe, rule("SCMP_ACT_ERRNO"))
    call(probe)
    probe.process["noNewPrivileges"] = no_new
    probe.process["user"] = {"uid": 1000, "gid": 1000}
    probe.process["capabilities"] = {}
    assert container.output() == f"{-errno.EPERM}\n"


def test_exec_is_filtered_too(container: Container, probe: Bundle) -> None:
    filter_of(probe, rule("SCMP_ACT_ERRNO"))
    probe.args("sleep", "1000")
    container.create()
    container.start()
    assert container.exec("probe", "call", GETPRIORITY, "0", "0").stdout == f"{-errno.EPERM}\n"


@pytest.mark.parametrize(
    ("seccomp", "word"),
    [
        ({"defaultAction": "SCMP_ACT_NONSENSE"}, "defaultAction"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_ABACUS"]}, "architectures"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "X"}]}, "syscalls[0].action"),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["read"], "action": "SCMP_ACT_KILL", "errnoRet": 1}],
            },
            "syscalls[0].errnoRet",
        ),
        ({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]}, "flags"),
    ],
)
def test_wrong_filters(container: Container, seccomp: dict[str, Any], word: str) -> None:
    container.bundle.linux["seccomp"] = seccomp
    result = container.create(check=False)
    if container.runtime.dialect != OURS:
        return  # the peers pass over some of these, or say it in their own words
    assert result.status == 1
    assert f"linux.seccomp.{word}" in result.stderr


# Listeners


@pytest.fixture
def listener(place: Path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(place / "listener"))
        made.listen()
        made.settimeout(20)
        yield made


def test_a_listener_gets_the_descriptor_and_the_state(container: Container, probe: Bundle, place, listener) -> None:
    filter_of(
        probe,
        rule("SCMP_ACT_NOTIFY"),
        listenerPath=str(place / "listener"),
        listenerMetadata='of "ours"',
    )
    probe.args("sleep", "1000")
    probe.config["annotations"] = {"a": "b"}
    container.create()
    container.start()
    connection, _ = listener.accept()
    with connection:
        text, fds, _, _ = socket.recv_fds(connection, 1 << 16, 4)
    document = json.loads(text)
    assert document["fds"] == ["seccompFd"]
    assert len(fds) == 1
    assert os.readlink(f"/proc/self/fd/{fds[0]}") == "anon_inode:seccomp notify"
    assert document["metadata"] == 'of "ours"'
    assert document["pid"] == container.pid
    assert document["ociVersion"]
    state = document["state"]
    assert (state["id"], state["bundle"]) == (container.id, str(probe.path))
    assert state["annotations"] == {"a": "b"}
    if container.runtime.dialect != "runc":
        assert state["pid"] == container.pid
    os.close(fds[0])


def test_exec_sends_its_own_descriptor(container: Container, probe: Bundle, place, listener, only) -> None:
    only(OURS, "runc")
    filter_of(probe, rule("SCMP_ACT_NOTIFY"), listenerPath=str(place / "listener"))
    probe.args("sleep", "1000")
    container.create()
    container.start()
    first, _ = listener.accept()
    container.exec("true")
    second, _ = listener.accept()
    pids = []
    for connection in (first, second):
        with connection:
            text, fds, _, _ = socket.recv_fds(connection, 1 << 16, 4)
        pids.append(json.loads(text)["pid"])
        os.close(fds[0])
    assert pids[0] == container.pid
    assert pids[1] != pids[0]


def test_nobody_listens(container: Container, probe: Bundle, place: Path) -> None:
    filter_of(probe, rule("SCMP_ACT_NOTIFY"), listenerPath=str(place / "nobody"))
    assert container.run(check=False).status != 0


def test_no_listener_is_named(container: Container, probe: Bundle, only) -> None:
    only(OURS, "runc")
    filter_of(probe, rule("SCMP_ACT_NOTIFY"))
    assert container.create(check=False).status == 1


def test_the_calls_that_hand_the_descriptor_over_cannot_wait_for_it(
    container, probe: Bundle, place, listener, only
) -> None:
    only(OURS, "runc")
    filter_of(probe, rule("SCMP_ACT_NOTIFY", "write", "sendmsg"), listenerPath=str(place / "listener"))
    result = container.create(check=False)
    assert result.status == 1
