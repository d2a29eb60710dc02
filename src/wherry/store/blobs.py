"""Content-addressed files. A blob that exists under its name was verified and is durable.

Bytes arrive in a file of their own, hashed as they come; what a broken transfer leaves there is taken up
again by the next. One process (or thread) at a time fills a given file, under the kernel's file lock.
"""

from __future__ import annotations

import fcntl
import os

from wherry.errors import DATA_LOSS, NOT_FOUND, RESOURCE_EXHAUSTED, WherryError
from wherry.oci import digest as digests
from wherry.oci.digest import Digest, Verifier
from wherry.store import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.oci.digest import Data
    from wherry.store.layout import Layout

CHUNK_BYTES = 256 * 1024


class Blobs:
    """The blobs of one store."""

    def __init__(self, paths: Layout) -> None:
        self._paths = paths

    def path(self, digest: Digest) -> str:
        """Where the blob is, if it is."""
        return self._paths.blob(digest)

    def has(self, digest: Digest) -> bool:
        """Whether the blob is there."""
        return os.path.isfile(self._paths.blob(digest))

    def size_bytes(self, digest: Digest) -> int:
        """NOT_FOUND when it is not there."""
        try:
            return os.stat(self._paths.blob(digest)).st_size
        except FileNotFoundError:
            raise _missing(digest) from None

    def open(self, digest: Digest) -> int:
        """A descriptor for reading; NOT_FOUND."""
        try:
            return os.open(self._paths.blob(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise _missing(digest) from None

    def read(self, digest: Digest, limit_bytes: int) -> bytes:
        """A small blob as a whole, verified again; RESOURCE_EXHAUSTED above the limit, DATA_LOSS if damaged."""
        fd = self.open(digest)
        try:
            if os.fstat(fd).st_size > limit_bytes:
                raise WherryError(RESOURCE_EXHAUSTED, f"blob {digest} is larger than {limit_bytes} bytes")
            data = b"".join(_chunks(fd))
        finally:
            os.close(fd)
        digests.check_bytes(data, digest, f"blob {digest}")
        return data

    def chunks(self, digest: Digest) -> Iterator[bytes]:
        """The contents, as stored."""
        fd = self.open(digest)
        try:
            yield from _chunks(fd)
        finally:
            os.close(fd)

    def put(self, data: bytes, algorithm: str = "sha256") -> Digest:
        """Store a small blob."""
        digest = digests.of_bytes(data, algorithm)
        ingest = self.ingest(digest, len(data))
        if ingest is not None:
            with ingest:
                ingest.restart()
                ingest.write(data)
                ingest.commit()
        return digest

    def ingest(self, digest: Digest, size_bytes: int) -> Ingest | None:
        """Start (or take up) the arrival of a blob; None when it is there, or another has just brought it.

        Waits for another that is filling it.
        """
        while True:
            if self.has(digest):
                return None
            path = self._paths.partial(digest)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_at(fd, path):
                return Ingest(self._paths, fd, path, digest, size_bytes)
            os.close(fd)

    def create(self) -> Ingest:
        """Start the arrival of a blob whose digest is not known beforehand."""
        path = f"{self._paths.ingest}/new-{os.getpid()}-{os.urandom(8).hex()}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        return Ingest(self._paths, fd, path, None, None)

    def sync(self) -> None:
        """Make the names of the blobs durable; their contents are so already."""
        for algorithm in ("sha256", "sha512"):
            layout.sync_directory(f"{self._paths.root}/blobs/{algorithm}")

    def list(self) -> Iterator[Digest]:
        """All blobs."""
        for algorithm in ("sha256", "sha512"):
            for name in os.listdir(f"{self._paths.root}/blobs/{algorithm}"):
                if digests.is_digest(text := f"{algorithm}:{name}"):
                    yield Digest(text)

    def verify(self, digest: Digest) -> bool:
        """Read the blob and compare."""
        verifier = Verifier(digest)
        for chunk in self.chunks(digest):
            verifier.update(chunk)
        return verifier.digest() == digest

    def delete(self, digest: Digest) -> None:
        """Idempotent; the caller holds the store's exclusive lock."""
        try:
            os.unlink(self._paths.blob(digest))
        except FileNotFoundError:
            pass


class Ingest:
    """A blob on its way in. As a context manager it closes the file and keeps what has arrived so far."""

    __slots__ = ("_digest", "_fd", "_path", "_paths", "_size_bytes", "_verifier")

    def __init__(self, paths: Layout, fd: int, path: str, digest: Digest | None, size_bytes: int | None) -> None:
        self._paths = paths
        self._fd = fd
        self._path = path
        self._digest = digest
        self._size_bytes = size_bytes
        self._verifier = Verifier(digest)

    @property
    def offset(self) -> int:
        """Bytes that have arrived, and been hashed, so far."""
        return self._verifier.size_bytes

    def replay(self) -> Iterator[bytes]:
        """Hash, and hand out, what an earlier transfer left; call before the first `write`."""
        for chunk in _chunks(self._fd):
            self._verifier.update(chunk)
            yield chunk

    def restart(self) -> None:
        """Forget everything that has arrived."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.ftruncate(self._fd, 0)
        self._verifier = Verifier(self._digest)

    def write(self, data: Data) -> None:
        """Hash and keep `data`; DATA_LOSS when there is more than was promised."""
        self._verifier.update(data)
        if self._size_bytes is not None and self._verifier.size_bytes > self._size_bytes:
            self.drop()
            raise WherryError(DATA_LOSS, f"blob {self._digest} is larger than the {self._size_bytes} bytes promised")
        view = memoryview(data)
        while len(view):
            view = view[os.write(self._fd, view) :]

    def commit(self) -> Digest:
        """Verify size and digest, make the contents durable, and give the blob its name.

        DATA_LOSS when either is wrong; what has arrived is thrown away then.
        """
        digest = self.settle()
        os.rename(self._path, self._paths.blob(digest))
        self.close()
        return digest

    def settle(self) -> Digest:
        """Verify, and make the contents durable, without giving them their name yet."""
        digest = self._verify()
        os.fsync(self._fd)
        return digest

    def _verify(self) -> Digest:
        size = self._verifier.size_bytes
        if self._size_bytes is not None and size != self._size_bytes:
            if size > self._size_bytes:
                self.drop()
            raise WherryError(DATA_LOSS, f"blob {self._digest} has {size} bytes instead of {self._size_bytes}")
        try:
            digest = self._verifier.check(f"blob {self._digest}")
        except WherryError:
            self.drop()
            raise
        return digest

    def close(self) -> None:
        """Let go of the file; what has arrived of a known digest stays for the next attempt."""
        if self._fd < 0:
            return
        if self._digest is None and _is_at(self._fd, self._path):
            self.drop()
        os.close(self._fd)
        self._fd = -1

    def stored_bytes(self) -> int:
        """Bytes that an earlier transfer left."""
        return os.fstat(self._fd).st_size

    def drop(self) -> None:
        """Throw away what has arrived; only `close` may follow."""
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass

    def __enter__(self) -> Ingest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _chunks(fd: int) -> Iterator[bytes]:
    while chunk := os.read(fd, CHUNK_BYTES):
        yield chunk


def _is_at(fd: int, path: str) -> bool:
    """Whether the open file still has this name: another may have finished it while we waited."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def _missing(digest: Digest) -> WherryError:
    return WherryError(NOT_FOUND, f"blob {digest} is not in the store")
