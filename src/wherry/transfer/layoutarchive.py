"""`oci-archive:FILE[:TAG]`: an OCI image layout in a tar file."""

from __future__ import annotations

import threading
from pathlib import Path

from wherry.errors import INVALID_ARGUMENT, NOT_FOUND, WherryError
from wherry.oci import image as documents
from wherry.oci.digest import Verifier
from wherry.oci.image import Document
from wherry.transfer.archive import Archive, ArchiveWriter
from wherry.transfer.deliver import deliver
from wherry.transfer.ocilayout import TAG_ANNOTATION, select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import IO, Any

    from wherry.oci.digest import Digest
    from wherry.oci.image import Descriptor, Index
    from wherry.transfer.base import ImageSource, Observer


class LayoutArchiveSource:
    """One image of a layout in an archive."""

    def __init__(self, archive: Archive, descriptor: Descriptor, name: str) -> None:
        self._archive = archive
        self._descriptor = descriptor
        self.name = name

    def root(self) -> Document:
        """The manifest or index that was chosen."""
        return self.document(self._descriptor)

    def document(self, descriptor: Descriptor) -> Document:
        """A manifest among the blobs, verified."""
        raw = self._archive.read(_member(descriptor.digest), documents.MANIFEST_LIMIT_BYTES)
        verifier = Verifier(descriptor.digest)
        verifier.update(raw)
        return Document(raw, descriptor.media_type, verifier.check("a manifest in the archive"))

    def chunks(self, descriptor: Descriptor, offset: int = 0) -> Iterator[bytes]:
        """A member of the archive."""
        return self._archive.chunks(_member(descriptor.digest), offset)


def index_of(archive: Archive) -> Index:
    """The layout's list of images; INVALID_ARGUMENT when the archive holds none."""
    if not archive.has("index.json"):
        raise WherryError(INVALID_ARGUMENT, "neither a docker archive nor an OCI layout")
    parsed = documents.parse_manifest(archive.read("index.json", documents.MANIFEST_LIMIT_BYTES), documents.OCI_INDEX)
    assert isinstance(parsed, documents.Index)
    return parsed


def open_source(path: str, tag: str = "") -> LayoutArchiveSource:
    """The image of that tag in an archive, or its only one."""
    try:
        with Path(path).open("rb") as file:
            archive = Archive(file)
    except OSError as error:
        raise WherryError(NOT_FOUND, f"cannot read: {error.strerror}", path=path) from None
    name = f"oci-archive:{path}"
    return LayoutArchiveSource(archive, select(index_of(archive), tag, name), name)


class LayoutArchiveWriter:
    """Collects images into one archive; blobs that they share are written once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._tar = ArchiveWriter(file)
        self._lock = threading.Lock()
        self._entries: list[dict[str, Any]] = []
        self._annotations: Mapping[str, str] = {}

    def add(self, source: ImageSource, root: Document, annotations: Mapping[str, str], observer: Observer) -> None:
        """An image, with what the index is to say about it."""
        self._annotations = annotations
        deliver(source, root, self, observer)

    def put_blob(self, descriptor: Descriptor, read: Callable[[int], Iterable[bytes]]) -> bool:
        """One at a time: it is one file."""
        name = _member(descriptor.digest)
        with self._lock:
            if self._tar.has(name):
                return False
            self._tar.add(name, descriptor.size_bytes, read(0))
        return True

    def put_manifest(self, document: Document, *, top: bool) -> None:
        """A blob like others; the top one goes into the index."""
        descriptor = documents.Descriptor(
            document.media_type, document.digest, len(document.raw), annotations=self._annotations if top else None
        )
        self.put_blob(descriptor, lambda offset: [document.raw[offset:]])
        if top:
            self._entries.append(descriptor.document())

    def finish(self) -> None:
        """The index, last."""
        self._tar.add_bytes("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        index = {"schemaVersion": 2, "mediaType": documents.OCI_INDEX, "manifests": self._entries}
        self._tar.add_bytes("index.json", documents.encode(index))
        self._tar.finish()


class LayoutArchiveSink:
    """A new archive with one image."""

    def __init__(self, path: str | Path, tag: str = "") -> None:
        self._path = Path(path)
        self._tag = tag
        self.name = f"oci-archive:{path}"

    def write(self, source: ImageSource, root: Document, observer: Observer) -> Digest:
        """The file appears when it is complete."""
        temporary = self._path.with_name(f".{self._path.name}.partial")
        try:
            with temporary.open("wb") as file:
                writer = LayoutArchiveWriter(file)
                writer.add(source, root, {TAG_ANNOTATION: self._tag} if self._tag else {}, observer)
                writer.finish()
            temporary.rename(self._path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return root.digest


def _member(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"
