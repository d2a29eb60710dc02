"""`docker://REFERENCE`: an image in a registry."""

from __future__ import annotations

from wherry.transfer.deliver import deliver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from wherry.oci.digest import Digest
    from wherry.oci.image import Descriptor, Document
    from wherry.oci.reference import Reference
    from wherry.registry.client import Client
    from wherry.transfer.base import ImageSource, Observer


class RegistrySource:
    """What a reference names in its registry."""

    def __init__(self, client: Client, reference: Reference) -> None:
        self._client = client
        self.reference = reference
        self.name = str(reference)

    def root(self) -> Document:
        """One request."""
        return self._client.manifest(self.reference)

    def document(self, descriptor: Descriptor) -> Document:
        """Another manifest of the same repository."""
        return self._client.manifest(self.reference, descriptor.digest)

    def chunks(self, descriptor: Descriptor, offset: int = 0) -> Iterator[bytes]:
        """A blob of the repository; breaks are mended."""
        return self._client.blob(self.reference, descriptor, offset)


class RegistrySink:
    """A tag or digest in a registry. `mount_from`: repositories there that may have the blobs already."""

    def __init__(
        self, client: Client, reference: Reference, *, mount_from: Sequence[str] = (), chunk_bytes: int = 0
    ) -> None:
        self._client = client
        self._reference = reference
        self._mount_from = tuple(mount_from)
        self._chunk_bytes = chunk_bytes
        self.name = str(reference)

    def write(self, source: ImageSource, root: Document, observer: Observer) -> Digest:
        """Upload what is missing, then the manifests."""
        deliver(source, root, self, observer)
        return root.digest

    def put_blob(self, descriptor: Descriptor, read: Callable[[int], Iterable[bytes]]) -> bool:
        """Whether it had to be sent."""
        return self._client.push_blob(
            self._reference, descriptor, read, mount_from=self._mount_from, chunk_bytes=self._chunk_bytes
        )

    def put_manifest(self, document: Document, *, top: bool) -> None:
        """Under the tag if it is the top one."""
        reference = self._reference if top else self._reference.with_digest(document.digest)
        self._client.push_manifest(reference, document)
