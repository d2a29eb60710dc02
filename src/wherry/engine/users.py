"""Who a container runs as: `user[:group]` looked up in the image's own passwd and group files.

The files are read layer by layer, topmost first, by descriptor and without following any link, so an image
cannot make the lookup read the host's files.
"""

from __future__ import annotations

import os

from wherry.errors import INVALID_ARGUMENT, NOT_FOUND, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LIMIT_BYTES = 4 << 20


class User:
    """Numeric ids and the home directory of the container's process."""

    __slots__ = ("gid", "groups", "home", "uid")

    def __init__(self, uid: int, gid: int, groups: tuple[int, ...], home: str) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home


def read_in_layers(layers: Sequence[str], directory: str, name: str) -> str:
    """The text of `/directory/name` as an overlay of `layers` (topmost first) shows it, or ""."""
    for layer in layers:
        found = _read(layer, directory, name)
        if found is not None:
            return found
    return ""


def _read(layer: str, directory: str, name: str) -> str | None:
    """None: this layer does not speak of the file, look below."""
    try:
        folder = os.open(os.path.join(layer, directory), os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        # A link, a device (a whiteout) or a socket: this layer hides the file.
        return None if isinstance(error, FileNotFoundError) else ""
    finally:
        os.close(folder)
    try:
        if os.fstat(descriptor).st_mode & 0o170000 != 0o100000:
            return ""
        return os.read(descriptor, LIMIT_BYTES).decode("utf-8", "replace")
    finally:
        os.close(descriptor)


def resolve(text: str, layers: Sequence[str]) -> User:
    """The ids of `name|uid[:name|gid]` ("" is root). Raises WherryError when a name is not in the image."""
    who, _, group = text.partition(":")
    passwd = list(_entries(read_in_layers(layers, "etc", "passwd"), 7))
    groups = list(_entries(read_in_layers(layers, "etc", "group"), 4))
    uid, gid, home, name = _user(who or "0", passwd)
    if group:
        return User(uid, _group(group, groups), (), home)
    member_of = tuple([int(entry[2]) for entry in groups if name and name in entry[3].split(",")])
    return User(uid, gid, tuple([number for number in member_of if number != gid]), home)


def _user(who: str, passwd: list[list[str]]) -> tuple[int, int, str, str]:
    for entry in passwd:
        if entry[0] == who or entry[2] == who:
            gid = _id(entry[3]) if entry[3].isdecimal() else 0
            return _id(entry[2]), gid, entry[5] or "/", entry[0]
    if not who.isdecimal():
        raise WherryError(NOT_FOUND, f"unable to find user {who}: no matching entries in passwd file")
    return _id(who), 0, "/", ""


def _group(group: str, groups: list[list[str]]) -> int:
    for entry in groups:
        if entry[0] == group:
            return _id(entry[2])
    if not group.isdecimal():
        raise WherryError(NOT_FOUND, f"unable to find group {group}: no matching entries in group file")
    return _id(group)


def _id(text: str) -> int:
    number = int(text) if len(text) < 11 else 1 << 32
    if number >= (1 << 32) - 1:
        raise WherryError(INVALID_ARGUMENT, f"id {text} is out of range", hint="0 to 4294967294")
    return number


def _entries(text: str, fields: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        entry = line.split(":")
        if len(entry) >= fields and entry[2].isdecimal() and len(entry[2]) < 11:
            yield entry
