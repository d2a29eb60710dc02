"""A streaming tar reader for hostile input: ustar, pax and GNU archives, in bounded memory.

Names are bytes. Nothing is interpreted beyond the format: what a name may reach is the extractor's question.
Every malformed archive is INVALID_ARGUMENT (RESOURCE_EXHAUSTED where only a limit was passed).
"""

from __future__ import annotations

from struct import Struct

from wherry.errors import INVALID_ARGUMENT, RESOURCE_EXHAUSTED, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wherry.oci.digest import Data

BLOCK = 512
EXTENSION_LIMIT_BYTES = 1 << 20  # of a pax header or a GNU long name
NAME_LIMIT_BYTES = 4096
SPARSE_LIMIT = 1 << 16  # pieces of one sparse file
TIME_LIMIT_S = 1 << 33
ID_LIMIT = 0xFFFFFFFE  # the id after it means "unchanged" to chown(2)

REGULAR, HARDLINK, SYMLINK, CHARACTER, BLOCKDEV, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_SAME_AS_REGULAR = (b"\0", b"7")
_WITHOUT_DATA = (HARDLINK, SYMLINK, CHARACTER, BLOCKDEV, DIRECTORY, FIFO)
_ZEROS = bytes(BLOCK)
_HEADER = Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x").unpack
_XATTR = b"SCHILY.xattr."


class Entry:
    """One member. `kind` is one of the constants above; `size_bytes` is the file's size when extracted.

    `pieces` is None, or a sparse file's stored pieces as (offset, length) in file order. `xattrs` is None
    when there are none.
    """

    __slots__ = (
        "gid", "kind", "link", "major", "minor", "mode", "mtime_ns", "name", "pieces", "size_bytes",
        "stored_bytes", "uid", "xattrs",
    )  # fmt: skip

    name: bytes
    kind: bytes
    mode: int
    uid: int
    gid: int
    size_bytes: int
    stored_bytes: int
    mtime_ns: int
    link: bytes
    major: int
    minor: int
    pieces: list[tuple[int, int]] | None
    xattrs: dict[bytes, bytes] | None

    def __repr__(self) -> str:
        return f"Entry({self.name!r}, kind={self.kind!r}, size_bytes={self.size_bytes})"


