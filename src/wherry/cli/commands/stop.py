"""`wherry stop`: ask containers to end, then kill them."""

from __future__ import annotations

from wherry.cli.arguments import open_engine
from wherry.cli.each import for_each
from wherry.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.main import Globals


def parser() -> Parser:
    """The flags."""
    parser = Parser("stop", "Stop containers.")
    parser.add_argument("-t", "--time", "--timeout", type=float, metavar="S", help="seconds before the kill (10)")
    parser.add_argument("container", nargs="+", metavar="CONTAINER")
    return parser


def run(arguments: list[str], settings: Globals) -> int:
    """Print each name that was stopped."""
    parsed = parser().parse_args(arguments)
    with open_engine(settings) as engine:
        return for_each(parsed.container, lambda name: engine.get(name).stop(timeout_s=parsed.time))
