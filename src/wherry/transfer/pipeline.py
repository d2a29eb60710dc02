"""One layer from its source to its directory, as two threads with a short queue between them.

    source ─▶ blob file + digest ─▶ inflate ─▶ diff id ─▶ │queue│ ─▶ extraction

The left half runs in a thread of its own: nearly all it does (sockets, hashes, inflating, writing) happens
without the interpreter's lock. Memory is bounded by the queue.
"""

from __future__ import annotations

import queue
import threading

from wherry.errors import CANCELLED, DATA_LOSS, WherryError
from wherry.oci.digest import Verifier
from wherry.store.compression import GzipCompressor, decompress
from wherry.transfer.base import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from wherry.oci.digest import Data, Digest
    from wherry.oci.image import Descriptor
    from wherry.store.blobs import Ingest
    from wherry.store.layers import Staged
    from wherry.store.store import Store
    from wherry.transfer.base import ImageSource, Observer

QUEUE_CHUNKS = 4  # of at most 2 MiB


class Cancel:
    """Shared by the layers of one image: the first failure ends all."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask everybody to stop."""
        self._event.set()

    def check(self) -> None:
        """CANCELLED when somebody has asked to."""
        if self._event.is_set():
            raise WherryError(CANCELLED, "another layer has failed")


class Feeder:
    """Runs `produce` in a thread; iterating gives its chunks, and raises what it raised."""

    def __init__(self, produce: Callable[[], Iterator[Data]]) -> None:
        self._produce = produce
        self._queue: queue.Queue[Data | None] = queue.Queue(QUEUE_CHUNKS)
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            for chunk in self._produce():
                self._queue.put(chunk)
                if self._stopped.is_set():
                    break
        except BaseException as error:
            self._error = error
        finally:
            self._queue.put(None)

    def __iter__(self) -> Iterator[Data]:
        while (chunk := self._queue.get()) is not None:
            yield chunk
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Feeder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the thread, wherever it is, and wait for it."""
        self._stopped.set()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue
        self._thread.join()


class LayerJob:
    """A layer of an image that is being pulled: fetch its blob, and stage it, or either alone."""

    def __init__(
        self,
        store: Store,
        source: ImageSource,
        descriptor: Descriptor,
        *,
        chain_id: Digest,
        parent: Digest | None,
        diff_id: Digest,
        observer: Observer,
        cancel: Cancel,
    ) -> None:
        self._store = store
        self._source = source
        self._descriptor = descriptor
        self._chain_id = chain_id
        self._parent = parent
        self._diff_id = diff_id
        self._observer = observer
        self._cancel = cancel

    def run(self) -> Staged | None:
        """The staged layer, or None when the store has the layer already; its blob is there either way."""
        self._cancel.check()
        try:
            return self._attempt(resume=True)
        except _Resumed as attempt:
            # What an earlier run had left was damaged, or what came now: one attempt from the start tells.
            if attempt.offset:
                return self._attempt(resume=False)
            raise attempt.error from None

    def _attempt(self, *, resume: bool) -> Staged | None:
        descriptor = self._descriptor
        have = self._store.layers.find(self._chain_id) is not None
        ingest = self._store.blobs.ingest(descriptor.digest, descriptor.size_bytes)
        if ingest is None:
            self._tell("present", descriptor.size_bytes)
            return None if have else self._stage(self._store.blobs.chunks(descriptor.digest))
        resumed = 0
        with ingest:
            if not resume:
                ingest.restart()
            try:
                resumed = ingest.stored_bytes()
                staged = None
                if have:
                    for _ in self._arrive(ingest):
                        pass
                else:
                    staged = self._stage(self._arrive(ingest))
                try:
                    ingest.commit()
                except BaseException:
                    if staged is not None:
                        self._store.layers.discard(staged)
                    raise
            except WherryError as error:
                if error.code != DATA_LOSS:
                    raise
                ingest.drop()
                raise _Resumed(error, resumed if resume else 0) from None
        return staged

    def _arrive(self, ingest: Ingest) -> Iterator[bytes]:
        """What is there of the blob, then the rest from the source; everything is kept and hashed."""
        for chunk in ingest.replay():
            self._cancel.check()
            yield chunk
        if ingest.offset < self._descriptor.size_bytes:
            for chunk in self._source.chunks(self._descriptor, ingest.offset):
                self._cancel.check()
                ingest.write(chunk)
                self._tell("downloading", ingest.offset)
                yield chunk
        ingest.settle()  # here, because the disk can work while the extraction catches up

    def _stage(self, chunks: Iterable[Data]) -> Staged:
        hashed = Verifier(algorithm=self._diff_id.algorithm)
        with Feeder(lambda: hash_through(decompress(chunks), hashed)) as feeder:
            staged = self._store.layers.stage(
                self._chain_id, self._parent, self._diff_id, self._descriptor.digest, feeder, hashed=hashed
            )
        self._tell("applied", self._descriptor.size_bytes)
        return staged

    def _tell(self, status: str, current: int) -> None:
        self._observer(Progress("blob", self._descriptor.digest, status, current, self._descriptor.size_bytes))


class _Resumed(Exception):
    """Damaged contents, after this many bytes of an earlier attempt."""

    def __init__(self, error: WherryError, offset: int) -> None:
        super().__init__(error)
        self.error = error
        self.offset = offset


def hash_through(chunks: Iterable[Data], verifier: Verifier) -> Iterator[Data]:
    """The same chunks, hashed."""
    for chunk in chunks:
        verifier.update(chunk)
        yield chunk


def compress_into(chunks: Iterable[Data], ingest: Ingest, verifier: Verifier) -> Iterator[Data]:
    """The same chunks, hashed, while their gzip form is written to `ingest`."""
    compressor = GzipCompressor()
    for chunk in chunks:
        verifier.update(chunk)
        if packed := compressor.feed(chunk):
            ingest.write(packed)
        yield chunk
    ingest.write(compressor.finish())