class TarReader:
    """Iterate over the entries of an archive that arrives as chunks of any size.

    Between two entries, the data of the former may be read with `data`; what is left of it is skipped.
    After the last entry the stream is read to its end, for the sake of whoever hashes it.
    """

    __slots__ = ("_chunk", "_chunks", "_end", "_left", "_padding", "_position")

    def __init__(self, chunks: Iterable[Data]) -> None:
        self._chunks = iter(chunks)
        self._chunk: memoryview = memoryview(b"")
        self._position = 0
        self._end = 0
        self._left = 0  # bytes of the current entry not yet read
        self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self.next()) is not None:
            yield entry

    def next(self) -> Entry | None:
        """The next entry, or None at the end of the archive."""
        if self._left or self._padding:
            self._skip(self._left + self._padding)
            self._left = self._padding = 0
        extended: dict[bytes, bytes] = {}
        long_name = long_link = None
        while True:
            block = self._header_block()
            if block is None:
                if extended or long_name is not None or long_link is not None:
                    raise _bad("the archive ends after an extension header")
                return None
            fields = _HEADER(block)
            kind = fields[7]
            if kind == b"x":
                extended.update(_pax_records(self._extension(fields)))
            elif kind == b"g":
                self._extension(fields)
            elif kind == b"L":
                long_name = _text(self._extension(fields))
            elif kind == b"K":
                long_link = _text(self._extension(fields))
            elif kind == b"V":
                self._skip_data(_number(fields[4], "size"))
            else:
                return self._entry(block, fields, extended, long_name, long_link)

    def data(self) -> Iterator[memoryview]:
        """What is stored of the current entry; the views are valid until the next one is asked for."""
        while self._left:
            if self._position == self._end:
                self._refill()
            start = self._position
            length = min(self._left, self._end - start)
            self._position = start + length
            self._left -= length
            yield self._chunk[start : start + length]

    def whole(self) -> memoryview | None:
        """All data of the current entry at once if it is at hand, without copying; None otherwise."""
        start = self._position
        if self._end - start < self._left:
            return None
        self._position = end = start + self._left
        self._left = 0
        return self._chunk[start:end]

    def drain(self) -> None:
        """Read on to the end of the stream."""
        self._position = self._end = 0
        self._chunk = memoryview(b"")
        for _ in self._chunks:
            pass

    def _refill(self) -> None:
        """The next chunk that is not empty; INVALID_ARGUMENT at the end of the stream."""
        for chunk in self._chunks:
            if len(chunk):
                self._chunk = memoryview(chunk)
                self._position = 0
                self._end = len(chunk)
                return
        raise _bad("the archive is cut short")

    def _take(self, size_bytes: int) -> bytes:
        start = self._position
        if self._end - start >= size_bytes:
            self._position = start + size_bytes
            return self._chunk[start : start + size_bytes].tobytes()
        parts = []
        while size_bytes:
            if self._position == self._end:
                self._refill()
            start = self._position
            length = min(size_bytes, self._end - start)
            parts.append(self._chunk[start : start + length].tobytes())
            self._position = start + length
            size_bytes -= length
        return b"".join(parts)

    def _skip(self, size_bytes: int) -> None:
        while size_bytes:
            if self._position == self._end:
                self._refill()
            length = min(size_bytes, self._end - self._position)
            self._position += length
            size_bytes -= length

    def _skip_data(self, size_bytes: int) -> None:
        self._skip(size_bytes + -size_bytes % BLOCK)

    def _at_end(self) -> bool:
        """Whether the stream has no byte left."""
        if self._position < self._end:
            return False
        for chunk in self._chunks:
            if len(chunk):
                self._chunk = memoryview(chunk)
                self._position = 0
                self._end = len(chunk)
                return False
        return True

    def _header_block(self) -> bytes | None:
        """A header whose checksum is right, or None at the end (two zero blocks, or no more bytes)."""
        if self._at_end():
            return None
        block = self._take(BLOCK)
        if block == _ZEROS:
            if not self._at_end() and self._take(BLOCK) != _ZEROS:
                raise _bad("a header follows a block of zeros")
            self.drain()
            return None
        stated = _number(block[148:156], "checksum")
        # The checksum is taken with its own field read as eight spaces.
        if sum(block) - sum(block[148:156]) + 256 != stated and _signed_sum(block) != stated:
            raise _bad("not a tar archive, or damaged: a header's checksum is wrong")
        return block

    def _extension(self, fields: tuple[bytes, ...]) -> bytes:
        size = _number(fields[4], "size")
        if size > EXTENSION_LIMIT_BYTES:
            raise WherryError(RESOURCE_EXHAUSTED, f"an extension header of {size} bytes is too large")
        data = self._take(size)
        self._skip(-size % BLOCK)
        return data

    def _entry(
        self,
        block: bytes,
        fields: tuple[bytes, ...],
        extended: dict[bytes, bytes],
        long_name: bytes | None,
        long_link: bytes | None,
    ) -> Entry:
        name, mode, uid, gid, size, mtime, _, kind, link, magic, _, _, major, minor, prefix = fields
        entry = Entry()
        entry.name = _text(name)
        if magic == b"ustar\x0000" and prefix[0]:
            entry.name = _text(prefix) + b"/" + entry.name
        entry.link = _text(link)
        entry.mode = _number(mode, "mode") & 0o7777
        entry.uid = _number(uid, "uid")
        entry.gid = _number(gid, "gid")
        entry.stored_bytes = _number(size, "size")
        entry.mtime_ns = _number(mtime, "mtime", negative=True) * 1_000_000_000
        entry.major = entry.minor = 0
        entry.pieces = None
        entry.xattrs = None
        sparse = False
        if kind in _SAME_AS_REGULAR:
            kind = DIRECTORY if kind == b"\0" and entry.name.endswith(b"/") else REGULAR
        elif kind == b"S":
            kind, sparse = REGULAR, True
        elif kind in (CHARACTER, BLOCKDEV):
            entry.major = _number(major, "major")
            entry.minor = _number(minor, "minor")
        elif kind not in _WITHOUT_DATA and kind != REGULAR:
            raise _bad(f"{shown(entry.name)}: entries of type {kind!r} are not known")
        entry.kind = kind
        if long_name is not None:
            entry.name = long_name
        if long_link is not None:
            entry.link = long_link
        if extended:
            _apply_pax(entry, extended)
        _check(entry)
        if kind in _WITHOUT_DATA:
            entry.stored_bytes = 0
        entry.size_bytes = entry.stored_bytes
        self._left = entry.stored_bytes
        self._padding = -entry.stored_bytes % BLOCK
        if sparse:
            self._read_gnu_sparse(entry, block)
        elif extended and kind == REGULAR:
            self._read_pax_sparse(entry, extended)
        return entry

    def _read_gnu_sparse(self, entry: Entry, block: bytes) -> None:
        """The old GNU form: four pieces in the header, 21 in each block that follows it."""
        real_size = _number(block[483:495], "size")
        pieces = _gnu_pieces(block[386:482])
        more = block[482]
        while more:
            if len(pieces) > SPARSE_LIMIT:
                raise WherryError(RESOURCE_EXHAUSTED, f"a sparse file has more than {SPARSE_LIMIT} pieces")
            extension = self._take(BLOCK)
            pieces += _gnu_pieces(extension[:504])
            more = extension[504]
        _set_sparse(entry, real_size, pieces)

    def _read_pax_sparse(self, entry: Entry, extended: dict[bytes, bytes]) -> None:
        if extended.get(b"GNU.sparse.major") == b"1" and extended.get(b"GNU.sparse.minor") == b"0":
            real_size = _decimal(extended.get(b"GNU.sparse.realsize", b""))
            pieces = self._map_in_data(entry)
        elif b"GNU.sparse.map" in extended:
            real_size = _decimal(extended.get(b"GNU.sparse.size", b""))
            pieces = _pairs([_decimal(part) for part in extended[b"GNU.sparse.map"].split(b",") if part])
        else:
            return
        if b"GNU.sparse.name" in extended:
            entry.name = extended[b"GNU.sparse.name"]
            _check(entry)
        _set_sparse(entry, real_size, pieces)

    def _map_in_data(self, entry: Entry) -> list[tuple[int, int]]:
        """Form 1.0: decimal numbers in lines at the start of the data, padded to a block."""
        text = b""
        numbers: list[int] = []
        wanted = 1
        while True:
            while len(numbers) < wanted and b"\n" in text:
                line, _, text = text.partition(b"\n")
                numbers.append(_decimal(line))
                if len(numbers) == 1:
                    if numbers[0] > SPARSE_LIMIT:
                        raise WherryError(RESOURCE_EXHAUSTED, f"a sparse file has more than {SPARSE_LIMIT} pieces")
                    wanted = 1 + 2 * numbers[0]
            if len(numbers) == wanted:
                return _pairs(numbers[1:])
            if self._left < BLOCK or len(text) > 2 * BLOCK:
                raise _bad("a sparse file's map is damaged")
            text += self._take(BLOCK)
            self._left -= BLOCK
            entry.stored_bytes -= BLOCK


