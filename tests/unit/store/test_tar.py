import subprocess
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry import errors
from wherry.errors import WherryError
from wherry.store.tar import EXTENSION_LIMIT_BYTES, TarReader

from . import tarballs
from .tarballs import archive, entry, header, padded, pax


def pieces(data, size):
    return (data[start : start + size] for start in range(0, len(data), size))


def read(data, size=1 << 16):
    reader = TarReader(pieces(data, size))
    return [(item, b"".join(bytes(view) for view in reader.data())) for item in reader]


def only(data, **options):
    (found,) = read(data, **options)
    return found


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=300)


@given(
    st.dictionaries(NAMES, st.binary(max_size=3000), max_size=5),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.sampled_from([1, 7, 511, 512, 513, 10_000]),
)
def test_reads_what_the_standard_library_writes(files, format, chunk):
    files = {name.strip("/") or "x": data for name, data in files.items()}
    found = {item.name.decode(): data for item, data in read(tarballs.standard(files, format), chunk)}
    assert found == files


def test_reads_the_prefix_of_ustar_but_not_of_gnu():
    assert only(archive(entry("name", prefix=b"dir")))[0].name == b"dir/name"
    assert only(archive(entry("name", prefix=b"dir", magic=b"ustar  \0")))[0].name == b"name"
    assert only(archive(entry("name", magic=bytes(8))))[0].name == b"name"


def test_an_old_archive_marks_directories_by_a_slash():
    assert only(archive(entry("d/", kind=b"\0", magic=bytes(8))))[0].kind == b"5"


def test_gnu_long_names_and_links():
    long = b"n" * 300
    data = archive(
        header(b"././@LongLink", kind=b"L", size=301) + padded(long + b"\0"),
        header(b"././@LongLink", kind=b"K", size=201) + padded(b"t" * 200 + b"\0"),
        header(b"short", kind=b"2", link=b"short"),
    )
    item, _ = only(data)
    assert (item.name, item.link) == (long, b"t" * 200)


def test_pax_overrides_and_the_last_of_equal_keys_wins():
    records = tarballs.record(b"path", b"first") + tarballs.record(b"path", b"second")
    data = archive(header(b"x", kind=b"x", size=len(records)) + padded(records), entry("zero", b"abc", size=3))
    assert only(data)[0].name == b"second"
    item, body = only(
        archive(
            pax(
                {
                    b"size": b"5",
                    b"uid": b"3000000",
                    b"gid": b"7",
                    b"mtime": b"12.5",
                    b"linkpath": b"l",
                    b"SCHILY.xattr.user.a": b"\0\xff",
                    b"comment": b"no matter",
                }
            ),
            header(b"f", size=0) + padded(b"12345"),
        )
    )
    assert (item.uid, item.gid, item.mtime_ns, item.link) == (3_000_000, 7, 12_500_000_000, b"l")
    assert (item.xattrs, body) == ({b"user.a": b"\0\xff"}, b"12345")


def test_global_pax_headers_change_nothing():
    assert only(archive(pax({b"path": b"wrong"}, kind=b"g"), entry("right")))[0].name == b"right"


def test_base_256_numbers():
    item, _ = only(archive(entry("x", uid=1 << 30, mtime=-5)))
    assert (item.uid, item.mtime_ns) == (1 << 30, 0)


@pytest.mark.parametrize("mtime", [b"-1", b"-0.5", b"99999999999999999999", b"9223372036854775807"])
def test_impossible_times_become_the_epoch(mtime):
    assert only(archive(entry("x", pax_records={b"mtime": mtime})))[0].mtime_ns == 0


def test_links_and_directories_have_no_data_whatever_their_size_says():
    found = read(
        archive(header(b"d", kind=b"5", size=4096), header(b"l", kind=b"1", size=9, link=b"d"), entry("f", b"x"))
    )
    assert [item.name for item, _ in found] == [b"d", b"l", b"f"]


def test_names_are_bytes():
    assert only(archive(entry(b"\xff\xfe")))[0].name == b"\xff\xfe"
    assert only(archive(entry(b"x", pax_records={b"path": b"\xff" * 150})))[0].name == b"\xff" * 150


def test_reads_to_the_end_of_the_stream():
    rest = []

    def chunks():
        yield archive(entry("a"))
        yield bytes(10_000)
        rest.append(True)
        yield b"trailing"

    reader = TarReader(chunks())
    assert [item.name for item in reader] == [b"a"]
    assert rest


def test_an_archive_may_end_without_zeros_or_be_empty():
    assert [item.name for item, _ in read(archive(entry("a", b"data"), end=b""))] == [b"a"]
    assert read(b"") == read(bytes(512)) == read(bytes(10240)) == []


