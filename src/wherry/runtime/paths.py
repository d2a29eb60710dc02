"""Paths as text, for verbs that cannot afford to import `os` (0.7 ms: it defines abstract base classes).

For the same reason the modules of the hot verbs call system functions by `posix`, which `os` re-exports.
"""

from __future__ import annotations

import posix


def join(folder: str, path: str) -> str:
    """`path` seen from `folder`."""
    return path if path[:1] == "/" else f"{folder.rstrip('/')}/{path}"


def absolute(path: str) -> str:
    """`path` from the root, without `.`, `..` and empty parts; links are not looked at."""
    parts: list[str] = []
    for part in join(posix.getcwd() if path[:1] != "/" else "", path).split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)
