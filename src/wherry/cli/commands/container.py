"""`wherry container`: the container commands under docker's longer name, and the monitor's `cleanup`."""

from __future__ import annotations

import sys

from wherry.cli.arguments import open_engine
from wherry.cli.errors import ENGINE_STATUS
from wherry.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.main import Globals

SAME = ("create", "exec", "inspect", "kill", "logs", "rm", "run", "start", "stop", "wait")


def run(arguments: list[str], settings: Globals) -> int:
    """Run the command of that name."""
    verb = arguments[0] if arguments else "--help"
    if verb in ("-h", "--help"):
        sys.stdout.write(
            f"Usage: wherry container COMMAND …\n\nManage containers.\n\nCommands: ls, {', '.join(SAME)}\n\n"
            "ls is wherry ps, the others are the commands of the same names.\n"
            "wherry container COMMAND --help says more.\n"
        )
        return 0 if arguments else 1
    if verb == "cleanup":
        return _cleanup(arguments[1:], settings)
    name = "ps" if verb in ("ls", "list", "ps") else verb
    if name not in (*SAME, "ps"):
        sys.stderr.write(f"Error: unknown command container {verb!r}\n  → one of: ls, {', '.join(SAME)}\n")
        return ENGINE_STATUS
    from importlib import import_module

    status: int = import_module(f"wherry.cli.commands.{name}").run(arguments[1:], settings)
    return status


def _cleanup(arguments: list[str], settings: Globals) -> int:
    """Settle a container that is over: opening the engine does it, for this and any other."""
    parser = Parser("container cleanup", "Settle a container that is over (called by its monitor).")
    parser.add_argument("container", metavar="ID")
    parser.parse_args(arguments)
    open_engine(settings).close()
    return 0