def test_unread_data_is_skipped():
    reader = TarReader(pieces(archive(entry("a", b"x" * 5000), entry("b", b"y")), 600))
    assert reader.next().name == b"a"
    assert reader.next().name == b"b"
    assert bytes(reader.whole()) == b"y"
    assert reader.next() is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"not a tar archive at all".ljust(512), errors.INVALID_ARGUMENT),
        (archive(entry("a", b"x" * 1000))[:1024], errors.INVALID_ARGUMENT),
        (archive(entry("a"))[:300], errors.INVALID_ARGUMENT),
        (archive(bytes(512), entry("a")), errors.INVALID_ARGUMENT),
        (archive(entry("a", kind=b"M")), errors.INVALID_ARGUMENT),
        (archive(pax({b"path": b"x"}), end=b""), errors.INVALID_ARGUMENT),
        (archive(entry("a", size=-1)), errors.INVALID_ARGUMENT),
        (archive(entry("a", uid=1 << 33)), errors.INVALID_ARGUMENT),
        (archive(entry("a", uid=-2)), errors.INVALID_ARGUMENT),
        (archive(header(b"x", kind=b"x", size=EXTENSION_LIMIT_BYTES + 1)), errors.RESOURCE_EXHAUSTED),
        (archive(header(b"x", kind=b"L", size=1 << 40)), errors.RESOURCE_EXHAUSTED),
        (archive(entry("a", pax_records={b"path": b"a\0b"})), errors.INVALID_ARGUMENT),
        (archive(entry("a", pax_records={b"path": b"a" * 5000})), errors.INVALID_ARGUMENT),
        (archive(entry("a", pax_records={b"size": b"x"})), errors.INVALID_ARGUMENT),
        (archive(entry("a", pax_records={b"size": b"9" * 19})), errors.INVALID_ARGUMENT),
        (archive(entry("a", pax_records={b"SCHILY.xattr.": b"x"})), errors.INVALID_ARGUMENT),
    ],
)
def test_refuses(data, code):
    with pytest.raises(WherryError) as caught:
        read(data)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "body", [b"5 a=b\n", b"99 a=b\n", b"x a=b\n", b"0 a=b\n", b"6 ab\n\n", b"6 a=b\nz", b"6 =bc\n", b"-6 a=b\n"]
)
def test_refuses_damaged_pax_records(body):
    with pytest.raises(WherryError):
        read(archive(header(b"x", kind=b"x", size=len(body)) + padded(body), entry("a")))


def test_a_damaged_header_is_noticed():
    data = bytearray(archive(entry("a", b"x")))
    data[3] ^= 1
    with pytest.raises(WherryError, match="checksum"):
        read(bytes(data))


@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=posix", "--sparse-version=0.0"],
        ["--format=posix", "--sparse-version=0.1"],
        ["--format=posix", "--sparse-version=1.0"],
    ],
)
def test_sparse_files_as_gnu_tar_writes_them(tmp_path, options):
    path = tmp_path / "holes"
    with path.open("wb") as file:
        for number in range(40):  # more pieces than a header holds
            file.seek(number * 100_000)
            file.write(bytes([number + 1]) * 700)
        file.truncate(5_000_000)
    made = subprocess.run(["tar", "-c", "-S", *options, "-C", tmp_path, "holes"], capture_output=True, check=True)
    item, stored = only(made.stdout, size=1000)
    assert (item.name, item.size_bytes) == (b"holes", 5_000_000)
    whole = bytearray(item.size_bytes)
    position = 0
    for offset, length in item.pieces:
        whole[offset : offset + length] = stored[position : position + length]
        position += length
    assert bytes(whole) == path.read_bytes()
    assert len(stored) < 1_000_000


def gnu_sparse(pieces, stored, real, extended=0):
    tail = bytes(41) + b"".join(tarballs.number(value, 12) for piece in pieces for value in piece)
    tail = tail.ljust(41 + 96, b"\0") + bytes([extended]) + tarballs.number(real, 12)
    return header(b"s", kind=b"S", size=stored, magic=b"ustar  \0", tail=tail) + padded(bytes(stored))


@pytest.mark.parametrize(
    "data",
    [
        gnu_sparse([(0, 10)], 5, 100),
        gnu_sparse([(0, 10)], 10, 5),
        gnu_sparse([(50, 5), (0, 5)], 10, 100),
        gnu_sparse([(0, 10), (5, 10)], 20, 100),
        entry("s", b"1\n0\n", pax_records={b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"}),
        entry("s", b"x", pax_records={b"GNU.sparse.map": b"0,1,2", b"GNU.sparse.size": b"1"}),
        entry(
            "s",
            b"9999999\n".ljust(512, b"\0"),
            pax_records={b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"5"},
        ),
    ],
)
def test_refuses_damaged_maps_of_sparse_files(data):
    with pytest.raises(WherryError):
        read(archive(data))
