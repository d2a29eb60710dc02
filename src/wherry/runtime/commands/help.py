"""`--help`: the verbs, and each verb's options from its own table."""

from __future__ import annotations

import sys

from wherry.errors import INVALID_ARGUMENT, WherryError
from wherry.runtime.arguments import FLAG, MANY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.runtime.arguments import Table

SUMMARIES = {
    "checkpoint": "save a running container to disk",
    "create": "create a container",
    "delete": "delete a container that is stopped",
    "events": "show a container's resource use and out-of-memory events",
    "exec": "run another process in a container",
    "features": "show what this runtime can do",
    "kill": "send a signal to a container's process",
    "list": "list the containers",
    "pause": "freeze a container's processes",
    "ps": "show a container's processes",
    "restore": "bring back a container from disk",
    "resume": "thaw a container's processes",
    "run": "create and start a container",
    "spec": "write a config.json to begin with",
    "start": "start a created container",
    "state": "show a container's state",
    "update": "change a container's resource limits",
}
OPERANDS = {
    "exec": "CONTAINER COMMAND [ARGUMENT...]",
    "kill": "CONTAINER [SIGNAL]",
    "features": "",
    "list": "",
    "spec": "",
    "ps": "CONTAINER [PS-OPTION...]",
}
# Options of the verbs that the native program does alone.
NATIVE: dict[str, Table] = {
    "delete": (("force", "f", FLAG), ("regex", "", FLAG)),
    "kill": (("all", "a", FLAG), ("regex", "", FLAG)),
    "list": (("format", "f", 1), ("quiet", "q", FLAG)),
    "ps": (("format", "f", 1),),
    "pause": (),
    "resume": (),
    "start": (),
    "state": (),
}


def show_help(verb: str) -> int:
    """Print it. Raises WherryError(INVALID_ARGUMENT) for an unknown verb."""
    sys.stdout.write(_overview() if not verb else _verb(verb))
    return 0


def _overview() -> str:
    from wherry.runtime.command_line import GLOBAL

    lines = ["usage: wherry-runtime [OPTION...] VERB [ARGUMENT...]", "", "verbs:"]
    lines += [f"  {verb:<11} {summary}" for verb, summary in SUMMARIES.items()]
    return "\n".join([*lines, "", "options:", *_options(GLOBAL), ""])


def _verb(verb: str) -> str:
    if verb not in SUMMARIES:
        raise WherryError(INVALID_ARGUMENT, f"no such command: {verb}")
    table = NATIVE.get(verb)
    if table is None:
        table = __import__(f"wherry.runtime.commands.{verb}", fromlist=["OPTIONS"]).OPTIONS
    operands = OPERANDS.get(verb, "CONTAINER")
    lines = [f"usage: wherry-runtime {verb} [OPTION...] {operands}".rstrip(), "", SUMMARIES[verb]]
    if table:
        lines += ["", "options:", *_options(table)]
    return "\n".join([*lines, ""])


def _options(table: Table) -> list[str]:
    lines = []
    for name, letter, kind in table:
        short = f"-{letter}, " if letter else "    "
        value = "" if kind == FLAG else " VALUE" + (" (repeatable)" if kind == MANY else "")
        lines.append(f"  {short}--{name}{value}")
    return lines
