"""`wherry import`: make an image from a tarball of a root file system."""

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
    parser = Parser("import", "Make an image from a tarball of a root file system.")
    parser.add_argument("-c", "--change", action="append", default=[], metavar="INSTRUCTION", help="CMD, ENV, USER, …")
    parser.add_argument("-m", "--message", default="", help="a comment for the image's history")
    parser.add_argument("tarball", metavar="FILE", help="a tar archive, compressed or not; - is standard input")
    parser.add_argument("reference", nargs="?", metavar="NAME[:TAG]")
    return parser


def run(arguments: list[str], settings: Globals) -> int:
    """Print the image's id."""
    parsed = parser().parse_args(arguments)
    from wherry.transfer import import_tarball

    with open_engine(settings) as engine:
        file = sys.stdin.buffer if parsed.tarball == "-" else open(parsed.tarball, "rb")
        with file:
            image = import_tarball(engine.store, file, parsed.reference, changes=parsed.change, message=parsed.message)
        output.line(image.id)
    return 0
