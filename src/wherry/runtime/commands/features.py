"""`features`: what this runtime can do, as JSON (runtime-spec features.md)."""

from __future__ import annotations

import sys

from wherry.runtime.arguments import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.runtime.arguments import Table
    from wherry.runtime.command_line import Context

OPTIONS: Table = ()


def run(context: Context) -> int:
    """Print them."""
    import json

    from wherry.runtime.features import features

    parse(OPTIONS, context.words, intermixed=True)
    sys.stdout.write(json.dumps(features(), indent=4) + "\n")
    return 0
