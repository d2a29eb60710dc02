"""process: working directory, environment, command, ids, limits, capabilities and other attributes."""

from __future__ import annotations

import os
import platform
import pty
import resource
import subprocess
from pathlib import Path

import pytest

from ..bundle import Bundle
from ..runtimes import Container, Runtime
from .console import ConsoleSocket, Terminal

OURS = "wherry-runtime"
CAPABILITY_SETS = {
    "bounding": "CapBnd",
    "effective": "CapEff",
    "permitted": "CapPrm",
    "inheritable": "CapInh",
    "ambient": "CapAmb",
}
KILL, NET_BIND_SERVICE, AUDIT_WRITE = 1 << 5, 1 << 10, 1 << 29


def status_of(container: Container) -> dict[str, str]:
    """/proc/self/status of a process of the container."""
    container.bundle.args("cat", "/proc/self/status")
    lines = container.output().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


# Working directory


def test_working_directory(container: Container) -> None:
    container.bundle.process["cwd"] = "/tmp"
    assert container.output("pwd; readlink /proc/self/cwd") == "/tmp\n/tmp\n"


def test_working_directory_through_a_link_of_the_container(container: Container) -> None:
    (container.bundle.rootfs / "work").symlink_to("/tmp")
    container.bundle.process["cwd"] = "/work"
    assert container.output("readlink /proc/self/cwd") == "/tmp\n"


def test_a_missing_working_directory_is_made(container: Container, only) -> None:
    only(OURS, "runc")
    container.bundle.process["cwd"] = "/var/new/work"
    assert container.output("readlink /proc/self/cwd") == "/var/new/work\n"


def test_working_directory_that_only_the_user_may_enter(container: Container) -> None:
    home = container.bundle.rootfs / "home"
    home.mkdir(mode=0o700)
    os.chown(home, 1000, 1000)
    container.bundle.process.update({"cwd": "/home", "user": {"uid": 1000, "gid": 1000}})
    assert container.output("readlink /proc/self/cwd") == "/home\n"


def test_working_directory_that_is_a_file(container: Container) -> None:
    container.bundle.process["cwd"] = "/etc/passwd"
    result = container.create(check=False)
    assert result.status == 1
    assert not container.exists


# Environment


def test_environment_is_exactly_what_is_given(container: Container) -> None:
    container.bundle.process["env"] = ["PATH=/bin", "HOME=/here", "A=1", "EMPTY=", "SPACE=a b=c"]
    container.bundle.args("env")
    lines = set(container.output(None).splitlines())
    assert lines == {"PATH=/bin", "HOME=/here", "A=1", "EMPTY=", "SPACE=a b=c"}


def test_the_hosts_environment_stays_outside(container: Container) -> None:
    container.bundle.shell("env")
    assert "SECRET" not in container.run(env={"SECRET": "x"}).stdout


def test_the_last_of_two_values_counts(container: Container) -> None:
    container.bundle.process["env"] += ["TWICE=first", "TWICE=second"]
    assert container.output("echo $TWICE") == "second\n"


@pytest.mark.parametrize(
    ("uid", "given", "home"),
    [
        (0, None, "/root"),
        (1000, None, "/home/alice"),
        (4321, None, "/"),
        (1000, "/given", "/given"),
    ],
)
def test_home(container: Container, only, uid: int, given: str | None, home: str) -> None:
    only(OURS, "runc", *(["crun"] if uid != 4321 else []))  # crun leaves it empty for an unknown user
    container.bundle.process["user"] = {"uid": uid, "gid": uid}
    if given is not None:
        container.bundle.process["env"].append(f"HOME={given}")
    assert container.output("echo $HOME") == f"{home}\n"


def test_home_without_a_passwd_file(container: Container) -> None:
    (container.bundle.rootfs / "etc/passwd").unlink()
    assert container.output("echo $HOME") == "/\n"


def test_home_with_a_passwd_that_is_a_link_out_of_the_container(container: Container, place: Path) -> None:
    (place / "passwd").write_text("root:x:0:0:root:/stolen:/bin/sh\n")
    (container.bundle.rootfs / "etc/passwd").unlink()
    (container.bundle.rootfs / "etc/passwd").symlink_to(place / "passwd")
    assert container.output("echo $HOME") == "/\n"


# Command


