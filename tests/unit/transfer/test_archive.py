import io
import os
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry import errors
from wherry.errors import WherryError
from wherry.store.compression import GzipCompressor
from wherry.transfer.archive import Archive, ArchiveWriter, header


def written(files):
    out = io.BytesIO()
    writer = ArchiveWriter(out)
    for name, data in files.items():
        writer.add_bytes(name, data)
    writer.finish()
    return out.getvalue()


def opened(tmp_path, data):
    (tmp_path / "a.tar").write_bytes(data)
    with (tmp_path / "a.tar").open("rb") as file:
        return Archive(file)


NAMES = st.text("abc", min_size=1, max_size=20)


@given(st.dictionaries(NAMES, st.binary(max_size=2000), max_size=4))
def test_tarfile_reads_what_is_written(files):
    with tarfile.open(fileobj=io.BytesIO(written(files))) as archive:
        assert {member.name: archive.extractfile(member).read() for member in archive} == files


def test_random_access(tmp_path):
    files = {f"f{number}": os.urandom(number * 70_001) for number in range(6)}
    archive = opened(tmp_path, written(files))
    for name, data in reversed(files.items()):
        assert archive.size_bytes(name) == len(data)
        assert archive.read(name, 1 << 20) == data
        assert b"".join(archive.chunks(name, 5)) == data[5:]


def test_compressed_archives_are_unpacked_aside(tmp_path):
    compressor = GzipCompressor()
    packed = compressor.feed(written({"f": b"data"})) + compressor.finish()
    assert opened(tmp_path, packed).read("f", 10) == b"data"


def test_links_as_old_docker_made_them(tmp_path):
    out = header(b"a/layer.tar", 4) + b"data".ljust(512, b"\0")
    out += header(b"b/layer.tar", kind=b"2", link=b"../a/layer.tar") + header(b"c", kind=b"1", link=b"a/layer.tar")
    out += header(b"loop", kind=b"2", link=b"loop") + header(b"out", kind=b"2", link=b"../../../etc/passwd")
    archive = opened(tmp_path, out + bytes(1024))
    for name in ("a/layer.tar", "b/layer.tar", "c", "./a/layer.tar"):
        assert archive.read(name, 10) == b"data"
    for name in ("loop", "out", "missing"):
        assert not archive.has(name)
        with pytest.raises(WherryError) as caught:
            archive.read(name, 10)
        assert caught.value.code == errors.NOT_FOUND


def test_limits(tmp_path):
    archive = opened(tmp_path, written({"f": b"12345"}))
    with pytest.raises(WherryError) as caught:
        archive.read("f", 4)
    assert caught.value.code == errors.RESOURCE_EXHAUSTED
    with pytest.raises(WherryError):
        opened(tmp_path, header(b"f", 10_000) + b"short")
    with pytest.raises(WherryError):
        header(b"n" * 101)


def test_a_member_of_another_size_than_announced():
    with pytest.raises(WherryError):
        ArchiveWriter(io.BytesIO()).add("f", 3, [b"four"])


def test_huge_sizes_are_written_in_base_256():
    block = header(b"f", 1 << 40)
    assert tarfile.TarInfo.frombuf(block, "utf-8", "strict").size == 1 << 40
