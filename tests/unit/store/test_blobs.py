import os
import threading

import pytest

from wherry import errors
from wherry.errors import WherryError
from wherry.oci import digest as digests
from wherry.store.blobs import Blobs
from wherry.store.layout import Layout


@pytest.fixture
def paths(tmp_path):
    paths = Layout(str(tmp_path / "root"))
    paths.create()
    return paths


@pytest.fixture
def blobs(paths):
    return Blobs(paths)


def test_put_and_read(blobs):
    for algorithm in ("sha256", "sha512"):
        digest = blobs.put(b"data", algorithm)
        assert blobs.read(digest, 10) == b"data"
        assert blobs.has(digest)
    assert len(list(blobs.list())) == 2


def test_a_blob_is_there_only_when_it_is_whole(blobs):
    digest = digests.of_bytes(b"data")
    with blobs.ingest(digest, 4) as ingest:
        ingest.write(b"da")
        assert not blobs.has(digest)
    assert not blobs.has(digest)
    with blobs.ingest(digest, 4) as ingest:
        assert b"".join(ingest.replay()) == b"da"
        assert ingest.offset == 2
        ingest.write(b"ta")
        assert ingest.commit() == digest
    assert blobs.read(digest, 4) == b"data"
    assert blobs.ingest(digest, 4) is None


@pytest.mark.parametrize("sent", [b"dat", b"dato", b"data and more"])
def test_what_was_not_promised_is_not_kept(blobs, paths, sent):
    digest = digests.of_bytes(b"data")
    with pytest.raises(WherryError) as caught, blobs.ingest(digest, 4) as ingest:
        ingest.write(sent)
        ingest.commit()
    assert caught.value.code == errors.DATA_LOSS
    assert not blobs.has(digest)
    assert os.listdir(paths.ingest) == ([] if len(sent) >= 4 else [f"sha256-{digest.hex}"])


def test_two_writers_of_one_blob_do_not_meet(blobs):
    digest = digests.of_bytes(b"data")
    first = blobs.ingest(digest, 4)
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(blobs.ingest(digest, 4)))
    thread.start()
    first.write(b"data")
    first.commit()
    thread.join()
    assert outcome == [None]


def test_an_unknown_digest(blobs, paths):
    with blobs.create() as ingest:
        ingest.write(b"data")
        assert ingest.commit() == digests.of_bytes(b"data")
    with blobs.create() as ingest:
        ingest.write(b"given up")
    assert os.listdir(paths.ingest) == []


def test_damage_is_noticed(blobs):
    digest = blobs.put(b"data")
    with open(blobs.path(digest), "wb") as file:
        file.write(b"dbta")
    assert not blobs.verify(digest)
    with pytest.raises(WherryError) as caught:
        blobs.read(digest, 10)
    assert caught.value.code == errors.DATA_LOSS


def test_reading_is_limited(blobs):
    with pytest.raises(WherryError) as caught:
        blobs.read(blobs.put(b"12345"), 4)
    assert caught.value.code == errors.RESOURCE_EXHAUSTED


def test_what_is_not_there(blobs):
    digest = digests.of_bytes(b"x")
    for use in (blobs.open, blobs.size_bytes, lambda wanted: list(blobs.chunks(wanted))):
        with pytest.raises(WherryError) as caught:
            use(digest)
        assert caught.value.code == errors.NOT_FOUND
    blobs.delete(digest)
