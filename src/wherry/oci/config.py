"""Read a bundle's config.json (runtime-spec config.md); its types are in `config_types`."""

from __future__ import annotations

import posix

from wherry.errors import INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE, WherryError

from .check import kind_of
from .json_text import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SIZE_LIMIT_BYTES = 16 << 20


def load(path: str) -> dict[str, Any]:
    """The document at `path`. Raises WherryError for a missing, unreadable, huge or malformed one."""
    return parse(read(path), path)


def parse(data: bytes, path: str = "config.json") -> dict[str, Any]:
    """The document in `data`; `path` names it in errors."""
    value = loads(data, path)
    if not isinstance(value, dict):
        raise WherryError(INVALID_ARGUMENT, f"must be an object, not {kind_of(value)}", path=path)
    return value


def read(path: str) -> bytes:
    """The bytes of a small file. Raises WherryError, as a sentence, for anything that prevents it."""
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except OSError as error:
        raise cannot_open(path, error) from None
    try:
        return read_all(fd, path)
    except OSError as error:
        raise WherryError(UNAVAILABLE, f"cannot be read: {error.strerror}", path=path) from None
    finally:
        posix.close(fd)


def read_all(fd: int, path: str) -> bytes:
    """Everything in `fd` up to the limit."""
    parts = []
    size = 0
    while data := posix.read(fd, 65536):
        parts.append(data)
        size += len(data)
        if size > SIZE_LIMIT_BYTES:
            raise WherryError(INVALID_ARGUMENT, f"is larger than {SIZE_LIMIT_BYTES >> 20} MiB", path=path)
    return b"".join(parts)


def cannot_open(path: str, error: OSError) -> WherryError:
    """The error for a file that does not open."""
    code = UNAVAILABLE
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        code = NOT_FOUND
    elif isinstance(error, PermissionError):
        code = PERMISSION_DENIED
    return WherryError(code, f"cannot open {path}: {error.strerror}")
