import gzip
import os

import pytest
import zstandard

from wherry.errors import WherryError
from wherry.store.compression import GzipCompressor, decompress, detect

DATA = bytes(3_000_000) + os.urandom(200_000) + b"x" * 1_000_000


def zstd(data):
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def unpack(data, size):
    return b"".join(bytes(chunk) for chunk in decompress(data[at : at + size] for at in range(0, len(data), size)))


@pytest.mark.parametrize("pack", [gzip.compress, zstd, bytes])
@pytest.mark.parametrize("size", [1000, 65536, 1 << 30])
def test_several_members_in_pieces_of_any_size(pack, size):
    half = len(DATA) // 2
    assert unpack(pack(DATA[:half]) + pack(DATA[half:]), size) == DATA


@pytest.mark.parametrize("pack", [gzip.compress, zstd, bytes])
def test_byte_by_byte(pack):
    data = DATA[-500:]
    assert unpack(pack(data), 1) == data
    assert unpack(pack(b""), 1) == b""


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_a_bomb_comes_in_small_pieces(pack):
    packed = pack(bytes(200_000_000))
    assert max(len(chunk) for chunk in decompress([packed])) <= 1 << 21


def test_zeros_after_a_gzip_member_are_padding():
    assert unpack(gzip.compress(b"data") + bytes(2000), 100) == b"data"


@pytest.mark.parametrize("cut", [1, 8, 500])
def test_cut_short(cut):
    with pytest.raises(WherryError):
        unpack(gzip.compress(DATA)[:-cut], 1000)


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_damaged(pack):
    packed = bytearray(pack(os.urandom(5000)))
    packed[100] ^= 0xFF
    packed[-3] ^= 0xFF
    with pytest.raises(WherryError):
        assert unpack(bytes(packed), 1000)


def test_garbage_after_a_member():
    with pytest.raises(WherryError):
        unpack(gzip.compress(b"data") + b"garbage", 100)


@pytest.mark.parametrize("head", [b"BZh91AY", b"\xfd7zXZ\0"])
def test_other_compressions_are_named(head):
    with pytest.raises(WherryError, match="not supported"):
        unpack(head, 100)


def test_our_gzip_is_the_same_every_time_and_anybodys():
    def pack():
        compressor = GzipCompressor()
        return compressor.feed(DATA) + compressor.finish()

    assert pack() == pack()
    assert gzip.decompress(pack()) == DATA
    assert detect(pack()) == "gzip"
