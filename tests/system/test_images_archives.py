"""Images in files and directories, read and written by other tools."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess

import pytest

from wherry import errors
from wherry.errors import WherryError
from wherry.store import Store
from wherry.transfer import bootstrap, import_tarball, load, pull, push, save

from .image_lab import digest_of, layout, make_layout, podman, skopeo_copy, tar, tool

__all__ = ["layout"]


@pytest.fixture
def store(tmp_path):
    with Store.open(str(tmp_path / "store")) as store:
        yield store
        assert store.check(deep=True) == []


@pytest.fixture
def other(tmp_path):
    with Store.open(str(tmp_path / "other")) as store:
        yield store
        assert store.check(deep=True) == []


@pytest.fixture
def image(store, layout):
    image = pull(store, f"oci:{layout}:busybox")
    store.images.tag(image, "box:1")
    return store.images.get(image.digest)


@pytest.mark.parametrize("transport", ["oci:{}:x", "dir:{}", "oci-archive:{}:x"])
def test_forms_that_keep_the_digest(store, other, image, tmp_path, transport):
    name = transport.format(tmp_path / "out")
    assert push(store, "box:1", name) == image.digest
    assert digest_of(name) == image.digest
    skopeo_copy(name, f"oci:{tmp_path}/back:y")
    assert digest_of(f"oci:{tmp_path}/back:y") == image.digest
    assert pull(other, name).digest == image.digest


@pytest.mark.parametrize("transport", ["oci:{}:x", "dir:{}", "oci-archive:{}:x"])
def test_the_same_forms_from_skopeo(other, layout, tmp_path, transport):
    name = transport.format(tmp_path / "out")
    skopeo_copy(f"oci:{layout}:busybox", name)
    assert pull(other, name).digest == digest_of(f"oci:{layout}:busybox")


def test_a_docker_archive_keeps_the_image_id(store, other, image, tmp_path):
    push(store, "box:1", f"docker-archive:{tmp_path}/a.tar:box:1")
    skopeo_copy(f"docker-archive:{tmp_path}/a.tar:box:1", f"docker-archive:{tmp_path}/theirs.tar:their/name:2")
    (loaded,) = load(other, tmp_path / "theirs.tar")
    assert loaded.id == image.id
    assert "docker.io/their/name:2" in loaded.names
    assert pull(other, f"docker-archive:{tmp_path}/theirs.tar").id == image.id


def test_podman_loads_what_we_saved(store, image, tmp_path):
    save(store, ["box:1"], tmp_path / "a.tar")
    with podman(tmp_path) as run:
        run("load", "-q", "-i", tmp_path / "a.tar")
        shown = json.loads(run("image", "inspect", "docker.io/library/box:1"))[0]
        assert f"sha256:{shown['Id']}" == image.id
        run("save", "-q", "-o", tmp_path / "b.tar", "docker.io/library/box:1")
        run("save", "-q", "--format=oci-archive", "-o", tmp_path / "c.tar", "docker.io/library/box:1")
    for name in ("b.tar", "c.tar"):
        with Store.open(str(tmp_path / name.replace(".", "-"))) as fresh:
            (loaded,) = load(fresh, tmp_path / name)
            # The id is another: podman writes the config anew when it converts it.
            assert fresh.images.config(loaded).diff_ids == store.images.config(image).diff_ids


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci"])
def test_several_images_in_one(store, other, image, tmp_path, form):
    make_layout(tmp_path / "second", "s", [tar({"second": b"2"})])
    second = pull(store, f"oci:{tmp_path}/second:s")
    store.images.tag(second, "second:1")
    save(store, ["box:1", "second:1"], tmp_path / "out", format=form)
    loaded = load(other, tmp_path / "out")
    assert {item.id for item in loaded} == {image.id, second.id}
    assert other.images.find("box:1").id == image.id
    assert other.images.find("second:1").id == second.id


def test_layers_that_two_images_share_are_saved_once(store, image, layout, tmp_path):
    config = store.images.config(image)
    save(store, ["box:1"], tmp_path / "one.tar")
    store.images.tag(image, "box:2")
    save(store, ["box:1", "box:2", image.id], tmp_path / "three.tar")
    assert (tmp_path / "three.tar").stat().st_size < (tmp_path / "one.tar").stat().st_size + 5000
    assert config.diff_ids


@pytest.mark.parametrize("pack", ["cat", "gzip", "zstd"])
def test_archives_come_through_pipes_and_compressed(store, other, image, tmp_path, pack):
    save(store, ["box:1"], tmp_path / "a.tar")
    with (tmp_path / "a.tar").open("rb") as file:
        process = subprocess.Popen([pack], stdin=file, stdout=subprocess.PIPE)
        (loaded,) = load(other, process.stdout)
        process.stdout.close()
        process.wait()
    assert loaded.id == image.id


def test_saving_to_a_pipe(store, other, image, tmp_path):
    with (tmp_path / "a.tar").open("wb") as file:
        process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file)
        save(store, [image.id], process.stdin)
        process.stdin.close()
        process.wait()
    (loaded,) = load(other, tmp_path / "a.tar")
    assert loaded.names == ("docker.io/library/box:1",)


def docker_archive(**members):
    return tar({name.replace("__", "."): data for name, data in members.items()})


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"nonsense" * 200, errors.INVALID_ARGUMENT),
        (tar({"x": b"y"}), errors.INVALID_ARGUMENT),
        (tar({"manifest.json": b"{}"}), errors.INVALID_ARGUMENT),
        (tar({"manifest.json": b"[{}]"}), errors.INVALID_ARGUMENT),
        (tar({"manifest.json": b'[{"Config":"../../etc/passwd","Layers":[]}]'}), errors.NOT_FOUND),
        (tar({"manifest.json": b'[{"Config":"c","Layers":["l"]}]', "c": b"{}"}), errors.INVALID_ARGUMENT),
        (tar({"index.json": b"{}"}), errors.INVALID_ARGUMENT),
        (tar({"index.json": b'{"schemaVersion":2,"layers":[],"manifests":[]}'}), errors.INVALID_ARGUMENT),
    ],
)
def test_what_is_no_archive(store, data, code):
    with pytest.raises(WherryError) as caught:
        load_bytes(store, data)
    assert caught.value.code == code
    assert store.images.list() == []


def load_bytes(store, data):
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        return load(store, file)


def test_a_layer_that_is_not_what_the_config_says(store):
    layer = tar({"f": b"x"})
    config = {"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}
    manifest = [{"Config": "c", "Layers": ["l"], "RepoTags": ["a:b"]}]
    data = tar({"manifest.json": json.dumps(manifest).encode(), "c": json.dumps(config).encode(), "l": layer})
    with pytest.raises(WherryError) as caught:
        load_bytes(store, data)
    assert caught.value.code == errors.DATA_LOSS
    assert store.layers.list() == store.images.list() == []


# Import


def test_import_makes_an_image_of_one_layer(store, tmp_path):
    bootstrap.busybox_tarball(tmp_path / "rootfs.tar")
    with (tmp_path / "rootfs.tar").open("rb") as file:
        image = import_tarball(
            store, file, "box:imported", changes=['CMD ["/bin/sh"]', "ENV A=b", "WORKDIR /root"], message="by hand"
        )
    config = store.images.config(image)
    assert (config.cmd, config.env, config.working_dir) == (("/bin/sh",), ("A=b",), "/root")
    digest = hashlib.sha256((tmp_path / "rootfs.tar").read_bytes()).hexdigest()
    assert config.diff_ids == (f"sha256:{digest}",)
    assert store.images.inspect("box:imported")["Comment"] == "by hand"
    push(store, "box:imported", f"oci:{tmp_path}/oci:x")
    tool("umoci", "unpack", "--image", f"{tmp_path}/oci:x", tmp_path / "bundle")
    listing = subprocess.run([tmp_path / "bundle/rootfs/bin/busybox", "--list"], capture_output=True, check=True)
    assert b"sh" in listing.stdout.split()


def test_import_is_the_same_every_time(store, other, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first, second = (import_tarball(place, io.BytesIO(tar({"f": b"x"}))) for place in (store, other))
    assert first.digest == second.digest
    assert first.created == "2023-11-14T22:13:20Z"


@pytest.mark.parametrize("pack", ["gzip", "zstd"])
def test_import_keeps_what_is_compressed(store, pack):
    packed = subprocess.run([pack, "-c"], input=tar({"f": b"x"}), capture_output=True, check=True).stdout
    image = import_tarball(store, io.BytesIO(packed), "a:b")
    (layer,) = store.images.manifest(image).layers
    assert layer.media_type.endswith(f"+{pack}")
    assert store.blobs.read(layer.digest, 1 << 20) == packed


def test_import_of_nonsense_leaves_nothing(store):
    with pytest.raises(WherryError):
        import_tarball(store, io.BytesIO(b"nonsense" * 1000), "a:b")
    assert store.layers.list() == store.images.list() == []
    assert list(store.blobs.list()) == []


# What the store knows of its images


def test_names_ids_and_removal(store, image):
    for name in ("box:1", "docker.io/library/box:1", image.id, image.id[7:19], image.id[7:], image.digest):
        assert store.images.find(name).id == image.id
    store.images.tag(image, "box:2")
    assert len(store.images.list()) == 1
    with pytest.raises(WherryError) as caught:
        store.images.remove(image.id)
    assert caught.value.code == errors.FAILED_PRECONDITION
    assert store.images.remove("box:2").deleted == ()
    root = store.snapshots.create("c", image.chain_id)
    with pytest.raises(WherryError, match="in use"):
        store.images.remove("box:1")
    assert store.images.remove("box:1", force=True).untagged == ("docker.io/library/box:1",)
    assert root.lowerdirs
    assert len(store.layers.list()) == 3
    store.snapshots.remove("c")
    store.gc()
    assert store.layers.list() == []
    assert list(store.blobs.list()) == []
    with pytest.raises(WherryError) as caught:
        store.images.find("box:1")
    assert caught.value.code == errors.NOT_FOUND


def test_removing_one_image_spares_the_layers_of_another(store, image, tmp_path):
    base = tar({"base": b"x"})
    for name, layers in {"one": [base, tar({"1": b""})], "two": [base, tar({"2": b""})]}.items():
        make_layout(tmp_path / name, name, layers)
        store.images.tag(pull(store, f"oci:{tmp_path}/{name}:{name}"), f"{name}:x")
    report = store.images.remove("one:x")
    assert len(report.deleted) == 2
    assert store.images.find("two:x")
    assert store.check(deep=True) == []
