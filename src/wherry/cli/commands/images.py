"""`wherry images`: list images."""

from __future__ import annotations

from wherry.cli import output
from wherry.cli.arguments import open_engine
from wherry.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.main import Globals
    from wherry.store.images import Image

COLUMNS = {"Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "CreatedSince": "CREATED", "Size": "SIZE"}


def parser() -> Parser:
    """The flags."""
    parser = Parser("images", "List images.")
    parser.add_argument("-q", "--quiet", action="store_true", help="ids only")
    parser.add_argument("--digests", action="store_true", help="also the manifests' digests")
    parser.add_argument("--no-trunc", action="store_true", help="whole ids")
    parser.add_argument("--format", default="", metavar="TEMPLATE", help="a Go template, table TEMPLATE, or json")
    return parser


def run(arguments: list[str], settings: Globals) -> int:
    """One row a name."""
    parsed = parser().parse_args(arguments)
    with open_engine(settings) as engine:
        rows = [row for image in engine.store.images.list() for row in _rows(image, whole=parsed.no_trunc)]
    if parsed.quiet:
        for identifier in dict.fromkeys([row["ID"] for row in rows]):
            output.line(identifier)
        return 0
    columns = dict(COLUMNS)
    if parsed.digests:
        columns = {"Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", **columns}
    output.write(output.listing(rows, columns, parsed.format))
    return 0


def _rows(image: Image, *, whole: bool) -> list[dict[str, str]]:
    from wherry.cli.commands.ps import seconds_of
    from wherry.oci.reference import parse

    created_s = seconds_of(image.created)
    identifier = image.id if whole else image.id.partition(":")[2][:12]
    common = {
        "ID": identifier,
        "Digest": image.digest,
        "CreatedAt": image.created,
        "CreatedSince": output.ago(created_s) if created_s else "N/A",
        "Size": output.size(image.size_bytes),
    }
    rows = []
    for name in image.names or ("",):
        repository, tag = "<none>", "<none>"
        if name:
            reference = parse(name)
            tag = reference.tag or "<none>"
            repository = reference.familiar().removesuffix(f":{tag}")
        rows.append({"Repository": repository, "Tag": tag, **common})
    return rows