def _set_sparse(entry: Entry, real_size: int, pieces: list[tuple[int, int]]) -> None:
    """Pieces must be in order, within the file, and together as long as what is stored."""
    position = total = 0
    for offset, length in pieces:
        if offset < position or offset + length > real_size:
            raise _bad(f"{shown(entry.name)}: a sparse file's map is damaged")
        position = offset + length
        total += length
    if total != entry.stored_bytes:
        raise _bad(f"{shown(entry.name)}: a sparse file's map does not fit its data")
    entry.pieces = [piece for piece in pieces if piece[1]]
    entry.size_bytes = real_size


def _gnu_pieces(field: bytes) -> list[tuple[int, int]]:
    pieces = []
    for start in range(0, len(field) - 23, 24):
        if not field[start]:
            break
        pieces.append((_number(field[start : start + 12], "offset"), _number(field[start + 12 : start + 24], "length")))
    return pieces


def _pairs(numbers: list[int]) -> list[tuple[int, int]]:
    if len(numbers) % 2 or len(numbers) > 2 * SPARSE_LIMIT:
        raise _bad("a sparse file's map is damaged")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _pax_records(data: bytes) -> dict[bytes, bytes]:
    """Records `length key=value\\n`; a record of no value removes the key, the last of several wins."""
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 10)
        length = _decimal(data[position:space]) if space > 0 else 0
        end = position + length
        if length < 5 or end > len(data) or data[end - 1] != 0x0A:
            raise _bad("a pax header is damaged")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not key:
            raise _bad("a pax header is damaged")
        if key == b"GNU.sparse.offset" or key == b"GNU.sparse.numbytes":  # form 0.0 repeats its keys
            earlier = records.get(b"GNU.sparse.map", b"")
            records[b"GNU.sparse.map"] = earlier + b"," + value if earlier else value
        else:
            records[key] = value
        position = end
    return records


