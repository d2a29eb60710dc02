"""`docker load` and `docker save`: archives and layouts with any number of images."""

from __future__ import annotations

from pathlib import Path

from wherry.errors import INVALID_ARGUMENT, NOT_FOUND, WherryError
from wherry.oci import image as documents
from wherry.oci import reference as references
from wherry.oci.image import Descriptor
from wherry.transfer import base, dockerarchive, layoutarchive
from wherry.transfer.absorb import absorb_layer
from wherry.transfer.archive import Archive
from wherry.transfer.base import Progress
from wherry.transfer.ocilayout import NAME_ANNOTATION, TAG_ANNOTATION, LayoutSource
from wherry.transfer.pulling import pull_from
from wherry.transfer.storeimage import StoreSource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

    from wherry.store.images import Image
    from wherry.store.store import Store
    from wherry.transfer.base import Observer
    from wherry.transfer.dockerarchive import ArchivedImage

FORMATS = ("docker-archive", "oci-archive", "oci", "dir")


def load(store: Store, source: str | Path | IO[bytes], *, progress: Observer | None = None) -> list[Image]:
    """All images of a docker archive, an OCI archive or an OCI layout directory, with their names."""
    observer = progress or base.ignore
    if isinstance(source, str | Path):
        path = Path(source)
        if path.is_dir():
            return _load_layout(store, path, observer)
        try:
            with path.open("rb") as file:
                return _load_archive(store, file, observer)
        except OSError as error:
            raise WherryError(NOT_FOUND, f"cannot read: {error.strerror}", path=str(path)) from None
    return _load_archive(store, source, observer)


def _load_archive(store: Store, file: IO[bytes], observer: Observer) -> list[Image]:
    archive = Archive(file, directory=store.paths.tmp)
    try:
        if archive.has(dockerarchive.MANIFEST):
            return [_load_image(store, image, observer) for image in dockerarchive.images_of(archive)]
        index = layoutarchive.index_of(archive)
        return [
            pull_from(
                store,
                layoutarchive.LayoutArchiveSource(archive, entry, "the archive"),
                names=_names(entry),
                progress=observer,
            )
            for entry in index.manifests
        ]
    finally:
        archive.close()


def _load_layout(store: Store, path: Path, observer: Observer) -> list[Image]:
    return [
        pull_from(store, LayoutSource(path, entry.digest), names=_names(entry), progress=observer)
        for entry in LayoutSource(path).index().manifests
    ]


def _load_image(store: Store, image: ArchivedImage, observer: Observer) -> Image:
    """A docker archive's image: its configuration stays what it is, its manifest is made here."""
    config = image.config
    names = [str(references.parse(name)) for name in image.names]
    with store.writing():
        layers = []
        parent = None
        for name, diff_id in zip(image.layers, config.diff_ids, strict=True):
            chunks = image.archive.chunks(name)
            layer, descriptor = absorb_layer(store, chunks, parent=parent, diff_id=diff_id)
            observer(Progress("blob", diff_id, "applied", descriptor.size_bytes, descriptor.size_bytes))
            layers.append(descriptor)
            parent = layer.chain_id
        digest = store.blobs.put(config.raw)
        manifest = documents.build_manifest(Descriptor(documents.OCI_CONFIG, digest, len(config.raw)), layers)
        store.blobs.put(manifest.raw)
        targets = [(name, str(manifest.digest)) for name in names]
        loaded = store.images.record(manifest, config, parent or "", targets)
    observer(Progress("image", loaded.id, "done"))
    return loaded


def _names(entry: Descriptor) -> list[str]:
    """A layout's entry has a full name where docker or containerd wrote it, else perhaps a tag."""
    name = entry.annotations.get(NAME_ANNOTATION, "")
    tag = entry.annotations.get(TAG_ANNOTATION, "")
    chosen = name or (tag if "/" in tag or ":" in tag else "")
    try:
        return [str(references.parse(chosen))] if chosen else []
    except WherryError:
        return []


def save(
    store: Store,
    images: Sequence[str],
    out: str | Path | IO[bytes],
    *,
    format: str = "docker-archive",
    progress: Observer | None = None,
) -> None:
    """Write images to a file (or an open one, which need not be seekable), or to a directory.

    `docker-archive` and `oci-archive` take any number of images, `oci` too, `dir` one.
    """
    observer = progress or base.ignore
    found = [(name, store.images.find(name)) for name in images]
    if not found:
        raise WherryError(INVALID_ARGUMENT, "no image to save")
    with store.writing():
        if format in ("docker-archive", "oci-archive"):
            if isinstance(out, str | Path):
                with Path(out).open("wb") as file:
                    _save_archive(store, found, file, format, observer)
            else:
                _save_archive(store, found, out, format, observer)
        elif format in FORMATS and isinstance(out, str | Path):
            _save_directory(store, found, out, format, observer)
        else:
            raise WherryError(INVALID_ARGUMENT, f"cannot save as {format!r}", hint=f"one of {', '.join(FORMATS)}")


def _save_archive(
    store: Store, found: Sequence[tuple[str, Image]], file: IO[bytes], format: str, observer: Observer
) -> None:
    docker = dockerarchive.DockerArchiveWriter(file) if format == "docker-archive" else None
    layout = layoutarchive.LayoutArchiveWriter(file) if docker is None else None
    for name, image in found:
        source = StoreSource(store, image)
        names = _meant(name, image)
        if docker is not None:
            docker.add(source, source.root(), names, observer, source.archive_bytes)
        elif layout is not None:
            layout.add(source, source.root(), _annotations(names), observer)
    if docker is not None:
        docker.finish()
    elif layout is not None:
        layout.finish()


def _save_directory(
    store: Store, found: Sequence[tuple[str, Image]], out: str | Path, format: str, observer: Observer
) -> None:
    from wherry.transfer.directory import DirectorySink
    from wherry.transfer.ocilayout import LayoutSink

    if format == "dir" and len(found) > 1:
        raise WherryError(INVALID_ARGUMENT, "a directory holds one image only")
    for name, image in found:
        source = StoreSource(store, image)
        if format == "dir":
            DirectorySink(out).write(source, source.root(), observer)
            continue
        for known in _meant(name, image) or [""]:
            tag = references.parse(known).tag if known else ""
            LayoutSink(out, tag, whole_name=known).write(source, source.root(), observer)


def _meant(name: str, image: Image) -> list[str]:
    """The names to save: the one asked for, or all when it was an id."""
    try:
        canonical = str(references.parse(name))
    except WherryError:
        canonical = ""
    return [canonical] if canonical in image.names else [known for known in image.names if "@" not in known]


def _annotations(names: Sequence[str]) -> dict[str, str]:
    if not names:
        return {}
    return {NAME_ANNOTATION: names[0], TAG_ANNOTATION: references.parse(names[0]).tag}
