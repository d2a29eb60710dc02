"""`update`: change the limits of a container that exists."""

from __future__ import annotations

import sys

from wherry.errors import INVALID_ARGUMENT, WherryError
from wherry.oci import config
from wherry.runtime.arguments import TEXT, Arguments, parse
from wherry.runtime.cgroup.update_flags import FLAGS, resources_from_flags, resources_from_json
from wherry.runtime.existing import Existing, Locked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.runtime.arguments import Table
    from wherry.runtime.command_line import Context

OPTIONS: Table = (("resources", "r", TEXT), *[(row[0].lstrip("-"), "", TEXT) for row in FLAGS])


def run(context: Context) -> int:
    """Apply the document of `--resources`, or the options."""
    from wherry.runtime.cgroup.update import update_resources

    arguments = parse(OPTIONS, context.words, intermixed=True)
    if len(arguments.operands) != 1:
        raise WherryError(INVALID_ARGUMENT, "requires exactly 1 argument, the container's ID")
    container_id = arguments.operands[0]
    root = context.root()
    changes = _changes(arguments)
    with Locked(root, container_id):
        container = Existing(root, container_id)
        container.require_live()
        document = container.document
        linux = document.setdefault("linux", {})
        cache = changes.pop("intelRdt", None)
        if changes:
            linux["resources"] = update_resources(container.groups(), linux.get("resources") or {}, changes)
        if cache:
            _update_cache(container, document, cache)
        container.save_document(document)
    return 0


def _changes(arguments: Arguments) -> dict[str, Any]:
    file = arguments.text("resources")
    if file == "-":
        return resources_from_json(sys.stdin.buffer.read(config.SIZE_LIMIT_BYTES))
    if file:
        return resources_from_json(config.read(file))
    given = {f"--{name}": value for name, value in arguments.values.items() if isinstance(value, str)}
    changes = resources_from_flags(given)
    if not changes:
        raise WherryError(INVALID_ARGUMENT, "nothing to change: give --resources or an option")
    return changes


def _update_cache(container: Existing, document: dict[str, Any], cache: dict[str, Any]) -> None:
    from wherry.runtime.intel_rdt import compile_rdt, update_rdt

    document["linux"].setdefault("intelRdt", {})
    rdt = compile_rdt(document, container.id)
    assert rdt is not None
    update_rdt(rdt.directory, cache.get("l3CacheSchema", ""), cache.get("memBwSchema", ""))
    document["linux"]["intelRdt"].update(cache)
