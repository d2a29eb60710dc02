"""The same work where new system calls are missing: a filter answers them with ENOSYS (or EPERM, as old filters do)."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wherry.plan import instructions as i

if TYPE_CHECKING:
    from .harness import Box

MOUNT_API = (428, 429, 430, 431, 432, 442)  # open_tree move_mount fsopen fsconfig fsmount mount_setattr
PROCESSES = (434, 435, 436, 424)  # pidfd_open clone3 close_range pidfd_send_signal
OPENAT2 = (437,)
SETATTR = (442,)
FCHMODAT2 = (452,)
EVERY = MOUNT_API + PROCESSES + OPENAT2 + FCHMODAT2

# Loads the filter and becomes the command.
LAUNCHER = """
import ctypes, os, struct, sys
error, numbers = int(sys.argv[1]), [int(word) for word in sys.argv[2].split(",")]
rows = [(0x20, 0, 0, 0)]
for number in numbers:
    rows += [(0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | error)]
rows.append((0x06, 0, 0, 0x7FFF0000))
code = b"".join([struct.pack("<HBBI", *row) for row in rows])
buffer = ctypes.create_string_buffer(code)
class Program(ctypes.Structure):
    _fields_ = [("count", ctypes.c_ushort), ("code", ctypes.c_void_p)]
program = Program(len(rows), ctypes.addressof(buffer))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
os.execv(sys.argv[3], sys.argv[3:])
"""


def under(box: Box, numbers: tuple[int, ...], error: int) -> None:
    """Run this box's program under a filter."""
    launcher = box.place / "launcher.py"
    launcher.write_text(LAUNCHER)
    wrapper = box.place / "wrapper"
    words = ",".join([str(number) for number in numbers])
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {launcher} {error} {words} {box.executable} "$@"\n')
    wrapper.chmod(0o755)
    box.executable = str(wrapper)


@pytest.mark.parametrize("error", [38, 1])
@pytest.mark.parametrize("numbers", [EVERY, MOUNT_API, PROCESSES, OPENAT2, SETATTR])
def test_everything_still_works(box: Box, numbers: tuple[int, ...], error: int) -> None:
    data = box.rootfs / "data"
    (data / "sub").mkdir()
    (data / "sub/file").write_text("old")
    (box.rootfs / "etc/secret").write_text("secret")
    (box.rootfs / "link").symlink_to("/etc/../data")
    (box.rootfs / "dangling").symlink_to("/made/by/us")
    source = box.place / "source"
    source.mkdir()
    (source / "file").write_text("bound")
    box.mount("proc", "/proc")
    box.mount("tmpfs", "/tmp", 2 | 4, "mode=0750,size=64k")
    box.mount("tmpfs", "/data", how=i.MOUNT_COPY_UP)
    box.mounts += [
        ("TREE", 9, i.NONE, str(source), i.TREE_RECURSIVE),
        ("TREE_ATTR", 9, 1 | 2, 0, 0, i.NONE, 0),
        ("ATTACH", 9, "/link/bound", i.KIND_LIKE_SOURCE, 0),
        ("MKDIR", i.ROOT, "/dangling/x", 0o700, -1, -1),
        ("MASK", "/etc/secret"),
        ("MASK", "/proc/fs"),
        ("READONLY", "/proc/sys"),
        ("SYSCTL", "net/ipv4/ip_forward", "1"),
    ]
    box.inside.append(("ATTR", "/", 1, 0, 0))
    under(box, numbers, error)
    script = """
        cat /data/sub/file /data/bound/file; wc -c < /etc/secret; ls /proc/fs | wc -l
        stat -c %a /tmp; ls -d /made/by/us/x; touch /x 2>/dev/null || echo ro
        touch /data/bound/y 2>/dev/null || echo ro; touch /proc/sys/z 2>/dev/null || echo ro
        grep ' /data/bound ' /proc/self/mounts | grep -o ro,nosuid; ls /proc/self/fd
    """
    assert " ".join(box.output(script).split()) == "oldbound0 0 750 /made/by/us/x ro ro ro ro,nosuid 0 1 2 3"


def test_links_stay_inside_without_openat2(box: Box) -> None:
    name = f"wherry-test-walk-{os.getpid()}"
    (box.rootfs / "evil").symlink_to("../" * 20 + "tmp")
    (box.rootfs / "absolute").symlink_to("/evil/..//evil/./")
    under(box, OPENAT2, 38)
    box.mounts += [
        ("MKDIR", i.ROOT, f"/evil/{name}", 0o755, -1, -1),
        ("MKDIR", i.ROOT, f"/absolute/../../../../tmp/{name}2", 0o755, -1, -1),
    ]
    assert name in box.output("ls /tmp")
    assert not Path("/tmp", name).exists()
    assert (box.rootfs / f"tmp/{name}2").is_dir()


def test_create_and_exec_without_pidfds(box: Box) -> None:
    under(box, (434, 435, 424), 38)
    box.shell("sleep 100")
    pid = box.created()
    with (box.state / "exec.fifo").open("rb") as fifo:
        assert fifo.read() == b""
    os.kill(pid, 9)
    assert struct.calcsize("P") == 8
