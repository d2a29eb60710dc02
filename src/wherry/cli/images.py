"""What the image commands share: registry flags, credentials, progress lines."""

from __future__ import annotations

import sys

from wherry.errors import INVALID_ARGUMENT, NOT_FOUND, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.engine import Engine
    from wherry.transfer.base import Progress

    from .parser import Parser


def add_registry_flags(parser: Parser) -> None:
    """`--tls-verify --authfile --creds`."""
    parser.add_argument("--tls-verify", type=lambda text: text != "false", default=True, help="check certificates")
    parser.add_argument("--authfile", metavar="FILE", help="credentials, instead of auth.json")
    parser.add_argument("--creds", default="", metavar="USER:PASSWORD", help="credentials for this registry")


def credentials(text: str) -> tuple[str, str] | None:
    """User and password of `--creds`."""
    if not text:
        return None
    user, colon, password = text.partition(":")
    if not colon:
        raise WherryError(INVALID_ARGUMENT, "--creds is not USER:PASSWORD")
    return user, password


def progress() -> Callable[[Progress], None]:
    """A listener that prints one plain line on standard error when a blob is done."""

    def show(event: Progress) -> None:
        if event.kind == "blob" and event.status in ("present", "applied", "done"):
            sys.stderr.write(f"{event.id.removeprefix('sha256:')[:12]}: {event.status}\n")

    return show


def ensure_image(engine: Engine, name: str, *, policy: str, tls_verify: bool) -> None:
    """Pull by policy: always, missing or never. Raises WherryError (not found) when never and missing."""
    if policy != "always":
        try:
            engine.store.images.find(name)
            return
        except WherryError as error:
            if error.code != NOT_FOUND:
                raise
            if policy == "never":
                raise WherryError(NOT_FOUND, f"image {name} is not here", hint=f"wherry pull {name}") from error
    from wherry.transfer import pull

    pull(engine.store, name, tls_verify=tls_verify, progress=progress())
