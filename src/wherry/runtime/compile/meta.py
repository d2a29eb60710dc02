"""META: what the native verbs need to know, as ready texts."""

from __future__ import annotations

from wherry.oci.json_text import dumps
from wherry.runtime.compile.draft import OCI_VERSION
from wherry.runtime.compile.namespaces import NEWPID
from wherry.runtime.paths import absolute, join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.runtime.compile.draft import Draft


def describe(draft: Draft) -> None:
    """The container's facts, except those of its control group."""
    options, meta = draft.options, draft.meta
    root = draft.document.document("root")
    path = root.text("path") if root else ""
    facts = {
        "id": options.id,
        "id_json": dumps(options.id),
        "oci_version_json": dumps(OCI_VERSION),
        "bundle_json": dumps(options.bundle),
        "rootfs_json": dumps(absolute(join(options.bundle, path))),
        "owner_json": dumps(options.owner),
        "annotations_json": dumps(draft.annotations) if draft.annotations else "",
        "shares_pid_namespace": "0" if draft.namespaces.new & NEWPID else "1",
    }
    for key, value in facts.items():
        meta.emit("META", key, value)
