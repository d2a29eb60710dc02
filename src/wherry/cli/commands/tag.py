"""`wherry tag`: give an image another name."""

from __future__ import annotations

from wherry.cli.arguments import open_engine
from wherry.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.main import Globals


def parser() -> Parser:
    """The flags."""
    parser = Parser("tag", "Give an image another name.")
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("name", nargs="+", metavar="NAME")
    return parser


def run(arguments: list[str], settings: Globals) -> int:
    """Prints nothing."""
    parsed = parser().parse_args(arguments)
    with open_engine(settings) as engine:
        image = engine.store.images.find(parsed.image)
        for name in parsed.name:
            engine.store.images.tag(image, name)
    return 0
