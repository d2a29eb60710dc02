"""`wherry wait`: wait until containers end and print their exit status."""

from __future__ import annotations

from wherry.cli.arguments import open_engine
from wherry.cli.output import line
from wherry.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.main import Globals


def parser() -> Parser:
    """The flags."""
    parser = Parser("wait", "Wait for containers to end and print their exit status.")
    parser.add_argument("container", nargs="+", metavar="CONTAINER")
    return parser


def run(arguments: list[str], settings: Globals) -> int:
    """One line a container."""
    parsed = parser().parse_args(arguments)
    with open_engine(settings) as engine:
        for name in parsed.container:
            line(str(engine.get(name).wait()))
    return 0
