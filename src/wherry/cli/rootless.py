"""Unprivileged use: run the same command again as root of a user namespace made of the user's subordinate ids."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def enter(argv: list[str]) -> NoReturn:
    """Replace this process by `wherry ARGV` inside a new user namespace (see native/command_unshare.c).

    Without subordinate ids, or without newuidmap and newgidmap, only the user's own id is mapped.
    """
    from wherry.runtime.launch import native_path

    program = native_path()
    words = [program, "@unshare"]
    helpers = [find_program("newuidmap"), find_program("newgidmap")]
    uids = subordinate_ids("/etc/subuid")
    gids = subordinate_ids("/etc/subgid")
    if all(helpers) and uids and gids:
        words += ["--uid-map", _map(os.getuid(), uids), "--gid-map", _map(os.getgid(), gids)]
        words += ["--newuidmap", helpers[0], "--newgidmap", helpers[1]]
    os.environ["WHERRY_ROOTLESS_UID"] = str(os.getuid())
    os.execve(program, [*words, "--", sys.argv[0], *argv], os.environ)


def subordinate_ids(path: str) -> list[tuple[int, int]]:
    """The ranges (first, count) that a subuid(5) file grants to this user, by name or number."""
    from pwd import getpwuid

    try:
        name = getpwuid(os.getuid()).pw_name
    except KeyError:
        name = ""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip().split(":") for line in file]
    except FileNotFoundError:
        return []
    who = (name, str(os.getuid()))
    return [
        (int(f[1]), int(f[2])) for f in lines if len(f) == 3 and f[0] in who and f[1].isdecimal() and f[2].isdecimal()
    ]


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
