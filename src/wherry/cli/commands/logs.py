"""`wherry logs`: show what a container wrote."""

from __future__ import annotations

import sys

from wherry.cli.arguments import open_engine
from wherry.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.main import Globals


def parser() -> Parser:
    """The flags."""
    parser = Parser("logs", "Show what a container wrote.")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the container ends")
    parser.add_argument("-n", "--tail", default="all", metavar="N", help="only the last N lines")
    parser.add_argument("-t", "--timestamps", action="store_true", help="put the time before each line")
    parser.add_argument("container", metavar="CONTAINER")
    return parser


def run(arguments: list[str], settings: Globals) -> int:
    """Standard output and standard error go where they came from."""
    arguments_parser = parser()
    parsed = arguments_parser.parse_args(arguments)
    if parsed.tail != "all" and not parsed.tail.lstrip("-").isdecimal():
        arguments_parser.error(f"--tail {parsed.tail!r} is not a number")
    if parsed.follow and parsed.timestamps:
        arguments_parser.error("--follow with --timestamps is not supported: give one of them")
    tail = -1 if parsed.tail == "all" else int(parsed.tail)
    streams = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
    with open_engine(settings) as engine:
        for line in engine.get(parsed.container).logs(follow=parsed.follow, tail=tail):
            stream = streams[line.stream]
            stream.write(f"{line.time} ".encode() + line.data if parsed.timestamps else line.data)
            if parsed.follow:
                stream.flush()
    return 0
