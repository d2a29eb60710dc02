"""`wherry save`: write images to an archive."""

from __future__ import annotations

import os
import sys

from wherry.cli.arguments import open_engine
from wherry.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.main import Globals

FORMATS = ("docker-archive", "oci", "oci-archive", "dir")


def parser() -> Parser:
    """The flags."""
    parser = Parser("save", "Save images to an archive.")
    parser.add_argument("-o", "--output", metavar="FILE", help="instead of standard output")
    parser.add_argument("--format", choices=FORMATS, default="docker-archive", help="docker-archive")
    parser.add_argument("image", nargs="+", metavar="IMAGE")
    return parser


def run(arguments: list[str], settings: Globals) -> int:
    """Nothing is written to a terminal."""
    arguments_parser = parser()
    parsed = arguments_parser.parse_args(arguments)
    if not parsed.output and os.isatty(1):
        arguments_parser.error("refusing to write an archive to a terminal: give -o FILE")
    from wherry.transfer import save

    with open_engine(settings) as engine:
        save(engine.store, parsed.image, parsed.output or sys.stdout.buffer, format=parsed.format)
    return 0
