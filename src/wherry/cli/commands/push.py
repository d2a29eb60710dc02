"""`wherry push`: send an image to a registry."""

from __future__ import annotations

from wherry.cli import output
from wherry.cli.arguments import open_engine
from wherry.cli.images import add_registry_flags, credentials, progress
from wherry.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.main import Globals


def parser() -> Parser:
    """The flags."""
    parser = Parser("push", "Push an image to a registry.")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    parser.add_argument("--digestfile", metavar="FILE", help="write the manifest's digest to a file")
    add_registry_flags(parser)
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("destination", nargs="?", metavar="DESTINATION", help="another name to push to")
    return parser


def run(arguments: list[str], settings: Globals) -> int:
    """Print the manifest's digest."""
    parsed = parser().parse_args(arguments)
    from wherry.transfer import push

    with open_engine(settings) as engine:
        digest = push(
            engine.store,
            parsed.image,
            parsed.destination,
            tls_verify=parsed.tls_verify,
            auth_file=parsed.authfile,
            credentials=credentials(parsed.creds),
            progress=None if parsed.quiet else progress(),
        )
    if parsed.digestfile:
        with open(parsed.digestfile, "w", encoding="ascii") as file:
            file.write(str(digest))
    output.line(str(digest))
    return 0
