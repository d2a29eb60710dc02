"""The one exception root and its small taxonomy of codes.

Layers raise; only the edges (command line, HTTP, gRPC) translate a code to an exit status or a wire
status, each in one table.
"""

from __future__ import annotations

INVALID_ARGUMENT = "invalid argument"
NOT_FOUND = "not found"
ALREADY_EXISTS = "already exists"
FAILED_PRECONDITION = "failed precondition"
UNAUTHENTICATED = "unauthenticated"
PERMISSION_DENIED = "permission denied"
RESOURCE_EXHAUSTED = "resource exhausted"
UNAVAILABLE = "unavailable"
DEADLINE = "deadline"
CANCELLED = "cancelled"
NOT_IMPLEMENTED = "not implemented"
INTERNAL = "internal"
DATA_LOSS = "data loss"

CODES = (
    INVALID_ARGUMENT,
    NOT_FOUND,
    ALREADY_EXISTS,
    FAILED_PRECONDITION,
    UNAUTHENTICATED,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    DEADLINE,
    CANCELLED,
    NOT_IMPLEMENTED,
    INTERNAL,
    DATA_LOSS,
)


class WherryError(Exception):
    """What went wrong, of which kind, and what to do about it.

    `code` is one of `CODES`; `message` is one line that names the thing (field, file, blob) that is wrong;
    `hint` says what to do next and may be empty; `path` is the place in a document or on disk, or empty.
    """

    __slots__ = ("code", "hint", "message", "path")

    def __init__(self, code: str, message: str, *, hint: str = "", path: str = "") -> None:
        super().__init__(code, message, hint, path)
        self.code = code
        self.message = message
        self.hint = hint
        self.path = path

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{text} ({self.hint})" if self.hint else text