def _apply_pax(entry: Entry, extended: dict[bytes, bytes]) -> None:
    for key, value in extended.items():
        if key == b"path":
            entry.name = value or entry.name
        elif key == b"linkpath":
            entry.link = value or entry.link
        elif key == b"size":
            entry.stored_bytes = _decimal(value) if value else entry.stored_bytes
        elif key == b"uid":
            entry.uid = _decimal(value) if value else entry.uid
        elif key == b"gid":
            entry.gid = _decimal(value) if value else entry.gid
        elif key == b"mtime":
            entry.mtime_ns = _time_ns(value) if value else entry.mtime_ns
        elif key.startswith(_XATTR):
            name = key[len(_XATTR) :]
            if not name or b"\0" in name or len(name) > 255 or len(value) > 65536:
                raise _bad(f"{shown(entry.name)}: an extended attribute is damaged")
            if entry.xattrs is None:
                entry.xattrs = {}
            entry.xattrs[name] = value


def shown(name: bytes) -> str:
    """A name for an error's message."""
    return name[:200].decode("utf-8", "backslashreplace")


def _check(entry: Entry) -> None:
    for text in (entry.name, entry.link):
        if b"\0" in text or len(text) > NAME_LIMIT_BYTES:
            raise _bad(f"{shown(text)}: not a possible name")
    if entry.uid > ID_LIMIT or entry.gid > ID_LIMIT:
        raise _bad(f"{shown(entry.name)}: {entry.uid}:{entry.gid} is not a possible owner")
    if entry.stored_bytes >= 1 << 62:
        raise _bad(f"{shown(entry.name)}: {entry.stored_bytes} is not a possible size")
    if not 0 <= entry.mtime_ns < TIME_LIMIT_S * 1_000_000_000:
        entry.mtime_ns = 0


def _text(field: bytes) -> bytes:
    end = field.find(b"\0")
    return field if end < 0 else field[:end]


def _number(field: bytes, what: str, *, negative: bool = False) -> int:
    """Octal digits, or GNU's base 256 when the first bit is set."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=False)
        bits = len(field) * 8
        value = value - (1 << bits) if field[0] & 0x40 else value - (1 << (bits - 1))
        if value < 0 and not negative:
            raise _bad(f"a header's {what} is negative")
        return value
    text = field.strip(b"\0 ")
    if not text:
        return 0
    if b"\0" in text:
        text = text[: text.index(0)].rstrip()
    try:
        if text.isdigit():
            return int(text, 8)
    except ValueError:
        pass
    raise _bad(f"a header's {what} is not a number: {field!r}")


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise _bad(f"not a number in a pax header: {text[:40]!r}")
    return int(text)


def _time_ns(text: bytes) -> int:
    """Seconds with a decimal fraction; what cannot be a time of a file is 0."""
    whole, _, fraction = text.partition(b".")
    sign = whole.startswith(b"-")
    digits = whole[1:] if sign else whole
    if not (digits or b"0").isdigit() or (fraction and not fraction.isdigit()) or len(digits) > 20:
        raise _bad(f"not a time in a pax header: {text[:40]!r}")
    if sign:
        return -1
    return int(digits or b"0") * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))


def _signed_sum(block: bytes) -> int:
    """The checksum as some old programs compute it: bytes are signed."""
    field = block[148:156]
    high = sum(1 for byte in block if byte > 127) - sum(1 for byte in field if byte > 127)
    return sum(block) - sum(field) + 256 - 256 * high


def _bad(message: str) -> WherryError:
    return WherryError(INVALID_ARGUMENT, message)
