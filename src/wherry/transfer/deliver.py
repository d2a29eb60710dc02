"""Bring an image to a place made of blobs and manifests: registry, layout, directory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from wherry.oci import image as documents
from wherry.oci.digest import Verifier
from wherry.oci.image import Document, Index, Manifest
from wherry.transfer.base import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Protocol

    from wherry.oci.image import Descriptor
    from wherry.transfer.base import ImageSource, Observer

    class BlobTarget(Protocol):
        """What `deliver` needs of a place."""

        def put_blob(self, descriptor: Descriptor, read: Callable[[int], Iterable[bytes]]) -> bool:
            """Store a blob unless it is there; whether it was needed. `read` gives bytes from an offset on."""

        def put_manifest(self, document: Document, *, top: bool) -> None:
            """Store a manifest whose blobs are all there; `top` is the one that gets the name."""


WORKERS = 4


def deliver(source: ImageSource, root: Document, target: BlobTarget, observer: Observer) -> None:
    """Blobs first, then manifests, then the index: nothing ever refers to what is not there."""
    _deliver(source, root, target, observer, top=True)


def _deliver(source: ImageSource, document: Document, target: BlobTarget, observer: Observer, *, top: bool) -> None:
    parsed = documents.parse_manifest(document.raw, document.media_type)
    if isinstance(parsed, Index):
        for entry in parsed.manifests:
            _deliver(source, source.document(entry), target, observer, top=False)
    else:
        _deliver_blobs(source, parsed, target, observer)
    target.put_manifest(Document(document.raw, parsed.media_type, document.digest), top=top)


def _deliver_blobs(source: ImageSource, manifest: Manifest, target: BlobTarget, observer: Observer) -> None:
    wanted = {descriptor.digest: descriptor for descriptor in (*manifest.layers, manifest.config)}
    jobs = sorted(wanted.values(), key=lambda descriptor: -descriptor.size_bytes)

    def put(descriptor: Descriptor) -> None:
        observer(Progress("blob", descriptor.digest, "waiting", 0, descriptor.size_bytes))
        sent = target.put_blob(descriptor, lambda offset: _verified(source, descriptor, offset, observer))
        status = "done" if sent else "present"
        observer(Progress("blob", descriptor.digest, status, descriptor.size_bytes, descriptor.size_bytes))

    with ThreadPoolExecutor(WORKERS) as pool:
        for future in [pool.submit(put, descriptor) for descriptor in jobs]:
            future.result()


def _verified(source: ImageSource, descriptor: Descriptor, offset: int, observer: Observer) -> Iterator[bytes]:
    """The blob's bytes; a wrong digest shows before the last of them is handed out."""
    verifier = Verifier(descriptor.digest) if not offset else None
    position = offset
    held = b""
    for chunk in source.chunks(descriptor, offset):
        if verifier is not None:
            verifier.update(chunk)
        if held:
            yield held
        held = chunk
        position += len(chunk)
        observer(Progress("blob", descriptor.digest, "uploading", position, descriptor.size_bytes))
    if verifier is not None:
        verifier.check(f"blob {descriptor.digest}")
    if held:
        yield held
