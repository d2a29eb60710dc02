"""Ids, capabilities, limits, filters."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from wherry.plan import instructions as i

if TYPE_CHECKING:
    from .harness import Box

ERRNO, ALLOW = 0x00050000, 0x7FFF0000
CHOWN, KILL, NET_RAW = 1 << 0, 1 << 5, 1 << 13


def status(box: Box, *names: str) -> dict[str, str]:
    box.mount("proc", "/proc")
    lines = [line.split(":", 1) for line in box.output("cat /proc/self/status").splitlines()]
    return {name: value.strip() for name, value in lines if name in names}


def test_ids_groups_and_capabilities(box: Box) -> None:
    box.inside += [
        ("GROUPS", struct.pack("<2I", 7, 70000)),
        ("BOUNDING", CHOWN | KILL | NET_RAW),
        ("IDS", 1000, 1001),
        ("CAPABILITIES", CHOWN, CHOWN | KILL, KILL, KILL),
        ("NO_NEW_PRIVS",),
    ]
    names = ("Uid", "Gid", "Groups", "CapBnd", "CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs")
    found = status(box, *names)
    assert found["Uid"].split() == ["1000"] * 4
    assert found["Gid"].split() == ["1001"] * 4
    assert found["Groups"].split() == ["7", "70000"]
    # execve leaves an unprivileged user what is ambient
    masks = [int(found[name], 16) for name in ("CapBnd", "CapInh", "CapPrm", "CapEff", "CapAmb")]
    assert masks == [CHOWN | KILL | NET_RAW, KILL, KILL, KILL, KILL]
    assert found["NoNewPrivs"] == "1"


def test_privileged_steps_still_work_between_ids_and_capabilities(box: Box) -> None:
    box.inside += [("IDS", 1000, 1000), ("HOSTNAME", "changed"), ("CAPABILITIES", 0, 0, 0, 0)]
    assert box.output("hostname") == "changed\n"


def test_capability_that_is_not_ours(box: Box) -> None:
    box.inside += [("CAPABILITIES", 0, 0, 0, 0), ("CAPABILITIES", CHOWN, CHOWN, 0, 0)]
    assert box.run().stderr.startswith("inside[1]: set capabilities")


def test_limits_and_attributes(box: Box) -> None:
    box.after_clone.append(("RLIMIT", 7, 100, 200))
    box.after_clone.append(("OOM_SCORE", 500, 0))
    box.inside += [("RLIMIT", 4, 0, 0), ("UMASK", 0o27), ("SETSID",), ("PERSONALITY", 0x0040000)]
    box.mount("proc", "/proc")
    out = box.output("ulimit -n; ulimit -Hn; ulimit -c; umask; cat /proc/self/oom_score_adj /proc/self/personality")
    assert out.split() == ["100", "200", "0", "0027", "500", "00040000"]


def test_refused_limit(box: Box) -> None:
    box.after_clone.append(("RLIMIT", 7, 200, 100))
    assert box.run().stderr == "after[0]: set RLIMIT_NOFILE to 200:100: Invalid argument\n"


def test_scheduling(box: Box) -> None:
    batch = struct.pack("<IIQiIQQQ", 48, 3, 0, 5, 0, 0, 0, 0)
    box.after_clone += [("SCHEDULER", batch), ("IO_PRIORITY", 3 << 13), ("AFFINITY", b"\1")]
    box.inside += [("MEMORY_POLICY", 0, b"")]
    box.mount("proc", "/proc")
    out = box.output("cut -d' ' -f19,41 /proc/self/stat; ionice -p 1; grep Cpus_allowed_list /proc/self/status")
    assert out.split("\n")[:2] == ["5 3", "idle"]
    assert out.split()[-1] == "0"


def test_affinity_reset(box: Box) -> None:
    box.after_clone += [("AFFINITY", b"\1"), ("AFFINITY", b"")]
    assert int(status(box, "Cpus_allowed")["Cpus_allowed"].replace(",", ""), 16) > 1


def refuse(number: int) -> bytes:
    """A filter that answers one system call with EPERM (x86_64 and aarch64 agree on nothing: number is ours)."""
    load, equal, give = 0x20, 0x15, 0x06
    rows = [(load, 0, 0, 0), (equal, 0, 1, number), (give, 0, 0, ERRNO | 1), (give, 0, 0, ALLOW)]
    return b"".join([struct.pack("<HBBI", *row) for row in rows])


@pytest.mark.parametrize("with_nnp", [False, True])
def test_seccomp(box: Box, with_nnp: bool) -> None:
    import platform

    mkdirat = {"x86_64": 83, "aarch64": 34}[platform.machine()]
    if with_nnp:
        box.inside.append(("NO_NEW_PRIVS",))
    box.inside.append(("SECCOMP", refuse(mkdirat), 0, i.NONE, "", ""))
    assert "Operation not permitted" in box.output("mkdir /data/x 2>&1; true")


def test_broken_seccomp(box: Box) -> None:
    box.inside.append(("SECCOMP", b"\0" * 8, 0, i.NONE, "", ""))
    assert box.run().stderr == "inside[0]: load the seccomp filter: Invalid argument\n"


def test_seccomp_listener(box: Box) -> None:
    """The listener and a text with the pid arrive at the agent's socket."""
    import socket
    import threading

    path = str(box.place / "agent")
    got: list[tuple[bytes, list[int]]] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(1)

        def serve() -> None:
            connection, _ = server.accept()
            data, fds, _, _ = socket.recv_fds(connection, 4096, 4)
            got.append((data, list(fds)))
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        box.host.append(("CONNECT", i.SECCOMP_SOCKET, path))
        box.inside.append(("SECCOMP", refuse(0xFFFF), 8, i.SECCOMP_SOCKET, '{"state":{"pid":\1},"pid":', "}"))
        box.output("true")
        thread.join()
    (data, fds) = got[0]
    pid = data.split(b":")[-1].rstrip(b"}")
    assert data == b'{"state":{"pid":%s},"pid":%s}' % (pid, pid)
    assert int(pid) > 1
    assert len(fds) == 1


def test_landlock(box: Box) -> None:
    read = 1 << 0 | 1 << 2 | 1 << 3
    write = 1 << 1 | 1 << 8
    box.late += [
        ("NO_NEW_PRIVS",),
        ("LANDLOCK", read | write, 0, 0, ["/", "/data"], struct.pack("<2Q", read, read | write), b""),
    ]
    out = box.output("touch /data/yes; touch /tmp/no 2>&1; ls /data; true")
    assert out == "touch: /tmp/no: Permission denied\nyes\n"


def test_landlock_missing_path(box: Box) -> None:
    box.late.append(("LANDLOCK", 1, 0, 0, ["/missing"], struct.pack("<Q", 1), b""))
    assert box.run().stderr == "late[0]: landlock: open /missing: No such file or directory\n"