def test_arguments_reach_the_command_unchanged(container: Container) -> None:
    container.bundle.args("sh", "-c", 'for a in "$@"; do echo "<$a>"; done', "sh", "a b", "", "*", "$HOME", "é\n")
    assert container.output() == "<a b>\n<>\n<*>\n<$HOME>\n<é\n>\n"


def test_command_is_found_in_the_containers_path(container: Container) -> None:
    tool = container.bundle.rootfs / "opt/own-tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho $0\n")
    tool.chmod(0o755)
    container.bundle.args("own-tool").process["env"] = ["PATH=/nothing:/opt:/bin"]
    assert container.output() == "/opt/own-tool\n"


def test_command_relative_to_the_working_directory(container: Container) -> None:
    container.bundle.args("./busybox", "echo", "here").process["cwd"] = "/bin"
    assert container.output() == "here\n"


def test_the_first_argument_stays_as_given(container: Container) -> None:
    container.bundle.args("sleep", "1000")
    container.create()
    container.start()
    assert Path(f"/proc/{container.pid}/cmdline").read_bytes() == b"sleep\x001000\x00"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("nothing-there", "nothing-there"),
        ("/nothing/there", "/nothing/there"),
        ("/etc/passwd", "ermission denied"),
        ("/tmp", "s a directory"),
    ],
)
def test_a_command_that_cannot_run_fails_creation(container: Container, only, command: str, words: str) -> None:
    only(OURS, "runc")
    container.bundle.args(command)
    result = container.create(check=False)
    if container.runtime.dialect == "runc":  # 1.1 finds some of these only at start
        return
    assert result.status in (1, 126, 127)
    assert words in result.stderr
    assert not container.exists


def test_engines_recognise_a_missing_command(container: Container) -> None:
    """podman gives 127 when one of these texts stands in the message."""
    container.bundle.args("nothing-there")
    result = container.run(check=False)
    assert result.status != 0
    text = result.stderr.lower()
    assert "executable file not found in" in text or "no such file or directory" in text


def test_a_script_without_an_interpreter_line(container: Container) -> None:
    script = container.bundle.rootfs / "bin/script"
    script.write_text("echo hello\n")
    script.chmod(0o755)
    container.bundle.args("/bin/script")
    result = container.run(check=False)
    assert result.status != 0
    assert "exec format error" in result.stderr.lower()


def test_standard_input_reaches_the_command(container: Container) -> None:
    container.bundle.args("cat")
    assert container.run(input="from outside").stdout == "from outside"


def test_standard_error_is_apart(container: Container) -> None:
    container.bundle.shell("echo out; echo err >&2")
    result = container.run()
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


# Ids


def test_user_and_group(container: Container) -> None:
    container.bundle.process["user"] = {"uid": 1000, "gid": 50}
    status = status_of(container)
    assert status["Uid"].split() == ["1000"] * 4
    assert status["Gid"].split() == ["50"] * 4


def test_no_group_of_the_caller_is_kept(container: Container) -> None:
    container.bundle.process["user"] = {"uid": 1000, "gid": 1000}
    assert status_of(container)["Groups"].split() in ([], ["1000"])


def test_additional_groups(container: Container) -> None:
    container.bundle.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5, 50, 2_000_000_000]}
    assert set(status_of(container)["Groups"].split()) - {"1000"} == {"5", "50", "2000000000"}


@pytest.mark.parametrize(("given", "umask"), [(None, "0022"), (0o077, "0077"), (0, "0000")])
def test_umask(container: Container, given: int | None, umask: str) -> None:
    if given is not None:
        container.bundle.process["user"]["umask"] = given
    assert status_of(container)["Umask"] == umask


# Limits

