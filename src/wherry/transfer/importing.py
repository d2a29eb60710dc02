"""`docker import`: a root file system's archive becomes an image of one layer."""

from __future__ import annotations

import datetime
import os

from wherry.oci import digest as digests
from wherry.oci import image as documents
from wherry.oci import platform as platforms
from wherry.oci import reference as references
from wherry.oci.image import Descriptor
from wherry.transfer import changes as instructions
from wherry.transfer.absorb import absorb_layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO, Any

    from wherry.oci.platform import Platform
    from wherry.store.images import Image
    from wherry.store.store import Store

CHUNK_BYTES = 256 * 1024


def import_tarball(
    store: Store,
    file: IO[bytes],
    reference: str | None = None,
    *,
    changes: Sequence[str] = (),
    message: str = "",
    platform: Platform | None = None,
) -> Image:
    """Read a tar archive (plain, gzip or zstd) from `file` and name the image `reference`.

    `changes` are Dockerfile instructions: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME,
    WORKDIR. The time of the image is SOURCE_DATE_EPOCH when that is set.
    """
    name = references.parse(reference) if reference else None
    config: dict[str, Any] = {}
    instructions.apply(config, changes)
    with store.writing():
        store.layers.make_durable(store.root)
        chunks = iter(lambda: file.read(CHUNK_BYTES), b"")
        layer, descriptor = absorb_layer(store, chunks, parent=None, diff_id=None)
        raw = documents.encode(_document(config, layer.diff_id, message, platform or platforms.host()))
        store.blobs.put(raw)
        config_descriptor = Descriptor(documents.OCI_CONFIG, digests.of_bytes(raw), len(raw))
        manifest = documents.build_manifest(config_descriptor, [descriptor])
        store.blobs.put(manifest.raw)
        targets = [(str(name), str(manifest.digest))] if name is not None else []
        return store.images.record(manifest, documents.parse_config(raw), layer.chain_id, targets)


def _document(config: dict[str, Any], diff_id: str, message: str, platform: Platform) -> dict[str, Any]:
    created = _now()
    return {
        "created": created,
        **documents.platform_document(platform),
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "comment": message or "Imported from a tar archive"}],
    }


def _now() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch.isdigit():
        moment = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC)
    else:
        moment = datetime.datetime.now(datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ" if epoch.isdigit() else "%Y-%m-%dT%H:%M:%S.%fZ")
