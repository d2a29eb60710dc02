"""Tar archives as random-access collections of members, and as streams being written."""

from __future__ import annotations

import os
import tempfile

from wherry.errors import INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, WherryError
from wherry.store import tar
from wherry.store.compression import NONE, decompress, detect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO

    from wherry.oci.digest import Data

CHUNK_BYTES = 256 * 1024
MEMBER_LIMIT = 100_000
_LINK_LIMIT = 8
_SMALL_OCTAL = 1 << 33


class Archive:
    """The members of an archive by name. Reading is safe from several threads; `close` when done.

    An archive that is compressed, or comes through a pipe, is unpacked into a temporary file first. The file
    given may be closed afterwards.
    """

    def __init__(self, file: IO[bytes], *, directory: str | None = None) -> None:
        self._fd = -1
        self._fd = _direct(file) if _is_direct(file) else _spooled(file, directory)
        self._members: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        self._index()

    def _index(self) -> None:
        reader = _SeekingReader(self._fd)
        for entry in reader:
            name = _plain(entry.name)
            if entry.kind == tar.REGULAR:
                self._members[name] = (reader.offset, entry.stored_bytes)
            elif entry.kind in (tar.SYMLINK, tar.HARDLINK):
                base = os.path.dirname(name) if entry.kind == tar.SYMLINK else ""
                self._links[name] = os.path.normpath(os.path.join(base, _plain(entry.link)))
            if len(self._members) + len(self._links) > MEMBER_LIMIT:
                raise WherryError(RESOURCE_EXHAUSTED, f"an archive of more than {MEMBER_LIMIT} members")

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return self._resolve(name) in self._members

    def size_bytes(self, name: str) -> int:
        """NOT_FOUND."""
        return self._find(name)[1]

    def read(self, name: str, limit_bytes: int) -> bytes:
        """A small member as a whole."""
        offset, size = self._find(name)
        if size > limit_bytes:
            raise WherryError(RESOURCE_EXHAUSTED, f"larger than {limit_bytes} bytes", path=name)
        return os.pread(self._fd, size, offset)

    def chunks(self, name: str, skip_bytes: int = 0) -> Iterator[bytes]:
        """A member's contents."""
        offset, size = self._find(name)
        position, end = offset + skip_bytes, offset + size
        while position < end:
            chunk = os.pread(self._fd, min(CHUNK_BYTES, end - position), position)
            if not chunk:
                raise WherryError(INVALID_ARGUMENT, "the archive is cut short", path=name)
            position += len(chunk)
            yield chunk

    def close(self) -> None:
        """Let go of the file; also done when the object goes."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()

    def _find(self, name: str) -> tuple[int, int]:
        found = self._members.get(self._resolve(name))
        if found is None:
            raise WherryError(NOT_FOUND, "not in the archive", path=name)
        return found

    def _resolve(self, name: str) -> str:
        name = os.path.normpath(name)
        for _ in range(_LINK_LIMIT):
            if name not in self._links:
                break
            name = self._links[name]
        return name


def _is_direct(file: IO[bytes]) -> bool:
    """Whether the archive can be read at will where it is."""
    return file.seekable() and detect(os.pread(file.fileno(), 4, 0)) == NONE


def _direct(file: IO[bytes]) -> int:
    return os.dup(file.fileno())


def _spooled(file: IO[bytes], directory: str | None) -> int:
    with tempfile.TemporaryFile(dir=directory) as spool:
        for chunk in decompress(iter(lambda: file.read(CHUNK_BYTES), b"")):
            spool.write(chunk)
        spool.flush()
        return os.dup(spool.fileno())


class _SeekingReader(tar.TarReader):
    """Jumps over data instead of reading it, and knows where it is in the file."""

    __slots__ = ("_fd", "_next", "_start")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._start = self._next = 0
        super().__init__(self._read())

    def _read(self) -> Iterator[bytes]:
        while chunk := os.pread(self._fd, CHUNK_BYTES, self._next):
            self._start = self._next
            self._next += len(chunk)
            yield chunk

    @property
    def offset(self) -> int:
        """Where in the file the current member's data starts."""
        return self._start + self._position

    def _skip(self, size_bytes: int) -> None:
        at_hand = self._end - self._position
        if size_bytes > at_hand:
            self._next = self._start + self._position + size_bytes
            if self._next > os.fstat(self._fd).st_size:
                raise WherryError(INVALID_ARGUMENT, "the archive is cut short")
            self._start = self._next
            self._position = self._end = 0
            return
        self._position += size_bytes

    def drain(self) -> None:
        """What follows the end of the archive does not matter here."""


class ArchiveWriter:
    """Members written one after the other to a file that need not be seekable."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._names: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether the member was written."""
        return name in self._names

    def add(self, name: str, size_bytes: int, chunks: Iterable[Data]) -> None:
        """A regular file of exactly that size."""
        self._names.add(name)
        self._file.write(header(name.encode(), size_bytes))
        written = 0
        for chunk in chunks:
            written += len(chunk)
            self._file.write(chunk)
        if written != size_bytes:
            raise WherryError(INVALID_ARGUMENT, f"{written} bytes instead of {size_bytes}", path=name)
        self._file.write(bytes(-size_bytes % tar.BLOCK))

    def add_bytes(self, name: str, data: bytes) -> None:
        """A small regular file."""
        self.add(name, len(data), [data])

    def add_unsized(self, name: str, chunks: Iterable[Data]) -> None:
        """A file whose size shows only at its end, by way of a temporary file."""
        with tempfile.TemporaryFile() as spool:
            for chunk in chunks:
                spool.write(chunk)
            size = spool.tell()
            spool.seek(0)
            self.add(name, size, iter(lambda: spool.read(CHUNK_BYTES), b""))

    def finish(self) -> None:
        """Two blocks of zeros."""
        self._file.write(bytes(2 * tar.BLOCK))
        self._file.flush()


def header(
    name: bytes, size_bytes: int = 0, *, kind: bytes = tar.REGULAR, mode: int = 0o644, link: bytes = b""
) -> bytes:
    """A ustar header (at most 100 bytes of name), owned by root and without a time, as pax(1) has it."""
    if len(name) > 100 or len(link) > 100:
        raise WherryError(INVALID_ARGUMENT, f"name too long for this archive: {name[:200]!r}")
    if size_bytes < _SMALL_OCTAL:
        size = b"%011o\0" % size_bytes
    else:
        size = b"\x80" + size_bytes.to_bytes(11, "big")
    fields = (
        name.ljust(100, b"\0"),
        b"%07o\0" % mode,
        b"%07o\0" % 0,
        b"%07o\0" % 0,
        size,
        b"%011o\0" % 0,
        b" " * 8,
        kind,
        link.ljust(100, b"\0"),
        b"ustar\x0000",
        bytes(32),
        bytes(32),
        b"%07o\0" % 0,
        b"%07o\0" % 0,
        bytes(155),
        bytes(12),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _plain(name: bytes) -> str:
    return os.path.normpath(os.fsdecode(name)).lstrip("/")