LIMITS = {
    "RLIMIT_CPU": (resource.RLIMIT_CPU, 100, 200),
    "RLIMIT_FSIZE": (resource.RLIMIT_FSIZE, 1 << 20, 1 << 30),
    "RLIMIT_DATA": (resource.RLIMIT_DATA, 1 << 30, 1 << 31),
    "RLIMIT_STACK": (resource.RLIMIT_STACK, 1 << 20, 1 << 22),
    "RLIMIT_CORE": (resource.RLIMIT_CORE, 0, 0),
    "RLIMIT_RSS": (resource.RLIMIT_RSS, 1 << 30, 1 << 31),
    "RLIMIT_NPROC": (resource.RLIMIT_NPROC, 500, 1000),
    "RLIMIT_NOFILE": (resource.RLIMIT_NOFILE, 100, 200),
    "RLIMIT_MEMLOCK": (resource.RLIMIT_MEMLOCK, 4096, 65536),
    "RLIMIT_AS": (resource.RLIMIT_AS, 1 << 31, 1 << 32),
    "RLIMIT_LOCKS": (10, 100, 200),
    "RLIMIT_SIGPENDING": (resource.RLIMIT_SIGPENDING, 100, 200),
    "RLIMIT_MSGQUEUE": (resource.RLIMIT_MSGQUEUE, 4096, 8192),
    "RLIMIT_NICE": (resource.RLIMIT_NICE, 0, 0),
    "RLIMIT_RTPRIO": (resource.RLIMIT_RTPRIO, 0, 0),
    "RLIMIT_RTTIME": (resource.RLIMIT_RTTIME, 1000, 2000),
}


def test_every_limit(container: Container) -> None:
    container.bundle.args("sleep", "1000").process["rlimits"] = [
        {"type": name, "soft": soft, "hard": hard} for name, (_, soft, hard) in LIMITS.items()
    ]
    container.create()
    container.start()
    given = {name: resource.prlimit(container.pid, number) for name, (number, _, _) in LIMITS.items()}
    assert given == {name: (soft, hard) for name, (_, soft, hard) in LIMITS.items()}


def test_a_limit_of_another_user(container: Container) -> None:
    """Set while the process still has the runtime's ids: later it takes rights that not every host gives."""
    container.bundle.process["user"] = {"uid": 1234, "gid": 1234}
    container.bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}]
    assert container.output("id -u; ulimit -n; ulimit -Hn") == "1234\n64\n128\n"


