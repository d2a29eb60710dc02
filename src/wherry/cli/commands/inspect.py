"""`wherry inspect`: everything about containers or images."""

from __future__ import annotations

import json

from wherry.cli import output
from wherry.cli.arguments import open_engine
from wherry.cli.parser import Parser
from wherry.errors import NOT_FOUND, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.main import Globals
    from wherry.engine import Engine


def parser() -> Parser:
    """The flags."""
    parser = Parser("inspect", "Show everything about containers or images.")
    parser.add_argument("-f", "--format", default="", metavar="TEMPLATE", help="a Go template, or json")
    parser.add_argument("--type", choices=("container", "image"), help="look only there")
    parser.add_argument("name", nargs="+", metavar="NAME")
    return parser


def run(arguments: list[str], settings: Globals) -> int:
    """A JSON array, or the template for each."""
    parsed = parser().parse_args(arguments)
    with open_engine(settings) as engine:
        documents = [_inspect(engine, name, parsed.type) for name in parsed.name]
    if not parsed.format:
        output.line(json.dumps(documents, indent=4))
        return 0
    from wherry.cli.template import Template

    template = Template(output.unescape("{{json .}}" if parsed.format == "json" else parsed.format))
    for document in documents:
        output.line(template.render(document))
    return 0


def _inspect(engine: Engine, name: str, kind: str | None) -> dict[str, Any]:
    if kind != "image":
        try:
            return engine.get(name).inspect()
        except WherryError as error:
            if error.code != NOT_FOUND or kind == "container":
                raise
    try:
        return engine.store.images.inspect(name)
    except WherryError as error:
        if error.code != NOT_FOUND or kind == "image":
            raise
    raise WherryError(NOT_FOUND, f"no such container or image: {name}", hint="wherry ps -a and wherry images list them")
