"""`run`: create and start, and wait for the end unless detached."""

from __future__ import annotations

from wherry.runtime.arguments import FLAG, parse
from wherry.runtime.commands.create import OPTIONS as CREATE_OPTIONS
from wherry.runtime.commands.create import launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.runtime.arguments import Table
    from wherry.runtime.command_line import Context

OPTIONS: Table = (*CREATE_OPTIONS, ("detach", "d", FLAG), ("keep", "", FLAG))


def run(context: Context) -> int:
    """Never returns when all is well."""
    arguments = parse(OPTIONS, context.words, intermixed=True)
    words = [f"--{name}" for name in ("detach", "keep") if arguments.flag(name)]
    return launch(context, arguments, "@run", words)
