"""The choice of the program that gives a container a network without privileges."""

from __future__ import annotations

import os

from wherry import errors
from wherry.errors import WherryError
from wherry.network.pasta import PastaDriver
from wherry.network.slirp import SlirpDriver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.network.slirp import UserDriver

_FOLDERS = "/usr/local/bin:/usr/bin:/bin"


def user_driver(state_folder: str) -> UserDriver:
    """Return pasta's driver when that is installed and we are not root, else that of slirp4netns.

    FAILED_PRECONDITION when there is neither.
    """
    pasta = "" if os.geteuid() == 0 else find_program("pasta")
    if pasta:
        return PastaDriver(state_folder, pasta)
    slirp = find_program("slirp4netns")
    if slirp:
        return SlirpDriver(state_folder, slirp)
    raise WherryError(
        errors.FAILED_PRECONDITION,
        "a network without privileges needs the program pasta or slirp4netns",
        hint="install passt or slirp4netns, or use --network none or host",
    )


def find_program(name: str) -> str:
    """Return the path of an executable on PATH, "" when there is none."""
    for folder in os.environ.get("PATH", _FOLDERS).split(":"):
        path = f"{folder}/{name}"
        if folder and os.access(path, os.X_OK):
            return path
    return ""
