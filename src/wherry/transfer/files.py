"""Small files and blobs on disk, for the transports that are directories or archives."""

from __future__ import annotations

import os
from pathlib import Path

from wherry.errors import INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, WherryError
from wherry.oci import digest as digests
from wherry.oci.digest import Verifier
from wherry.oci.image import Descriptor, Document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

CHUNK_BYTES = 256 * 1024


def read_small(path: Path, limit_bytes: int) -> bytes:
    """A file of limited size, never through a symlink at its end; NOT_FOUND, RESOURCE_EXHAUSTED."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise WherryError(NOT_FOUND, "no such file", path=str(path)) from None
    except OSError as error:
        raise WherryError(INVALID_ARGUMENT, f"cannot read: {error.strerror}", path=str(path)) from None
    with os.fdopen(fd, "rb") as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise WherryError(RESOURCE_EXHAUSTED, f"larger than {limit_bytes} bytes", path=str(path))
    return data


def read_document(path: Path, descriptor: Descriptor, limit_bytes: int) -> Document:
    """A manifest in a file, verified."""
    raw = read_small(path, limit_bytes)
    verifier = Verifier(descriptor.digest)
    verifier.update(raw)
    return Document(raw, descriptor.media_type, verifier.check(str(path)))


def file_chunks(path: Path, offset: int) -> Iterator[bytes]:
    """A file's contents from `offset` on; NOT_FOUND."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise WherryError(NOT_FOUND, f"cannot read a blob: {error.strerror}", path=str(path)) from None
    try:
        os.lseek(fd, offset, os.SEEK_SET)
        while chunk := os.read(fd, CHUNK_BYTES):
            yield chunk
    finally:
        os.close(fd)


def write_blob(path: Path, descriptor: Descriptor, read: Callable[[int], Iterable[bytes]]) -> bool:
    """Write a verified blob under its final name unless it is there; whether it had to be."""
    if path.is_file() and path.stat().st_size == descriptor.size_bytes:
        return False
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    verifier = Verifier(descriptor.digest)
    try:
        with temporary.open("xb") as file:
            for chunk in read(0):
                verifier.update(chunk)
                file.write(chunk)
            verifier.check(f"blob {descriptor.digest}")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return True


def write_file(path: Path, data: bytes) -> None:
    """Replace a file as a whole, durably."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def document_of(raw: bytes, media_type: str = "") -> Document:
    """A document that names itself by its contents."""
    return Document(raw, media_type, digests.of_bytes(raw))
