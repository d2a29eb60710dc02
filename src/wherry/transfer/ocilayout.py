"""`oci:DIRECTORY[:TAG]`: an OCI image layout (image-spec, image-layout.md)."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from wherry.errors import INVALID_ARGUMENT, NOT_FOUND, WherryError
from wherry.oci import image as documents
from wherry.transfer import files
from wherry.transfer.deliver import deliver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from wherry.oci.digest import Digest
    from wherry.oci.image import Descriptor, Document, Index
    from wherry.transfer.base import ImageSource, Observer

TAG_ANNOTATION = "org.opencontainers.image.ref.name"
NAME_ANNOTATION = "io.containerd.image.name"  # the whole name, as docker and containerd keep it
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_LAYOUT_LIMIT_BYTES = 4096


class LayoutSource:
    """One image of a layout: the one of that tag, or the only one."""

    def __init__(self, directory: str | Path, tag: str = "") -> None:
        self.directory = Path(directory)
        self.tag = tag
        self.name = f"oci:{directory}{':' + tag if tag else ''}"

    def index(self) -> Index:
        """The layout's list of images; INVALID_ARGUMENT when the directory is no layout."""
        version = documents.parse_document(
            files.read_small(self.directory / "oci-layout", _LAYOUT_LIMIT_BYTES), "oci-layout"
        )
        if version.get("imageLayoutVersion") != "1.0.0":
            raise WherryError(INVALID_ARGUMENT, "unknown version of image layout", path=str(self.directory))
        raw = files.read_small(self.directory / "index.json", documents.MANIFEST_LIMIT_BYTES)
        parsed = documents.parse_manifest(raw, documents.OCI_INDEX)
        assert isinstance(parsed, documents.Index)
        return parsed

    def root(self) -> Document:
        """The manifest or index of the tag; NOT_FOUND."""
        return self.document(select(self.index(), self.tag, self.name))

    def document(self, descriptor: Descriptor) -> Document:
        """A manifest among the blobs."""
        return files.read_document(self._path(descriptor.digest), descriptor, documents.MANIFEST_LIMIT_BYTES)

    def chunks(self, descriptor: Descriptor, offset: int = 0) -> Iterator[bytes]:
        """A blob's file."""
        return files.file_chunks(self._path(descriptor.digest), offset)

    def _path(self, digest: Digest) -> Path:
        return self.directory / "blobs" / digest.algorithm / digest.hex


def select(index: Index, tag: str, name: str) -> Descriptor:
    """The entry of that tag (or digest); without one, the only entry there is."""
    if tag:
        found = [entry for entry in index.manifests if tag in (entry.annotations.get(TAG_ANNOTATION), entry.digest)]
    else:
        found = list(index.manifests)
    if found and (tag or len(found) == 1):
        return found[-1]
    tags = ", ".join(sorted(filter(None, (entry.annotations.get(TAG_ANNOTATION) for entry in index.manifests))))
    what = "several images" if found else "no such image"
    raise WherryError(NOT_FOUND, f"{what}", path=name, hint=f"tags: {tags or 'none'}")


class LayoutSink:
    """Adds an image to a layout, which is made when it is not there.

    It takes the place of an image of the same tag, or of the same whole name where `whole_name` is given.
    """

    def __init__(self, directory: str | Path, tag: str = "", *, whole_name: str = "") -> None:
        self.directory = Path(directory)
        self._annotations = {TAG_ANNOTATION: tag} if tag else {}
        if whole_name:
            self._annotations[NAME_ANNOTATION] = whole_name
        self.name = f"oci:{directory}{':' + tag if tag else ''}"

    def write(self, source: ImageSource, root: Document, observer: Observer) -> Digest:
        """Blobs, then the entry in the index; an older entry of the same tag goes."""
        self._prepare()
        deliver(source, root, self, observer)
        return root.digest

    def _prepare(self) -> None:
        for algorithm in ("sha256", "sha512"):
            (self.directory / "blobs" / algorithm).mkdir(parents=True, exist_ok=True)
        if not (self.directory / "oci-layout").exists():
            files.write_file(self.directory / "oci-layout", _LAYOUT)

    def put_blob(self, descriptor: Descriptor, read: Callable[[int], Iterable[bytes]]) -> bool:
        """A file named after the digest."""
        return files.write_blob(self._path(descriptor.digest), descriptor, read)

    def put_manifest(self, document: Document, *, top: bool) -> None:
        """A blob like others; the top one is entered in the index."""
        descriptor = documents.Descriptor(document.media_type, document.digest, len(document.raw))
        files.write_blob(self._path(document.digest), descriptor, lambda offset: [document.raw[offset:]])
        if top:
            for algorithm in ("sha256", "sha512"):
                files.sync_directory(self.directory / "blobs" / algorithm)
            self._enter(descriptor)

    def _enter(self, descriptor: Descriptor) -> None:
        """Rewrite index.json under a lock, so that two writers do not lose each other's entry."""
        fd = os.open(self.directory / "oci-layout", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            index = self._read_index()
            entries = [entry for entry in index["manifests"] if not self._replaced(entry, descriptor)]
            entry = descriptor.document()
            if self._annotations:
                entry["annotations"] = self._annotations
            index["manifests"] = [*entries, entry]
            files.write_file(self.directory / "index.json", documents.encode(index))
        finally:
            os.close(fd)

    def _replaced(self, entry: dict[str, Any], descriptor: Descriptor) -> bool:
        key = NAME_ANNOTATION if NAME_ANNOTATION in self._annotations else TAG_ANNOTATION
        mine = self._annotations.get(key)
        theirs = (entry.get("annotations") or {}).get(key)
        return bool(mine == theirs and (mine or entry.get("digest") == descriptor.digest))

    def _read_index(self) -> dict[str, Any]:
        path = self.directory / "index.json"
        if not path.exists():
            return {"schemaVersion": 2, "mediaType": documents.OCI_INDEX, "manifests": []}
        raw = files.read_small(path, documents.MANIFEST_LIMIT_BYTES)
        documents.parse_manifest(raw, documents.OCI_INDEX)
        document: dict[str, Any] = json.loads(raw)
        return document

    def _path(self, digest: Digest) -> Path:
        return self.directory / "blobs" / digest.algorithm / digest.hex
