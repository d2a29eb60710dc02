"""An image of our own store as a source: what `push` and `save` read from."""

from __future__ import annotations

from wherry.oci import digest as digests
from wherry.oci import image as documents
from wherry.oci.image import Document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.oci.digest import Digest
    from wherry.oci.image import Descriptor, ImageConfig, Manifest
    from wherry.store.images import Image
    from wherry.store.store import Store

CHUNK_BYTES = 256 * 1024


class StoreSource:
    """One image, for the platform it was pulled for."""

    def __init__(self, store: Store, image: Image) -> None:
        self._store = store
        self.image = image
        self.name = image.names[0] if image.names else image.id

    def root(self) -> Document:
        """Its manifest, exactly as it came."""
        manifest = self.manifest()
        return Document(manifest.raw, manifest.media_type, manifest.digest)

    def manifest(self) -> Manifest:
        """The same, parsed."""
        return self._store.images.manifest(self.image)

    def config(self) -> ImageConfig:
        """Its configuration."""
        return self._store.images.config(self.image)

    def archive_bytes(self, diff_id: Digest) -> int | None:
        """The size of a layer's uncompressed archive, where it is known."""
        row = self._store.database.query_one("SELECT archive_bytes FROM layers WHERE diff_id = ?", (diff_id,))
        return int(row[0]) if row else None

    def document(self, descriptor: Descriptor) -> Document:
        """Any other manifest of the store."""
        raw = self._store.blobs.read(descriptor.digest, documents.MANIFEST_LIMIT_BYTES)
        return Document(raw, descriptor.media_type, digests.of_bytes(raw, descriptor.digest.algorithm))

    def chunks(self, descriptor: Descriptor, offset: int = 0) -> Iterator[bytes]:
        """A blob's file."""
        import os

        fd = self._store.blobs.open(descriptor.digest)
        try:
            os.lseek(fd, offset, os.SEEK_SET)
            while chunk := os.read(fd, CHUNK_BYTES):
                yield chunk
        finally:
            os.close(fd)
