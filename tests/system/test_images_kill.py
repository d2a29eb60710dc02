"""A program that is killed, at whatever instruction, leaves a store that opens, checks clean and goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wherry.store import Store
from wherry.transfer import import_tarball, pull

from .image_lab import layout, make_layout, many_files, registry, skopeo_copy, tar

__all__ = ["layout", "registry"]

PATH = [str(Path(__file__).parents[2] / "src"), *(path for path in sys.path if path.endswith("site-packages"))]
ROUNDS = 30
PULL = "from wherry.transfer import pull; pull(store, sys.argv[2])"
WORK = """
from wherry.transfer import import_tarball
import io
while True:
    image = import_tarball(store, open(sys.argv[2], "rb"), "work:1")
    for number in range(3):
        store.snapshots.create(f"c{number}", image.chain_id)
    for number in range(3):
        store.snapshots.remove(f"c{number}")
    store.images.remove("work:1")
    store.gc()
"""


def start(root, script, *arguments):
    """A process that works on the store at `root`; it says when it has opened it."""
    head = f"import sys; sys.path[:0] = {PATH!r}\nfrom wherry.store import Store\nstore = Store.open(sys.argv[1])\n"
    process = subprocess.Popen(
        ["/usr/bin/python3", "-I", "-c", head + "print('open', flush=True)\n" + script, root, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"open\n", process.stderr.read()
    return process


def kill(process, after_s):
    """SIGKILL after a while; whether the process was still there."""
    deadline = time.monotonic() + after_s
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode != 0


@pytest.fixture(scope="module")
def image(registry, tmp_path_factory):
    """An image of six layers that takes a while."""
    directory = tmp_path_factory.mktemp("image")
    make_layout(directory / "oci", "x", [many_files(number, 400, 6000) for number in range(6)])
    skopeo_copy(f"oci:{directory}/oci:x", f"docker://{registry}/kill:1")
    return f"{registry}/kill:1"


@pytest.fixture(params=["overlay", "copy"])
def root(tmp_path, request):
    Store.open(str(tmp_path / "store"), driver=request.param).close()
    return str(tmp_path / "store")


def test_pulling(image, root, tmp_path):
    """Thirty kills spread over the time that a pull takes, some of them after each other on the same store."""
    began = time.monotonic()
    process = start(str(tmp_path / "first"), PULL, image)
    process.communicate()
    assert process.returncode == 0
    duration = time.monotonic() - began
    chance = random.Random(7)
    killed = 0
    for _ in range(ROUNDS):
        killed += kill(start(root, PULL, image), chance.uniform(0, duration))
        with Store.open(root) as store:
            assert store.check(deep=True) == []
            assert store.database.query("SELECT * FROM intents") == []
            assert os.listdir(store.paths.tmp) == []
            if store.images.list() and chance.random() < 0.7:
                store.images.remove(image)
                store.gc()
    assert killed > ROUNDS // 3
    with Store.open(root) as store:
        found = pull(store, image)
        assert store.check(deep=True) == []
        assert len(store.layers.list()) == 6
        first = Store.open(str(tmp_path / "first"))
        assert first.images.find(image).digest == found.digest
        first.close()


def test_everything_else(root, tmp_path):
    """Kills while images and containers come and go."""
    (tmp_path / "rootfs.tar").write_bytes(tar({f"d{number}/f": b"x" * 500 for number in range(40)}))
    chance = random.Random(11)
    for _ in range(ROUNDS // 2):
        assert kill(start(root, WORK, str(tmp_path / "rootfs.tar")), chance.uniform(0, 0.7))
        with Store.open(root) as store:
            assert store.check(deep=True) == []
            for name in store.snapshots.list():
                store.snapshots.get(name)
                store.snapshots.remove(name)
            store.gc()
            assert store.check(deep=True) == []
    with Store.open(root) as store, (tmp_path / "rootfs.tar").open("rb") as file:
        image = import_tarball(store, file, "work:1")
        assert store.snapshots.create("last", image.chain_id)


def test_a_download_goes_on_where_it_was_killed(registry, tmp_path):
    """What has arrived of a blob is not fetched again, in whichever process."""
    make_layout(tmp_path / "oci", "x", [tar({"big": os.urandom(24 << 20)})])
    blob = max((tmp_path / "oci/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    skopeo_copy(f"oci:{tmp_path}/oci:x", f"docker://{registry}/resume:1")
    root = str(tmp_path / "store")
    Store.open(root).close()
    partial = Path(root, "ingest", f"sha256-{blob.name}")
    partial.write_bytes(blob.read_bytes()[: 20 << 20])
    seen = []
    with Store.open(root) as store:
        pull(store, f"{registry}/resume:1", progress=seen.append)
        assert store.check(deep=True) == []
    fetched = [event.current for event in seen if event.status == "downloading"]
    assert min(fetched) > 20 << 20


def test_a_damaged_rest_of_a_download_costs_only_a_new_one(registry, tmp_path):
    make_layout(tmp_path / "oci", "x", [tar({"big": os.urandom(4 << 20)})])
    blob = max((tmp_path / "oci/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    skopeo_copy(f"oci:{tmp_path}/oci:x", f"docker://{registry}/damaged:1")
    root = str(tmp_path / "store")
    Store.open(root).close()
    Path(root, "ingest", f"sha256-{blob.name}").write_bytes(b"\x1f\x8b\x08 nothing of this is right" * 1000)
    with Store.open(root) as store:
        pull(store, f"{registry}/damaged:1")
        assert store.check(deep=True) == []


def test_two_pulls_at_once_share_the_work(image, root):
    processes = [start(root, PULL, image) for _ in range(3)]
    for process in processes:
        _, complaints = process.communicate()
        assert process.returncode == 0, complaints.decode()
    with Store.open(root) as store:
        assert store.check(deep=True) == []
        assert len(store.layers.list()) == len(os.listdir(store.paths.layers)) == 6
