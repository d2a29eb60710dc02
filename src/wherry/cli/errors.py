"""The command line's edge: which code becomes which exit status, and how an error is shown."""

from __future__ import annotations

import sys

from wherry import errors

# docker: 125 when the engine itself refuses, whatever the reason; `run` and `exec` use 126 and 127 for commands
# that could not be executed or found (StartFailed carries those).
ENGINE_STATUS = 125
STATUS = dict.fromkeys(errors.CODES, 1)


def show(error: BaseException) -> None:
    """One line on standard error, and the hint on a second.

    What is wrong may have been sent by an image or a registry: nothing of it reaches the terminal as control.
    """
    if isinstance(error, errors.WherryError):
        where = f"{error.path}: " if error.path else ""
        sys.stderr.write(f"Error: {printable(where + error.message)}\n")
        if error.hint:
            sys.stderr.write(f"  → {printable(error.hint)}\n")
    elif isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"Error: {printable(f'{place}{error.strerror or error}')}\n")
    else:
        sys.stderr.write(f"Error: {printable(str(error))}\n")


def printable(text: str) -> str:
    r"""The text with control characters and what is no character written out, as in `\x1b`."""
    if text.isprintable():
        return text
    return "".join([c if c.isprintable() else ascii(c)[1:-1] for c in text])


def status(error: BaseException) -> int:
    """The exit status of a command other than run, create and exec."""
    return STATUS[error.code] if isinstance(error, errors.WherryError) else 1
