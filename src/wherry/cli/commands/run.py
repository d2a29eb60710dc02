"""`wherry run`: create a container, start it, and (without -d) be its terminal until it ends."""

from __future__ import annotations

from wherry.cli.arguments import open_engine
from wherry.cli.cidfile import CidFile
from wherry.cli.create_flags import add_create_flags, create_options
from wherry.cli.errors import ENGINE_STATUS
from wherry.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.main import Globals


def parser() -> Parser:
    """The flags."""
    parser = Parser("run", "Run a command in a new container.")
    parser.add_argument("-d", "--detach", action="store_true", help="run in the background and print the id")
    parser.add_argument("--detach-keys", default="ctrl-p,ctrl-q", metavar="KEYS", help="keys that leave it running")
    parser.add_argument("--sig-proxy", type=lambda text: text != "false", default=True, help="pass signals on (true)")
    parser.add_argument("--pull", choices=("always", "missing", "never"), default="missing", help="when to pull")
    parser.add_argument("--tls-verify", type=lambda text: text != "false", default=True, help="check certificates")
    add_create_flags(parser)
    return parser


def run(arguments: list[str], settings: Globals) -> int:
    """The command's exit status is the container's."""
    parsed = parser().parse_args(arguments)
    options = create_options(parsed)
    if parsed.tty and parsed.stdin and not parsed.detach:
        from wherry.cli.terminal import require_terminal

        require_terminal()
    with open_engine(settings) as engine:
        from wherry.cli.images import ensure_image

        ensure_image(engine, parsed.image, policy=parsed.pull, tls_verify=parsed.tls_verify)
        with CidFile(parsed.cidfile) as note:
            container = engine.create(options)
            note(container.id)
        if parsed.detach:
            from wherry.cli.output import line

            container.start(remove_on_failure=options.remove)
            line(container.id)
            return 0
        from wherry.cli.foreground import run_in_foreground

        return run_in_foreground(container, options, detach_keys=parsed.detach_keys, proxy_signals=parsed.sig_proxy)


def status(error: BaseException) -> int:
    """Docker's 125, or 126 and 127 when the command could not be executed or found."""
    return getattr(error, "exit_status", ENGINE_STATUS)
