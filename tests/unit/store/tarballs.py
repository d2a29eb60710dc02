"""Tar archives as the tests want them: well formed or not, entry by entry, in bytes."""

from __future__ import annotations

import io
import tarfile

REGULAR, HARD, SYMBOLIC, CHARACTER, BLOCK, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"


def number(value: int, width: int) -> bytes:
    """Octal, or base 256 where that is too long or negative."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return (0x80 if value >= 0 else 0xFF).to_bytes(1, "big") + (value % 256 ** (width - 1)).to_bytes(width - 1, "big")


def header(
    name: bytes,
    *,
    kind: bytes = REGULAR,
    size: int = 0,
    link: bytes = b"",
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    mtime: int = 1_700_000_000,
    device: tuple[int, int] = (0, 0),
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    tail: bytes = b"",
) -> bytes:
    block = b"".join(
        (
            name[:100].ljust(100, b"\0"),
            number(mode, 8),
            number(uid, 8),
            number(gid, 8),
            number(size, 12),
            number(mtime, 12),
            b" " * 8,
            kind,
            link[:100].ljust(100, b"\0"),
            magic,
            bytes(64),
            number(device[0], 8),
            number(device[1], 8),
            prefix.ljust(155, b"\0"),
        )
    ).ljust(512, b"\0")
    if tail:
        block = block[:345] + tail.ljust(167, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax(records: dict[bytes, bytes], kind: bytes = b"x") -> bytes:
    body = b""
    for key, value in records.items():
        body += record(key, value)
    return header(b"PaxHeader", kind=kind, size=len(body)) + padded(body)


def record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    while len(b"%d" % (length + len(b"%d" % length))) != len(b"%d" % length):
        length += 1
    text = b"%d %b=%b\n" % (length + len(b"%d" % length), key, value)
    return text


def entry(name: str | bytes, data: bytes = b"", *, pax_records: dict[bytes, bytes] | None = None, **fields) -> bytes:
    """One member; `data` makes it a regular file unless `kind` says otherwise."""
    raw = name.encode() if isinstance(name, str) else name
    if isinstance(fields.get("link"), str):
        fields["link"] = fields["link"].encode()
    if len(raw) > 100:
        pax_records = {b"path": raw, **(pax_records or {})}
    fields.setdefault("size", len(data))
    return (pax(pax_records) if pax_records else b"") + header(raw, **fields) + padded(data)


def directory(name: str | bytes, mode: int = 0o755, **fields) -> bytes:
    return entry(name, kind=DIRECTORY, mode=mode, **fields)


def symlink(name: str | bytes, target: str | bytes, **fields) -> bytes:
    return entry(name, kind=SYMBOLIC, link=target, mode=0o777, **fields)


def hardlink(name: str | bytes, target: str | bytes, **fields) -> bytes:
    return entry(name, kind=HARD, link=target, **fields)


def whiteout(name: str) -> bytes:
    return entry(name)


def archive(*members: bytes, end: bytes = bytes(1024)) -> bytes:
    return b"".join(members) + end


def standard(files: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    """The standard library's idea of an archive of regular files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as file:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mtime = 1_700_000_000
            file.addfile(info, io.BytesIO(data))
    return out.getvalue()
