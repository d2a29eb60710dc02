"""`wherry pull`: fetch an image from a registry."""

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
    parser = Parser("pull", "Pull an image from a registry.")
    parser.add_argument("-q", "--quiet", action="store_true", help="only the image's id")
    parser.add_argument("--platform", default="", metavar="OS/ARCH[/VARIANT]", help="another than this host's")
    add_registry_flags(parser)
    parser.add_argument("image", metavar="IMAGE")
    return parser


def run(arguments: list[str], settings: Globals) -> int:
    """Print the image's id."""
    parsed = parser().parse_args(arguments)
    from wherry.oci import platform
    from wherry.transfer import pull

    with open_engine(settings) as engine:
        image = pull(
            engine.store,
            parsed.image,
            platform=platform.parse(parsed.platform) if parsed.platform else None,
            tls_verify=parsed.tls_verify,
            auth_file=parsed.authfile,
            credentials=credentials(parsed.creds),
            progress=None if parsed.quiet else progress(),
        )
        output.line(image.id)
    return 0
