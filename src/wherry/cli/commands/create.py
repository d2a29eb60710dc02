"""`wherry create`: make a container without starting it."""

from __future__ import annotations

from wherry.cli.arguments import open_engine
from wherry.cli.cidfile import CidFile
from wherry.cli.create_flags import add_create_flags, create_options
from wherry.cli.errors import ENGINE_STATUS
from wherry.cli.output import line
from wherry.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.main import Globals


def parser() -> Parser:
    """The flags."""
    parser = Parser("create", "Create a container without starting it.")
    add_create_flags(parser)
    return parser


def run(arguments: list[str], settings: Globals) -> int:
    """Print the new container's id."""
    parsed = parser().parse_args(arguments)
    options = create_options(parsed)
    with open_engine(settings) as engine, CidFile(parsed.cidfile) as note:
        container = engine.create(options)
        note(container.id)
        line(container.id)
    return 0


def status(error: BaseException) -> int:
    """Docker's 125 for everything."""
    return ENGINE_STATUS
