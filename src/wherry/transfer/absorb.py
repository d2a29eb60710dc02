"""Take layers into the store whose blobs are not yet what they will be: they get compressed on the way."""

from __future__ import annotations

from wherry.oci import image as documents
from wherry.oci.digest import Verifier
from wherry.oci.image import Descriptor
from wherry.store.compression import GZIP, NONE, decompress, detect
from wherry.transfer.pipeline import Feeder, compress_into, hash_through

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wherry.oci.digest import Data, Digest
    from wherry.store.blobs import Ingest
    from wherry.store.layers import Layer
    from wherry.store.store import Store

_MEDIA_TYPES = {NONE: documents.OCI_LAYER, GZIP: documents.OCI_LAYER_GZIP}


def absorb_layer(
    store: Store, chunks: Iterable[bytes], *, parent: Digest | None, diff_id: Digest | None
) -> tuple[Layer, Descriptor]:
    """Stage, commit and keep a layer; an uncompressed archive is kept as gzip, others as they are.

    The caller holds `store.writing()`, and commits the layers of an image bottom to top.
    """
    chain_id = None
    if diff_id is not None:
        chain_id = documents.chain_ids([parent, diff_id] if parent else [diff_id])[-1]
        known = store.layers.find(chain_id)
        if known is not None and store.blobs.has(known.blob):
            return known, describe_blob(store, known.blob)
    hashed = Verifier(algorithm=diff_id.algorithm if diff_id else "sha256")
    with store.blobs.create() as ingest:
        with Feeder(lambda: _split(chunks, ingest, hashed)) as feeder:
            staged = store.layers.stage(chain_id, parent, diff_id, None, feeder, hashed=hashed)
        try:
            staged.blob = ingest.commit()
        except BaseException:
            store.layers.discard(staged)
            raise
    layer = store.layers.commit(staged, parent)
    return layer, describe_blob(store, staged.blob)


def _split(chunks: Iterable[bytes], ingest: Ingest, hashed: Verifier) -> Iterator[Data]:
    """The uncompressed archive, while the compressed one goes to the blob."""
    source = iter(chunks)
    head = b""
    for chunk in source:
        head += chunk
        if len(head) >= 4:
            break
    whole = _chain(head, source)
    if detect(head) == NONE:
        yield from compress_into(whole, ingest, hashed)
    else:
        yield from hash_through(decompress(_keep(whole, ingest)), hashed)
    ingest.settle()


def _chain(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


def _keep(chunks: Iterable[bytes], ingest: Ingest) -> Iterator[bytes]:
    for chunk in chunks:
        ingest.write(chunk)
        yield chunk


def describe_blob(store: Store, digest: Digest) -> Descriptor:
    """A layer's descriptor, its type read from its contents."""
    kind = detect(next(store.blobs.chunks(digest), b""))
    return Descriptor(_MEDIA_TYPES.get(kind, documents.OCI_LAYER_ZSTD), digest, store.blobs.size_bytes(digest))
