"""Random and damaged layers: each is applied or refused with one clear error, and nothing else happens."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.store import tarballs
from wherry.errors import WherryError
from wherry.store import ownership, rootdir
from wherry.store.base import LayerTarget
from wherry.store.compression import decompress
from wherry.store.extract import Limits, extract
from wherry.store.tar import TarReader

PARTS = st.sampled_from(
    ["a", "b", "c", "..", ".", "", "d", ".wh.a", ".wh.d", ".wh..wh..opq", ".wh.", ".wh..wh.plnk", "l", "\x7f", "é"]
)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
TARGETS = PATHS | st.sampled_from(["/", "/tmp", "/etc/passwd", "../../../../etc", "."])
ENTRIES = st.one_of(
    st.builds(tarballs.entry, PATHS, st.binary(max_size=40), mode=st.integers(0, 0o7777), uid=st.integers(0, 9)),
    st.builds(tarballs.directory, PATHS, st.integers(0, 0o7777)),
    st.builds(tarballs.symlink, PATHS, TARGETS),
    st.builds(tarballs.hardlink, PATHS, TARGETS),
    st.builds(
        tarballs.entry, PATHS, kind=st.sampled_from([b"3", b"4", b"6"]), device=st.tuples(*[st.integers(0, 9)] * 2)
    ),
    st.builds(
        lambda path, key, value: tarballs.entry(path, pax_records={key: value}),
        PATHS,
        st.sampled_from([b"path", b"linkpath", b"size", b"mtime", b"uid", b"SCHILY.xattr.user.a", b"GNU.sparse.map"]),
        st.binary(max_size=12),
    ),
)
EXAMPLES = 150


def try_to_extract(data, *, flat, base, chunk=700):
    with tempfile.TemporaryDirectory(prefix="wherry-fuzz") as place:
        root = Path(place, "in/root")
        root.mkdir(parents=True)
        Path(place, "victim").write_text("untouched")
        before = snapshot(place)
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        target = LayerTarget(fd, flat=flat, base=base, ownership=ownership.detect())
        try:
            extract(target, (data[at : at + chunk] for at in range(0, len(data), chunk)), Limits(size_bytes=1 << 20))
        except WherryError as error:
            assert str(error)
            assert "\n" not in str(error)
        finally:
            target.close()
        assert not [link for link in map(read_link, os.listdir("/proc/self/fd")) if link.startswith(place)]
        rootdir.remove_tree(str(root))
        assert snapshot(place) == [item for item in before if item[0] != str(root)]


def read_link(number):
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""


def snapshot(place):
    found = []
    for directory, _, files in os.walk(place):
        for name in [directory, *(os.path.join(directory, name) for name in files)]:
            status = os.lstat(name)
            found.append((name, status.st_mode, status.st_uid, status.st_nlink if os.path.isfile(name) else 0))
    return sorted(found)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(ENTRIES, max_size=12), st.booleans(), st.booleans())
def test_layers_of_hostile_names(entries, flat, base):
    try_to_extract(tarballs.archive(*entries), flat=flat, base=base)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(ENTRIES, min_size=1, max_size=5), st.data())
def test_layers_with_damaged_bytes(entries, data):
    archive = bytearray(tarballs.archive(*entries))
    for _ in range(data.draw(st.integers(1, 4))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    # The checksums are made right again, so that the damage is seen by what comes after them.
    for start in range(0, len(archive) - 511, 512):
        block = archive[start : start + 512]
        if any(block) and data.draw(st.booleans()):
            block[148:156] = b" " * 8
            archive[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    try_to_extract(bytes(archive), flat=False, base=False)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=3000), st.integers(1, 1000))
def test_no_archive_at_all(data, chunk):
    for source in ([data], (data[at : at + chunk] for at in range(0, len(data), chunk))):
        try:
            for _ in TarReader(source):
                pass
        except WherryError:
            pass


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from([b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"]), st.binary(max_size=500))
def test_no_compression_at_all(magic, data):
    try:
        for chunk in decompress([magic + data]):
            assert len(chunk) <= 1 << 21
    except WherryError:
        pass


@pytest.mark.parametrize("field", range(15))
def test_every_header_field_may_be_nonsense(field):
    sizes = (100, 8, 8, 8, 12, 12, 8, 1, 100, 8, 32, 32, 8, 8, 155)
    start = sum(sizes[:field])
    for filler in (b"\xff", b"\x80", b"9", b" ", b"\0", b"-"):
        block = bytearray(tarballs.header(b"name", size=0))
        block[start : start + sizes[field]] = filler * sizes[field]
        if field != 6:
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
        try_to_extract(bytes(block) + bytes(1024), flat=False, base=True)
