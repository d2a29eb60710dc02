"""Layers' compression: gzip and zstd recognised by content, several members or frames in one stream."""

from __future__ import annotations

from wherry.errors import DATA_LOSS, NOT_IMPLEMENTED, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from wherry.oci.digest import Data

GZIP, ZSTD, NONE = "gzip", "zstd", ""
_OUTPUT_BYTES = 1 << 21  # at most this much comes out of one step, however small the input
_WINDOW_BYTES = 1 << 27
_GZIP_MAGIC = b"\x1f\x8b\x08"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = tuple(bytes([0x50 + number, 0x2A, 0x4D, 0x18]) for number in range(16))


def detect(start: Data) -> str:
    """The compression of a stream that starts with these (at least four) bytes; NONE when none is known."""
    head = bytes(start[:4])
    if head[:3] == _GZIP_MAGIC:
        return GZIP
    return ZSTD if head == _ZSTD_MAGIC or head in _SKIPPABLE else NONE


def decompress(chunks: Iterable[Data]) -> Iterator[Data]:
    """The uncompressed stream, in chunks of at most 2 MiB when it was compressed; reads `chunks` to the end.

    DATA_LOSS when it is damaged or (gzip) cut short; a cut zstd stream shows in its length and digest.
    """
    source = iter(chunks)
    head = b""
    for chunk in source:
        head += bytes(chunk)
        if len(head) >= 4:
            break
    kind = detect(head)
    whole = _chain(head, source)
    if kind == GZIP:
        return _gunzip(whole)
    if kind == ZSTD:
        return _unzstd(whole)
    if head[:3] == b"BZh" or head[:4] == b"\xfd7zX":
        raise WherryError(NOT_IMPLEMENTED, "bzip2 and xz layers are not supported")
    return whole


def _gunzip(chunks: Iterator[Data]) -> Iterator[Data]:
    from isal import isal_zlib

    damaged: Any = isal_zlib.error
    stream = isal_zlib.decompressobj(wbits=31)
    output = b""
    try:
        for data in chunks:
            while len(data):
                if stream.eof:
                    data = bytes(data).lstrip(b"\0")  # padding after a member
                    if not data:
                        break
                    stream = isal_zlib.decompressobj(wbits=31)
                output = stream.decompress(data, _OUTPUT_BYTES)
                if output:
                    yield output
                data = stream.unused_data if stream.eof else stream.unconsumed_tail
            # What was held back by the limit alone, with all input taken.
            while not stream.eof and len(output) == _OUTPUT_BYTES:
                output = stream.decompress(b"", _OUTPUT_BYTES)
                if output:
                    yield output
    except damaged as error:
        raise WherryError(DATA_LOSS, f"the gzip stream is damaged: {error}") from None
    if not stream.eof:
        raise WherryError(DATA_LOSS, "the gzip stream is cut short")


def _unzstd(chunks: Iterator[Data]) -> Iterator[Data]:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
    reader = decompressor.stream_reader(_Pull(chunks), read_across_frames=True, closefd=False)  # type: ignore[arg-type]
    try:
        while output := reader.read(_OUTPUT_BYTES):
            yield output
    except zstandard.ZstdError as error:
        raise WherryError(DATA_LOSS, f"the zstd stream is damaged: {error}") from None
    for _ in chunks:
        pass


class _Pull:
    """Chunks as the file object that the library reads from."""

    __slots__ = ("_chunks",)

    def __init__(self, chunks: Iterator[Data]) -> None:
        self._chunks = chunks

    def read(self, size: int = -1) -> bytes:
        """The next chunk, whatever its size: the library takes what it gets."""
        for chunk in self._chunks:
            if len(chunk):
                return bytes(chunk)
        return b""


def _chain(head: bytes, rest: Iterator[Data]) -> Iterator[Data]:
    if head:
        yield head
    yield from rest


class GzipCompressor:
    """Deterministic gzip (no time, no name) at the speed of isal's lowest useful level."""

    def __init__(self, level: int = 1) -> None:
        from isal import isal_zlib

        self._stream = isal_zlib.compressobj(level=level, wbits=31)

    def feed(self, data: Data) -> bytes:
        """Compressed bytes, perhaps none yet."""
        return bytes(self._stream.compress(data))

    def finish(self) -> bytes:
        """The rest."""
        return bytes(self._stream.flush())
