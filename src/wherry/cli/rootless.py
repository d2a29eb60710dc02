"""Unprivileged use: run the same command again as root of a user namespace made of the user's subordinate ids.

All containers of one run root share one namespace, so that any command may act on any of them: the namespace of
whichever monitor is alive is joined, and a new one is made only when there is none.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

RANGES_LIMIT = 339  # the kernel takes 340 lines (user_namespaces(7)), and the user's own id is one


def enter(argv: Sequence[str], run_root: str) -> NoReturn:
    """Replace this process by `wherry ARGV` inside the user namespace (see native/command_unshare.c).

    Without subordinate ids, or without newuidmap and newgidmap, only the user's own id is mapped.
    """
    from wherry.runtime.launch import native_path

    program = native_path()
    words = [program, "@unshare"]
    lock = _lock(run_root)
    monitor = live_monitor(run_root)
    if monitor:
        os.close(lock)
        words += ["--join", str(monitor)]
    else:
        os.set_inheritable(lock, True)
        os.environ["WHERRY_ROOTLESS_LOCK"] = str(lock)
        words += _maps()
    os.environ["WHERRY_ROOTLESS_UID"] = str(os.getuid())
    os.execve(program, [*words, "--", sys.argv[0], *argv], os.environ)


def _maps() -> list[str]:
    helpers = [find_program("newuidmap"), find_program("newgidmap")]
    uids, gids = subordinate_ids("/etc/subuid"), subordinate_ids("/etc/subgid")
    if not (all(helpers) and uids and gids):
        return []
    maps = ["--uid-map", _map(os.getuid(), uids), "--gid-map", _map(os.getgid(), gids)]
    return [*maps, "--newuidmap", helpers[0], "--newgidmap", helpers[1]]


def _lock(run_root: str) -> int:
    """Whoever makes a namespace holds this lock until a monitor keeps the namespace, or until it ends."""
    import fcntl

    descriptor = os.open(os.path.join(run_root, "namespace.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def live_monitor(run_root: str) -> int:
    """The pid of some container's monitor, 0 when none is alive."""
    from wherry.engine.monitor_folder import MonitorFolder

    try:
        names = os.listdir(os.path.join(run_root, "containers"))
    except FileNotFoundError:
        return 0
    for name in names:
        pid = MonitorFolder(run_root, name).monitor_pid()
        if pid:
            return pid
    return 0


def subordinate_ids(path: str) -> list[tuple[int, int]]:
    """The ranges (first, count) that a subuid(5) file grants to this user, by name or number."""
    from pwd import getpwuid

    try:
        name = getpwuid(os.getuid()).pw_name
    except KeyError:
        name = ""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip().split(":") for line in file]
    except FileNotFoundError:
        return []
    who = (name, str(os.getuid()))
    mine = [fields for fields in lines if len(fields) == 3 and fields[0] in who]
    ranges = [(_number(first), _number(count)) for _, first, count in mine]
    return [(first, count) for first, count in ranges if first and count][:RANGES_LIMIT]


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 11 else 0


def find_program(name: str) -> str:
    """The path of a set-id helper, or ""."""
    for folder in [*os.environ.get("PATH", "").split(":"), "/usr/bin", "/bin"]:
        path = os.path.join(folder, name)
        if folder and os.access(path, os.X_OK):
            return path
    return ""


def _map(own: int, ranges: list[tuple[int, int]]) -> str:
    """`inside outside count` lines: root is the user, the subordinate ids follow from 1 up."""
    lines = [f"0 {own} 1"]
    inside = 1
    for first, count in ranges:
        lines.append(f"{inside} {first} {count}")
        inside += count
    return "\n".join(lines)
