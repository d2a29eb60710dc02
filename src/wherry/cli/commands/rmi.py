"""`wherry rmi`: remove images."""

from __future__ import annotations

from wherry.cli import output
from wherry.cli.arguments import open_engine
from wherry.cli.each import for_each
from wherry.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.main import Globals


def parser() -> Parser:
    """The flags."""
    parser = Parser("rmi", "Remove images.")
    parser.add_argument("-f", "--force", action="store_true", help="also with the containers that use it")
    parser.add_argument("image", nargs="+", metavar="IMAGE")
    return parser


def run(arguments: list[str], settings: Globals) -> int:
    """Print what was untagged and what was deleted."""
    parsed = parser().parse_args(arguments)
    with open_engine(settings) as engine:

        def remove(name: str) -> None:
            report = engine.remove_image(name, force=parsed.force)
            for untagged in report.untagged:
                output.line(f"Untagged: {untagged}")
            for deleted in report.deleted:
                output.line(f"Deleted: {deleted}")

        return for_each(parsed.image, remove, show=False)
