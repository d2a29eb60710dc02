"""Who holds the terminal of a process."""

from __future__ import annotations

from wherry.errors import INVALID_ARGUMENT, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def check_terminal(process: Any, console_socket: str, *, detached: bool) -> None:
    """A terminal needs somebody to hold it: the console socket, or this command until the end."""
    terminal = isinstance(process, dict) and process.get("terminal") is True
    if terminal and detached and not console_socket:
        text = "is required: the process has a terminal and the command leaves"
        raise WherryError(INVALID_ARGUMENT, text, path="--console-socket")
    if console_socket and not terminal:
        text = "is given, but process.terminal is not true"
        raise WherryError(INVALID_ARGUMENT, text, path="--console-socket")
