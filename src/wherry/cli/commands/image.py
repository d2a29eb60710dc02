"""`wherry image`: the image commands under docker's longer name."""

from __future__ import annotations

import sys

from wherry.cli.errors import ENGINE_STATUS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.main import Globals

SAME = {
    "import": "import_", "inspect": "inspect", "load": "load", "ls": "images", "pull": "pull", "push": "push",
    "rm": "rmi", "save": "save", "tag": "tag",
}  # fmt: skip


def run(arguments: list[str], settings: Globals) -> int:
    """Run the command of that name."""
    verb = arguments[0] if arguments else "--help"
    if verb in ("-h", "--help"):
        sys.stdout.write(
            f"Usage: wherry image COMMAND …\n\nManage images.\n\nCommands: {', '.join(SAME)}\n\n"
            "ls is wherry images, rm is wherry rmi, the others are the commands of the same names.\n"
            "wherry image COMMAND --help says more.\n"
        )
        return 0 if arguments else 1
    if verb not in SAME:
        sys.stderr.write(f"Error: unknown command image {verb!r}\n  → one of: {', '.join(SAME)}\n")
        return ENGINE_STATUS
    from importlib import import_module

    rest = ["--type", "image", *arguments[1:]] if verb == "inspect" else arguments[1:]
    status: int = import_module(f"wherry.cli.commands.{SAME[verb]}").run(rest, settings)
    return status
