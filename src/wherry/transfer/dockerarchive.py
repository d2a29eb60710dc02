"""`docker-archive:FILE[:NAME]`: what `docker save` writes and `docker load` reads."""

from __future__ import annotations

import json
from pathlib import Path

from wherry.errors import INVALID_ARGUMENT, NOT_FOUND, NOT_IMPLEMENTED, WherryError
from wherry.oci import digest as digests
from wherry.oci import image as documents
from wherry.oci import reference as references
from wherry.oci.digest import Digest, Verifier
from wherry.oci.image import Descriptor, Document, ImageConfig
from wherry.store.compression import NONE, decompress, detect
from wherry.transfer import files
from wherry.transfer.archive import Archive, ArchiveWriter
from wherry.transfer.base import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO, Any

    from wherry.transfer.base import ImageSource, Observer

MANIFEST = "manifest.json"


class ArchivedImage:
    """One entry of an archive's `manifest.json`: its configuration, layers (bottom first) and names."""

    __slots__ = ("archive", "config", "layers", "names")

    def __init__(self, archive: Archive, entry: object, path: str) -> None:
        if not isinstance(entry, dict) or not isinstance(entry.get("Config"), str):
            raise WherryError(INVALID_ARGUMENT, "no Config", path=path)
        self.archive = archive
        self.layers = _texts(entry.get("Layers"), f"{path}.Layers")
        self.names = _texts(entry.get("RepoTags"), f"{path}.RepoTags")
        self.config: ImageConfig = documents.parse_config(archive.read(entry["Config"], documents.CONFIG_LIMIT_BYTES))
        if len(self.layers) != len(self.config.diff_ids):
            raise WherryError(
                INVALID_ARGUMENT,
                f"{len(self.layers)} layers, but the config names {len(self.config.diff_ids)}",
                path=path,
            )


def images_of(archive: Archive) -> list[ArchivedImage]:
    """All images of an archive; INVALID_ARGUMENT when it is none."""
    try:
        entries = json.loads(archive.read(MANIFEST, documents.MANIFEST_LIMIT_BYTES))
    except (ValueError, RecursionError):
        raise WherryError(INVALID_ARGUMENT, "is not JSON", path=MANIFEST) from None
    if not isinstance(entries, list):
        raise WherryError(INVALID_ARGUMENT, "is not a list", path=MANIFEST)
    return [ArchivedImage(archive, entry, f"{MANIFEST}[{number}]") for number, entry in enumerate(entries)]


class ArchiveSource:
    """One image of an archive: the one of that name, or the only one."""

    def __init__(self, path: str | Path, name: str = "") -> None:
        self.path = Path(path)
        self.name = f"docker-archive:{path}{':' + name if name else ''}"
        self._wanted = str(references.parse(name)) if name else ""
        self._members: dict[str, str] = {}
        self._image: ArchivedImage | None = None

    def root(self) -> Document:
        """A manifest made for what the archive holds; its layers are as they are there."""
        image = self._open()
        config = Descriptor(documents.DOCKER_CONFIG, image.config.digest, len(image.config.raw))
        layers = [
            self._describe(image, name, diff_id)
            for name, diff_id in zip(image.layers, image.config.diff_ids, strict=True)
        ]
        document = {
            "schemaVersion": 2,
            "mediaType": documents.DOCKER_MANIFEST,
            "config": config.document(),
            "layers": [layer.document() for layer in layers],
        }
        return files.document_of(documents.encode(document), documents.DOCKER_MANIFEST)

    def document(self, descriptor: Descriptor) -> Document:
        """Never: there are no indexes here."""
        raise WherryError(NOT_FOUND, f"no manifest {descriptor.digest}", path=self.name)

    def chunks(self, descriptor: Descriptor, offset: int = 0) -> Iterator[bytes]:
        """A member of the archive, or its configuration."""
        image = self._open()
        if descriptor.digest == image.config.digest:
            return iter([image.config.raw[offset:]])
        if not self._members:
            self.root()
        return image.archive.chunks(self._members.get(descriptor.digest, str(descriptor.digest)), offset)

    def _describe(self, image: ArchivedImage, name: str, diff_id: Digest) -> Descriptor:
        size = image.archive.size_bytes(name)
        kind = detect(next(image.archive.chunks(name), b""))
        digest = diff_id
        if kind != NONE:
            verifier = Verifier()
            for chunk in image.archive.chunks(name):
                verifier.update(chunk)
            digest = verifier.digest()
        self._members[digest] = name
        suffix = f".{kind}" if kind != NONE else ""
        return Descriptor(documents.DOCKER_LAYER + suffix, digest, size)

    def _open(self) -> ArchivedImage:
        if self._image is None:
            try:
                with self.path.open("rb") as file:
                    archive = Archive(file)
            except OSError as error:
                raise WherryError(NOT_FOUND, f"cannot read: {error.strerror}", path=str(self.path)) from None
            self._image = self._select(images_of(archive))
        return self._image

    def _select(self, images: list[ArchivedImage]) -> ArchivedImage:
        found = [
            image
            for image in images
            if not self._wanted or self._wanted in (str(references.parse(name)) for name in image.names)
        ]
        if len(found) != 1:
            names = ", ".join(name for image in images for name in image.names)
            what = "several images" if found else "no such image"
            raise WherryError(NOT_FOUND, what, path=self.name, hint=f"there is: {names or 'nothing named'}")
        return found[0]