def test_limits_that_are_not_named_stay(container: Container) -> None:
    container.bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    soft, _ = resource.getrlimit(resource.RLIMIT_STACK)
    said = "unlimited" if soft == resource.RLIM_INFINITY else str(soft // 1024)
    assert container.output("ulimit -s") == f"{said}\n"


# Capabilities


@pytest.mark.parametrize("kept", CAPABILITY_SETS)
def test_each_capability_set_of_a_created_container(container: Container, only, kept: str) -> None:
    """Seen on the process that waits for `start`, where they can be told apart: an execve as root mixes them."""
    needs = {"bounding": ["bounding"], "effective": ["effective", "permitted"], "permitted": ["permitted"]}
    only(OURS, "crun")  # runc sets them just before execve
    sets = needs.get(kept, ["bounding", "permitted", "inheritable", kept])
    container.bundle.process["capabilities"] = {
        name: ["CAP_KILL", "CAP_AUDIT_WRITE"] if name in sets else [] for name in CAPABILITY_SETS
    }
    container.bundle.args("sleep", "1000")
    container.create()
    text = Path(f"/proc/{container.pid}/status").read_text()
    found = dict(line.split(":\t") for line in text.splitlines() if line.startswith("Cap"))
    assert {name: int(found[key], 16) for name, key in CAPABILITY_SETS.items()} == {
        name: KILL | AUDIT_WRITE if name in sets else 0 for name in CAPABILITY_SETS
    }


@pytest.mark.parametrize("no_new", [True, False])
def test_root_gets_the_bounding_set_unless_it_may_gain_nothing(container: Container, no_new: bool) -> None:
    container.bundle.process["noNewPrivileges"] = no_new
    container.bundle.process["capabilities"] = {
        "bounding": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
        "permitted": ["CAP_KILL"],
        "effective": ["CAP_KILL"],
    }
    status = status_of(container)
    assert int(status["CapBnd"], 16) == KILL | NET_BIND_SERVICE
    assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == KILL | (0 if no_new else NET_BIND_SERVICE)
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0


def test_users_get_the_ambient_set(container: Container) -> None:
    container.bundle.process["user"] = {"uid": 1000, "gid": 1000}
    everything = ["CAP_KILL", "CAP_NET_BIND_SERVICE"]
    container.bundle.process["capabilities"] = {
        "bounding": everything,
        "permitted": everything,
        "effective": everything,
        "inheritable": ["CAP_NET_BIND_SERVICE"],
        "ambient": ["CAP_NET_BIND_SERVICE"],
    }
    status = status_of(container)
    for name in ("CapEff", "CapPrm", "CapAmb", "CapInh"):
        assert int(status[name], 16) == NET_BIND_SERVICE, name
    assert int(status["CapBnd"], 16) == KILL | NET_BIND_SERVICE


def test_users_without_ambient_have_none(container: Container) -> None:
    container.bundle.process["user"] = {"uid": 1000, "gid": 1000}
    container.bundle.process["capabilities"].pop("ambient")
    status = status_of(container)
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0


def test_no_capabilities_at_all(container: Container, only) -> None:
    only(OURS, "crun")  # runc keeps its own when the document names none
    container.bundle.process.pop("capabilities")
    status = status_of(container)
    assert [int(status[key], 16) for key in CAPABILITY_SETS.values()] == [0] * 5


def test_unknown_capabilities_are_passed_over(container: Container, only) -> None:
    only(OURS, "runc")
    container.bundle.process["capabilities"]["bounding"] += ["CAP_OF_TOMORROW"]
    container.bundle.args("true")
    result = container.run()
    assert "CAP_OF_TOMORROW" in result.stderr


# Other attributes


@pytest.mark.parametrize("given", [True, False])
def test_no_new_privileges(container: Container, given: bool) -> None:
    container.bundle.process["noNewPrivileges"] = given
    assert status_of(container)["NoNewPrivs"] == str(int(given))


def test_oom_score(container: Container) -> None:
    container.bundle.process["oomScoreAdj"] = 731
    assert container.output("cat /proc/self/oom_score_adj") == "731\n"


def test_the_oom_score_stays_when_none_is_given(container: Container) -> None:
    expected = Path("/proc/self/oom_score_adj").read_text()
    assert container.output("cat /proc/self/oom_score_adj") == expected


def test_the_container_is_dumpable_by_its_own_users(container: Container) -> None:
    """The owner of /proc/PID is root when a process is not dumpable."""
    container.bundle.process["user"] = {"uid": 1000, "gid": 1000}
    assert container.output("stat -c %u /proc/self/status") == "1000\n"


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({"policy": "SCHED_OTHER", "nice": 7}, "0 0 7 0"),
        ({"policy": "SCHED_BATCH", "nice": 5}, "3 0 5 0"),
        ({"policy": "SCHED_IDLE"}, f"5 0 {os.nice(0)} 0"),  # the kernel leaves the caller's niceness
        ({"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, "3 1 0 0"),
        ({"policy": "SCHED_FIFO", "priority": 10}, "1 0 0 10"),
        ({"policy": "SCHED_RR", "priority": 20}, "2 0 0 20"),
    ],
)
def test_scheduler(container: Container, probe: Bundle, only, given, seen: str) -> None:
    only(OURS)
    probe.args("probe", "schedule").process["scheduler"] = given
    if "priority" in given:  # a v1 group has no real time unless it is given some
        probe.linux["resources"]["cpu"] = {"realtimeRuntime": 10_000, "realtimePeriod": 1_000_000}
    assert container.output().split()[:4] == seen.split()


def test_deadline_scheduler(container: Container, probe: Bundle, only) -> None:
    only(OURS)
    times = {"runtime": 2_000_000, "deadline": 5_000_000, "period": 10_000_000}
    probe.args("probe", "schedule").process["scheduler"] = {"policy": "SCHED_DEADLINE"} | times
    assert container.output().split()[0] == "6"
    assert container.stdout.split()[4:] == [str(time) for time in times.values()]


@pytest.mark.parametrize(
    ("name", "number", "priority"),
    [("IOPRIO_CLASS_RT", 1, 3), ("IOPRIO_CLASS_BE", 2, 7), ("IOPRIO_CLASS_IDLE", 3, 0)],
)
def test_io_priority(container: Container, probe: Bundle, only, name: str, number: int, priority: int) -> None:
    only(OURS)
    probe.args("probe", "io-priority").process["ioPriority"] = {"class": name, "priority": priority}
    assert container.output() == f"{number} {priority}\n"


@pytest.mark.parametrize("domain", ["LINUX", "LINUX32"])
def test_personality(container: Container, only, domain: str) -> None:
    only(OURS, "crun")
    container.bundle.linux["personality"] = {"domain": domain}
    machine = platform.machine()
    thirty_two = {"x86_64": "i686", "aarch64": "armv8l"}[machine]
    assert container.output("uname -m") == f"{thirty_two if domain == 'LINUX32' else machine}\n"


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({"mode": "MPOL_DEFAULT"}, "0 0"),
        ({"mode": "MPOL_PREFERRED", "nodes": "0"}, "1 1"),
        ({"mode": "MPOL_BIND", "nodes": "0"}, "2 1"),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0"}, "3 1"),
        ({"mode": "MPOL_LOCAL"}, "4 0"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, f"{2 | 1 << 15} 1"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}, f"{2 | 1 << 14} 1"),
    ],
)
def test_memory_policy(container: Container, probe: Bundle, only, given, seen: str) -> None:
    only(OURS)
    probe.args("probe", "memory-policy").linux["memoryPolicy"] = given
    assert container.output() == f"{seen}\n"


