"""What `-it` needs of the caller."""

from __future__ import annotations

import os

from wherry.errors import FAILED_PRECONDITION, WherryError


def require_terminal() -> None:
    """Refuse `-it` without a terminal, as docker does: input from a pipe would never end on the other side."""
    if not os.isatty(0):
        raise WherryError(FAILED_PRECONDITION, "the input device is not a TTY", hint="leave out -t")