class DockerArchiveWriter:
    """Collects images into one archive; layers that they share are written once, uncompressed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._tar = ArchiveWriter(file)
        self._entries: list[dict[str, Any]] = []

    def add(
        self,
        source: ImageSource,
        root: Document,
        names: Sequence[str],
        observer: Observer,
        size_of: Callable[[Digest], int | None] = lambda diff_id: None,
    ) -> None:
        """`size_of` a layer's uncompressed archive saves a temporary file where it is known."""
        manifest = documents.parse_manifest(root.raw, root.media_type)
        if not isinstance(manifest, documents.Manifest):
            raise WherryError(NOT_IMPLEMENTED, f"{source.name}: a docker archive holds one platform only")
        raw = b"".join(source.chunks(manifest.config))
        if digests.of_bytes(raw, manifest.config.digest.algorithm) != manifest.config.digest:
            raise WherryError(INVALID_ARGUMENT, f"{source.name}: the config is damaged")
        config = documents.parse_config(raw)
        members = []
        for descriptor, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
            members.append(self._add_layer(source, descriptor, diff_id, size_of(diff_id)))
            size = descriptor.size_bytes
            observer(Progress("blob", descriptor.digest, "done", size, size))
        name = f"{config.digest.hex}.json"
        if not self._tar.has(name):
            self._tar.add_bytes(name, raw)
        # Whole names: podman would take a short one for its own.
        tags = [known for known in names if "@" not in known]
        self._entries.append({"Config": name, "RepoTags": tags, "Layers": members})

    def _add_layer(self, source: ImageSource, descriptor: Descriptor, diff_id: Digest, size_bytes: int | None) -> str:
        name = f"{diff_id.hex}.tar"
        if self._tar.has(name):
            return name
        chunks = _verified(source, descriptor, diff_id)
        if size_bytes is None:
            self._tar.add_unsized(name, chunks)
        else:
            self._tar.add(name, size_bytes, chunks)
        return name

    def finish(self) -> None:
        """The list of images, last."""
        self._tar.add_bytes(MANIFEST, json.dumps(self._entries).encode())
        self._tar.finish()


def _verified(source: ImageSource, descriptor: Descriptor, diff_id: Digest) -> Iterator[Any]:
    verifier = Verifier(diff_id)
    for chunk in decompress(source.chunks(descriptor)):
        verifier.update(chunk)
        yield chunk
    verifier.check(f"layer {descriptor.digest}")


class ArchiveSink:
    """A new archive with one image."""

    def __init__(self, path: str | Path, name: str = "") -> None:
        self._path = Path(path)
        self._names = [str(references.parse(name))] if name else []
        self.name = f"docker-archive:{path}"

    def write(self, source: ImageSource, root: Document, observer: Observer) -> Digest:
        """The file appears when it is complete."""
        temporary = self._path.with_name(f".{self._path.name}.partial")
        try:
            with temporary.open("wb") as file:
                writer = DockerArchiveWriter(file)
                writer.add(source, root, self._names, observer)
                writer.finish()
            temporary.rename(self._path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return root.digest


def _texts(value: object, path: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise WherryError(INVALID_ARGUMENT, "is not a list of strings", path=path)
    return value
