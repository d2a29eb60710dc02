"""Free what no image and no container refers to. The caller holds the store's exclusive lock."""

from __future__ import annotations

import os

from wherry.oci import image as documents
from wherry.oci.digest import Digest
from wherry.store import rootdir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.store.blobs import Blobs
    from wherry.store.database import Database
    from wherry.store.layers import Layer, Layers
    from wherry.store.layout import Layout


class GarbageReport:
    """What was freed: chain ids, digests, and the bytes of both."""

    __slots__ = ("blobs", "freed_bytes", "layers")

    def __init__(self) -> None:
        self.layers: list[str] = []
        self.blobs: list[str] = []
        self.freed_bytes = 0


def collect(database: Database, layers: Layers, blobs: Blobs, paths: Layout, *, partial: bool = True) -> GarbageReport:
    """Layers first, then blobs; with `partial`, downloads that were broken off and other leftovers too."""
    report = GarbageReport()
    kept = _sweep_layers(database, layers, report)
    _sweep_blobs(database, blobs, kept, report)
    if partial:
        _sweep_leftovers(paths, report)
    return report


def _sweep_layers(database: Database, layers: Layers, report: GarbageReport) -> list[Layer]:
    known = {layer.chain_id: layer for layer in layers.list()}
    used: set[str] = set()
    for (chain_id,) in database.query("SELECT chain_id FROM images UNION SELECT chain_id FROM snapshots"):
        while chain_id and chain_id in known and chain_id not in used:
            used.add(chain_id)
            chain_id = known[chain_id].parent
    for layer in reversed(known.values()):
        if layer.chain_id not in used:
            layers.remove(layer)
            report.layers.append(layer.chain_id)
            report.freed_bytes += layer.size_bytes
    return [layer for layer in known.values() if layer.chain_id in used]


def referenced(database: Database, blobs: Blobs) -> dict[Digest, str]:
    """Every blob that the images need, and which image (manifest digest) needs it."""
    needed: dict[Digest, str] = {}
    for (digest,) in database.query("SELECT digest FROM images"):
        needed[Digest(digest)] = digest
        if not blobs.has(Digest(digest)):
            continue
        manifest = documents.parse_manifest(blobs.read(Digest(digest), documents.MANIFEST_LIMIT_BYTES))
        if isinstance(manifest, documents.Manifest):
            for descriptor in (manifest.config, *manifest.layers):
                needed[descriptor.digest] = digest
    return needed


def _sweep_blobs(database: Database, blobs: Blobs, kept: list[Layer], report: GarbageReport) -> None:
    needed: set[str] = set(referenced(database, blobs))
    needed.update(row[0] for row in database.query("SELECT target FROM names"))
    needed.update(layer.blob for layer in kept)
    for digest in list(blobs.list()):
        if digest not in needed:
            report.freed_bytes += blobs.size_bytes(digest)
            blobs.delete(digest)
            report.blobs.append(digest)


def _sweep_leftovers(paths: Layout, report: GarbageReport) -> None:
    for directory in (paths.ingest, paths.tmp):
        for name in os.listdir(directory):
            path = f"{directory}/{name}"
            if directory == paths.ingest:
                report.freed_bytes += os.stat(path).st_size
            rootdir.remove_tree(path)