def test_session_and_process_group_are_the_containers_own(container: Container) -> None:
    """Fields 5 and 6 of stat: 1 leads its own."""
    assert container.output("cut -d' ' -f1,5,6 /proc/1/stat") == "1 1 1\n"


def test_a_keyring_of_its_own(container: Container, probe: Bundle) -> None:
    """keyctl(GET_KEYRING_ID, session keyring): another number than ours; with --no-new-keyring the same."""
    probe.args("probe", "call", "250", "0", "-3", "0")
    if platform.machine() != "x86_64":
        probe.args("probe", "call", "219", "0", "-3", "0")
    probe.process["noNewPrivileges"] = False
    mine = subprocess.run(
        [probe.rootfs / "bin/probe", *probe.process["args"][1:]], capture_output=True, text=True, check=True
    ).stdout
    assert container.output() != mine


# Terminal


def test_terminal_over_a_socket(container: Container, console: ConsoleSocket) -> None:
    container.bundle.shell("tty; readlink /proc/self/fd/0; test -c /dev/console && echo console; read w; echo got $w")
    container.bundle.process.update({"terminal": True, "consoleSize": {"height": 33, "width": 77}})
    container.create("--console-socket", str(console.path))
    terminal = console.accept()
    container.start()
    shown = terminal.read_until("console").split()
    assert shown == ["/dev/pts/0", "/dev/pts/0", "console"]
    terminal.write("said\n")
    terminal.read_until("got said")
    assert console.payload, "the message carries a byte at least"
    terminal.close()


def test_console_size(container: Container, console: ConsoleSocket) -> None:
    container.bundle.args("stty", "size")
    container.bundle.process.update({"terminal": True, "consoleSize": {"height": 33, "width": 77}})
    container.create("--console-socket", str(console.path))
    terminal = console.accept()
    container.start()
    assert terminal.read_all().split() == ["33", "77"]
    terminal.close()


def test_the_terminal_is_the_users_and_controls_the_session(container: Container, console: ConsoleSocket) -> None:
    container.bundle.shell("stat -c %u $(tty); echo x >/dev/tty; cut -d' ' -f7 /proc/self/stat")
    container.bundle.process.update({"terminal": True, "user": {"uid": 1000, "gid": 1000}})
    container.create("--console-socket", str(console.path))
    terminal = console.accept()
    container.start()
    uid, word, controlling = terminal.read_all().split()
    assert (uid, word) == ("1000", "x")
    assert int(controlling) != 0
    terminal.close()


def test_a_terminal_needs_a_socket_to_be_created(container: Container) -> None:
    container.bundle.process["terminal"] = True
    assert container.create(check=False).status == 1
    assert not container.exists


def test_a_socket_needs_a_terminal(container: Container, console: ConsoleSocket, only) -> None:
    only(OURS, "runc")
    assert container.create("--console-socket", str(console.path), check=False).status == 1
    assert not container.exists


def test_a_console_socket_that_nobody_listens_on(container: Container, place: Path) -> None:
    container.bundle.process["terminal"] = True
    assert container.create("--console-socket", str(place / "nobody"), check=False).status == 1
    assert not container.exists


def test_a_terminal_in_the_foreground(container: Container, runtime: Runtime) -> None:
    """`run` without a socket copies between the container's terminal and its own."""
    container.bundle.shell("tty; read word; echo got $word; exit 7").process["terminal"] = True
    container.bundle.save()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        runtime.command("run", "--bundle", container.bundle.path, container.id),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    terminal = Terminal(ours)
    assert "/dev/pts/0" in terminal.read_until("/dev/pts/0")
    terminal.write("hello\n")
    assert "got hello" in terminal.read_until("got hello")
    assert process.wait(20) == 7
    terminal.close()
