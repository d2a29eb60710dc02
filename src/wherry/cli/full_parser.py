"""argparse's side of a command's flags: help texts and error messages."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, HelpFormatter, _HelpAction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .parser import Parser


class FullParser(ArgumentParser):
    """argparse in docker's manner: exit status 125, one line, `--help` only (`-h` is a host name)."""

    def __init__(self, parser: Parser) -> None:
        super().__init__(
            prog=f"wherry {parser.verb}",
            description=parser.description,
            add_help=False,
            allow_abbrev=False,
            formatter_class=lambda prog: HelpFormatter(prog, max_help_position=32, width=100),
        )
        self.add_argument("--help", action=_HelpAction, default=SUPPRESS, help="show this text")
        for names, settings in parser.record:
            self.add_argument(*names, **settings)

    def error(self, message: str) -> NoReturn:
        """End with docker's status and the way to the help."""
        self.exit(125, f"Error: {message}\n  → {self.prog} --help\n")
