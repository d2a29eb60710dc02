"""The annotation `io.wherry.landlock`: a Landlock ruleset for the container's processes (docs/landlock.md).

The runtime specification has no Landlock; the kernel's side is Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

from wherry.errors import INVALID_ARGUMENT, WherryError
from wherry.oci.json_text import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ANNOTATION = "io.wherry.landlock"

# LANDLOCK_ACCESS_FS_*
EXECUTE = 1 << 0
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
REMOVE_DIR = 1 << 4
REMOVE_FILE = 1 << 5
MAKE_CHAR = 1 << 6
MAKE_DIR = 1 << 7
MAKE_REG = 1 << 8
MAKE_SOCK = 1 << 9
MAKE_FIFO = 1 << 10
MAKE_BLOCK = 1 << 11
MAKE_SYM = 1 << 12
REFER = 1 << 13
TRUNCATE = 1 << 14
IOCTL_DEV = 1 << 15

# the rights that a rule for something other than a directory may have; the kernel refuses any other
FILE_ACCESS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

# LANDLOCK_ACCESS_NET_*
BIND_TCP = 1 << 0
CONNECT_TCP = 1 << 1

_ALL_FS = (1 << 16) - 1
_PATHS = {
    "ro": READ_FILE | READ_DIR,
    "rw": _ALL_FS & ~EXECUTE,
    "exec": EXECUTE | READ_FILE | READ_DIR,
}
_PORTS = {"tcp_bind": BIND_TCP, "tcp_connect": CONNECT_TCP}
_SCOPES = {"abstract_unix_socket": 1 << 0, "signal": 1 << 1}

# (version of the kernel interface, what it brought)
_FS_SINCE = ((1, (1 << 13) - 1), (2, REFER), (3, TRUNCATE), (5, IOCTL_DEV))
_NET_SINCE = 4
_SCOPE_SINCE = 6


class Ruleset:
    """What is handled (and so forbidden unless a rule allows it), and the rules.

    `handled_fs`, `handled_net` and `scoped` are the words of struct landlock_ruleset_attr; `paths` are
    (LANDLOCK_ACCESS_FS_* mask, absolute path in the container), `ports` (LANDLOCK_ACCESS_NET_* mask, port).
    The mask of a path that is no directory must be cut to `FILE_ACCESS` by who opens it.
    """

    __slots__ = ("handled_fs", "handled_net", "paths", "ports", "scoped")

    def __init__(self) -> None:
        self.handled_fs = 0
        self.handled_net = 0
        self.scoped = 0
        self.paths: list[tuple[int, str]] = []
        self.ports: list[tuple[int, int]] = []

    def for_abi(self, abi: int) -> Ruleset:
        """The part that a kernel with this version of Landlock can enforce; `missing` names the rest."""
        cut = Ruleset()
        known = 0
        for since, rights in _FS_SINCE:
            if abi >= since:
                known |= rights
        cut.handled_fs = self.handled_fs & known
        if cut.handled_fs:
            cut.paths = [(mask & known, path) for mask, path in self.paths]
        if abi >= _NET_SINCE:
            cut.handled_net = self.handled_net
            cut.ports = list(self.ports)
        if abi >= _SCOPE_SINCE:
            cut.scoped = self.scoped
        return cut

    def missing(self, abi: int) -> list[str]:
        """The keys of the annotation that such a kernel does not enforce at all."""
        found = []
        if self.handled_fs and abi < 1:
            found += list(_PATHS)
        if abi < _NET_SINCE:
            found += [key for key, bit in _PORTS.items() if self.handled_net & bit]
        if self.scoped and abi < _SCOPE_SINCE:
            found.append("scope")
        return found


def compile_landlock(text: str, path: str = f"annotations[{ANNOTATION}]") -> Ruleset:
    """The ruleset of an annotation's JSON text, for the newest kernel; cut it down with `Ruleset.for_abi`.

    Raises WherryError(INVALID_ARGUMENT) with the place of what is wrong below `path`; an unknown key is an error,
    since a rule that is not understood would not protect.
    """
    document = loads(text, path)
    if not isinstance(document, dict):
        raise WherryError(INVALID_ARGUMENT, "must be a JSON object", path=path)
    rules = Ruleset()
    paths: dict[str, int] = {}
    ports: dict[int, int] = {}
    for key, value in document.items():
        place = f"{path}.{key}"
        if not isinstance(value, list):
            raise WherryError(INVALID_ARGUMENT, "must be a list", path=place)
        if key in _PATHS:
            rules.handled_fs = _ALL_FS
            _merge(paths, value, _PATHS[key], _check_path, place)
        elif key in _PORTS:
            rules.handled_net |= _PORTS[key]
            _merge(ports, value, _PORTS[key], _check_port, place)
        elif key == "scope":
            rules.scoped = _scope(value, place)
        else:
            raise WherryError(
                INVALID_ARGUMENT, "unknown key", hint=f"one of {', '.join([*_PATHS, *_PORTS, 'scope'])}", path=place
            )
    rules.paths = [(mask, name) for name, mask in paths.items()]
    rules.ports = [(mask, port) for port, mask in ports.items()]
    return rules


def _merge(
    found: dict[Any, int], values: list[Any], mask: int, check: Callable[[object, str], None], path: str
) -> None:
    for index, value in enumerate(values):
        check(value, f"{path}[{index}]")
        found[value] = found.get(value, 0) | mask


def _check_path(value: object, path: str) -> None:
    if not isinstance(value, str) or value[:1] != "/" or "\0" in value:
        raise WherryError(INVALID_ARGUMENT, "must be an absolute path", path=path)


def _check_port(value: object, path: str) -> None:
    if type(value) is not int or not 0 <= value <= 65535:
        raise WherryError(INVALID_ARGUMENT, "must be a port number from 0 to 65535", path=path)


def _scope(values: list[Any], path: str) -> int:
    bits = 0
    for index, value in enumerate(values):
        bit = _SCOPES.get(value) if isinstance(value, str) else None
        if bit is None:
            raise WherryError(
                INVALID_ARGUMENT,
                f"unknown scope {value!r}",
                hint=f"one of {', '.join(_SCOPES)}",
                path=f"{path}[{index}]",
            )
        bits |= bit
    return bits
