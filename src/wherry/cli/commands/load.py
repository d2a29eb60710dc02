"""`wherry load`: load images from an archive."""

from __future__ import annotations

import sys

from wherry.cli import output
from wherry.cli.arguments import open_engine
from wherry.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.main import Globals


def parser() -> Parser:
    """The flags."""
    parser = Parser("load", "Load images from an archive.")
    parser.add_argument("-i", "--input", metavar="FILE", help="instead of standard input")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    return parser


def run(arguments: list[str], settings: Globals) -> int:
    """Print the names loaded, docker's way."""
    parsed = parser().parse_args(arguments)
    from wherry.transfer import load

    with open_engine(settings) as engine:
        for image in load(engine.store, parsed.input or sys.stdin.buffer):
            output.line(f"Loaded image: {image.names[0] if image.names else image.id}")
    return 0
