"""`spec`: write a config.json to begin with."""

from __future__ import annotations

import os

from wherry.errors import ALREADY_EXISTS, WherryError
from wherry.runtime.arguments import FLAG, TEXT, parse
from wherry.runtime.default_config import default_config, make_rootless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.runtime.arguments import Table
    from wherry.runtime.command_line import Context

OPTIONS: Table = (("bundle", "b", TEXT), ("rootless", "", FLAG))


def run(context: Context) -> int:
    """Write it to the bundle; a document that is there already stays."""
    import json

    arguments = parse(OPTIONS, context.words, intermixed=True)
    config = default_config()
    if arguments.flag("rootless"):
        make_rootless(config, os.geteuid(), os.getegid())
    path = os.path.join(arguments.text("bundle") or ".", "config.json")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise WherryError(
            ALREADY_EXISTS, f"file {path} exists", hint="remove it first, or choose another --bundle"
        ) from None
    with open(fd, "w", encoding="utf-8") as file:
        file.write(json.dumps(config, indent="\t") + "\n")
    return 0
