"""`wherry rm`: remove containers."""

from __future__ import annotations

from wherry.cli.arguments import open_engine
from wherry.cli.each import for_each
from wherry.cli.parser import Parser
from wherry.errors import NOT_FOUND, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.main import Globals


def parser() -> Parser:
    """The flags."""
    parser = Parser("rm", "Remove containers.")
    parser.add_argument("-f", "--force", action="store_true", help="kill running ones; a missing one is no error")
    parser.add_argument("-a", "--all", action="store_true", help="every container")
    parser.add_argument("container", nargs="*", metavar="CONTAINER")
    return parser


def run(arguments: list[str], settings: Globals) -> int:
    """Print each name that was removed."""
    arguments_parser = parser()
    parsed = arguments_parser.parse_args(arguments)
    if not parsed.container and not parsed.all:
        arguments_parser.error("name a container, or give --all")
    with open_engine(settings) as engine:

        def remove(name: str) -> None:
            try:
                engine.get(name).remove(force=parsed.force)
            except WherryError as error:
                if error.code != NOT_FOUND or not parsed.force:
                    raise

        names = [container.id for container in engine.list(every=True)] if parsed.all else parsed.container
        return for_each(names, remove)
