"""Images to and from a registry, with other tools on its far side."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path

import pytest

from wherry import errors
from wherry.errors import WherryError
from wherry.oci import image as documents
from wherry.oci import reference as references
from wherry.registry import Client, Settings
from wherry.store import Store
from wherry.transfer import pull, push
from wherry.transfer.registry import RegistrySink

from .image_lab import (
    digest_of,
    layout,
    make_layout,
    many_files,
    podman,
    registry,
    run_registry,
    skopeo_copy,
    tar,
    tool,
)

__all__ = ["layout", "registry"]


# The user is `user`, the password `secret`.
PASSWORD = "user:$2b$05$.rr4Xt7PPNEj4JdqBuLUUOFZ43HgBCb93qw2iszXfmRRJqb3WX.h2\n"


@pytest.fixture(params=["overlay", "copy"])
def store(tmp_path, request):
    with Store.open(str(tmp_path / "store"), driver=request.param) as store:
        yield store
        assert store.check(deep=True) == []


def unpacked(store, image):
    """Names and contents of an image's files, as a container would find them."""
    root = store.snapshots.create("look", image.chain_id)
    (mount,) = root.mounts
    how = ["--rbind", mount.source] if mount.type == "bind" else ["-t", "overlay", "-o", ",".join(mount.options), "o"]
    script = 'mount "$@"; for last; do :; done; tar -C "$last" --sort=name --mtime=@0 -cf - . | sha256sum'
    try:
        return tool("unshare", "-m", "sh", "-ec", script, "-", *how, root.mountpoint)
    finally:
        store.snapshots.remove("look")


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_what_skopeo_pushed_is_pulled_and_pushed_again_unchanged(store, registry, layout, form):
    skopeo_copy(f"oci:{layout}:busybox", f"docker://{registry}/from/skopeo:{form}", f"--format={form}")
    image = pull(store, f"{registry}/from/skopeo:{form}")
    assert image.digest == digest_of(f"docker://{registry}/from/skopeo:{form}")
    assert image.names == (f"{registry}/from/skopeo:{form}",)
    assert store.images.config(image).env == ("PATH=/usr/bin:/bin", "GREETING=hello")
    assert push(store, image.names[0], f"{registry}/to/skopeo:{form}") == image.digest
    assert digest_of(f"docker://{registry}/to/skopeo:{form}") == image.digest


def test_the_files_are_those_that_umoci_unpacks(store, registry, layout, tmp_path):
    skopeo_copy(f"oci:{layout}:busybox", f"docker://{registry}/files:1")
    image = pull(store, f"{registry}/files:1")
    tool("umoci", "unpack", "--image", f"{layout}:busybox", tmp_path / "bundle")
    script = f"tar -C {tmp_path}/bundle/rootfs --sort=name --mtime=@0 -cf - . | sha256sum"
    assert unpacked(store, image) == tool("sh", "-c", script)


def test_zstd_layers(store, registry, layout, tmp_path):
    make_layout(tmp_path / "oci", "z", [tar({"a": b"x" * 100_000}), tar({"b": b"y"})], compress="zstd")
    skopeo_copy(f"oci:{tmp_path}/oci:z", f"docker://{registry}/zstd:1")
    image = pull(store, f"{registry}/zstd:1")
    assert image.digest == digest_of(f"docker://{registry}/zstd:1")
    assert image.size_bytes == 100_001


def test_podman_pulls_what_we_pushed(registry, layout, tmp_path):
    with Store.open(str(tmp_path / "store")) as store:
        image = pull(store, f"oci:{layout}:busybox")
        store.images.tag(image, f"{registry}/ours:1")
        push(store, f"{registry}/ours:1")
    with podman(tmp_path) as run:
        run("pull", "-q", "--tls-verify=false", f"{registry}/ours:1")
        shown = json.loads(run("image", "inspect", f"{registry}/ours:1"))[0]
        assert (f"sha256:{shown['Id']}", shown["Digest"]) == (image.id, image.digest)


def test_what_buildah_built_and_pushed_is_pulled(store, registry, layout, tmp_path):
    buildah = ["buildah", f"--root={tmp_path}/root", f"--runroot={tmp_path}/run", "--storage-driver=vfs"]
    container = tool(*buildah, "from", "--quiet", f"oci:{layout}:busybox").strip()
    (tmp_path / "file").write_text("built")
    tool(*buildah, "copy", "--quiet", container, tmp_path / "file", "/opt/app/file")
    tool(*buildah, "commit", "--quiet", "--tls-verify=false", container, f"docker://{registry}/built:1")
    tool(*buildah, "rm", container)
    image = pull(store, f"{registry}/built:1")
    assert image.digest == digest_of(f"docker://{registry}/built:1")
    assert len(store.images.config(image).diff_ids) == 4


def test_by_digest(store, registry, layout):
    skopeo_copy(f"oci:{layout}:busybox", f"docker://{registry}/digest:1")
    digest = digest_of(f"docker://{registry}/digest:1")
    image = pull(store, f"{registry}/digest@{digest}")
    assert image.names == (f"{registry}/digest@{digest}",)
    assert store.images.find(f"{registry}/digest@{digest}").id == image.id
    assert store.images.inspect(image.id)["RepoDigests"] == [f"{registry}/digest@{digest}"]
    assert store.images.inspect(image.id)["RepoTags"] == []


def test_an_index_gives_the_hosts_image_and_keeps_its_own_digest(store, registry, layout):
    skopeo_copy(f"oci:{layout}:busybox", f"docker://{registry}/multi:one")
    client = Client()
    name = references.parse(f"{registry}/multi:one")
    real = client.manifest(name)
    host = documents.parse_config(b"".join(client.blob(name, documents.parse_manifest(real.raw).config)))
    other = documents.Descriptor(
        real.media_type, real.digest, len(real.raw), platform=documents.Platform("linux", "s390x")
    )
    mine = documents.Descriptor(real.media_type, real.digest, len(real.raw), platform=host.platform)
    index = documents.encode(
        {
            "schemaVersion": 2,
            "mediaType": documents.OCI_INDEX,
            "manifests": [other.document(), mine.document()],
        }
    )
    document = documents.Document(index, documents.OCI_INDEX, documents.digests.of_bytes(index))
    client.push_manifest(name.with_tag("all"), document)
    client.close()
    image = pull(store, f"{registry}/multi:all")
    assert (image.digest, image.targets) == (real.digest, (document.digest,))
    assert store.images.inspect(image.id)["RepoDigests"] == [f"{registry}/multi@{document.digest}"]
    with pytest.raises(WherryError, match="riscv64"):
        pull(store, f"{registry}/multi:all", platform="linux/riscv64")


def test_an_image_of_another_platform(store, registry, layout):
    skopeo_copy(f"oci:{layout}:busybox", f"docker://{registry}/platform:1")
    with pytest.raises(WherryError, match="linux/s390x") as caught:
        pull(store, f"{registry}/platform:1", platform="linux/s390x")
    assert caught.value.code == errors.NOT_FOUND
    assert store.images.list() == store.layers.list() == []


def test_policies(store, registry, layout, tmp_path):
    name = f"{registry}/policy:1"
    with pytest.raises(WherryError):
        pull(store, name, policy="never")
    skopeo_copy(f"oci:{layout}:busybox", f"docker://{name}")
    first = pull(store, name, policy="missing")
    make_layout(tmp_path / "new", "n", [tar({"new": b"x"})])
    skopeo_copy(f"oci:{tmp_path}/new:n", f"docker://{name}")
    assert pull(store, name, policy="missing").id == first.id == pull(store, name, policy="never").id
    second = pull(store, name, policy="newer")
    assert second.id != first.id
    assert store.images.get(first.digest).names == ()
    assert pull(store, name).id == second.id


def test_a_second_pull_fetches_nothing(store, registry, layout):
    skopeo_copy(f"oci:{layout}:busybox", f"docker://{registry}/twice:1")
    pull(store, f"{registry}/twice:1")
    seen = []
    pull(store, f"{registry}/twice:1", progress=seen.append)
    assert {event.status for event in seen if event.kind == "blob"} == {"present"}


def test_progress_ends_with_every_blob(store, registry, layout):
    skopeo_copy(f"oci:{layout}:busybox", f"docker://{registry}/progress:1")
    seen = []
    image = pull(store, f"{registry}/progress:1", progress=seen.append)
    applied = {event.id for event in seen if event.status == "applied"}
    assert applied == {layer.digest for layer in store.images.manifest(image).layers}
    assert (seen[-1].kind, seen[-1].id) == ("image", image.id)


def test_pushing_in_pieces(store, registry, layout):
    from wherry.transfer.base import ignore
    from wherry.transfer.storeimage import StoreSource

    image = pull(store, f"oci:{layout}:busybox")
    source = StoreSource(store, image)
    with Client() as client:
        sink = RegistrySink(client, references.parse(f"{registry}/pieces:1"), chunk_bytes=300_000)
        sink.write(source, source.root(), ignore)
    assert digest_of(f"docker://{registry}/pieces:1") == image.digest


def test_layers_are_mounted_from_a_repository_next_door(registry, layout, tmp_path):
    skopeo_copy(f"oci:{layout}:busybox", f"docker://{registry}/door/one:1")
    with Store.open(str(tmp_path)) as store:
        image = pull(store, f"{registry}/door/one:1")
        seen = []
        push(store, image.names[0], f"{registry}/door/two:1", progress=seen.append)
    blobs = [event.status for event in seen if event.kind == "blob" and event.total > 5000]
    assert "uploading" not in blobs
    assert digest_of(f"docker://{registry}/door/two:1") == image.digest


def test_tags(registry, layout):
    for tag in ("b", "a", "c"):
        skopeo_copy(f"oci:{layout}:busybox", f"docker://{registry}/tags:{tag}")
    with Client() as client:
        assert sorted(client.tags(references.parse(f"{registry}/tags"))) == ["a", "b", "c"]
        with pytest.raises(WherryError) as caught:
            client.tags(references.parse(f"{registry}/no/such"))
        assert caught.value.code == errors.NOT_FOUND


def test_a_registry_with_a_password(layout, tmp_path):
    with (
        run_registry(tmp_path / "registry", htpasswd=PASSWORD) as address,
        Store.open(str(tmp_path / "store")) as store,
    ):
        tool(
            "skopeo", "copy", "-q", "--dest-tls-verify=false", "--dest-creds=user:secret",
            f"oci:{layout}:busybox", f"docker://{address}/private/a:1",
        )  # fmt: skip
        (tmp_path / "none.json").write_text("{}")
        with pytest.raises(WherryError) as caught:
            pull(store, f"{address}/private/a:1", auth_file=str(tmp_path / "none.json"))
        assert caught.value.code == errors.UNAUTHENTICATED
        with pytest.raises(WherryError):
            pull(store, f"{address}/private/a:1", credentials=("user", "wrong"))
        auth = base64.b64encode(b"user:secret").decode()
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {f"{address}/private": {"auth": auth}}}))
        image = pull(store, f"{address}/private/a:1", auth_file=str(tmp_path / "auth.json"))
        push(store, image.names[0], f"{address}/private/b:1", credentials=("user", "secret"))
        with Client(credentials=("user", "secret")) as client:
            assert client.resolve(references.parse(f"{address}/private/b:1")).digest == image.digest


@pytest.mark.parametrize("what", ["blob", "config", "manifest"])
def test_damage_in_the_registry_is_noticed_and_leaves_nothing(layout, tmp_path, what):
    with run_registry(tmp_path / "registry") as address, Store.open(str(tmp_path / "store")) as store:
        skopeo_copy(f"oci:{layout}:busybox", f"docker://{address}/damaged:1")
        digest = digest_of(f"docker://{address}/damaged:1")
        manifest = json.loads((layout / "blobs/sha256" / digest.partition(":")[2]).read_bytes())
        victim = {
            "blob": manifest["layers"][0]["digest"],
            "config": manifest["config"]["digest"],
            "manifest": digest,
        }[what]
        name = victim.partition(":")[2]
        path = tmp_path / "registry/data/docker/registry/v2/blobs/sha256" / name[:2] / name / "data"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x55
        path.write_bytes(data)
        with pytest.raises(WherryError), Client(settings=Settings(retries=0)) as client:
            pull(store, f"{address}/damaged@{digest}", client=client)
        assert store.images.list() == []
        assert store.gc() is not None
        assert os.listdir(store.paths.layers) == os.listdir(store.paths.tmp) == os.listdir(store.paths.ingest) == []


def test_layers_side_by_side_with_an_evil_one_leave_nothing(registry, tmp_path):
    layers = [many_files(1, 300, 3000), many_files(2, 300, 3000), tar({"../../evil": b"x"}), many_files(3, 300, 3000)]
    make_layout(tmp_path / "oci", "evil", layers)
    skopeo_copy(f"oci:{tmp_path}/oci:evil", f"docker://{registry}/evil:1")
    with Store.open(str(tmp_path / "store")) as store:
        with pytest.raises(WherryError, match="leads out"):
            pull(store, f"{registry}/evil:1")
        assert store.images.list() == store.layers.list() == []
        assert os.listdir(store.paths.layers) == os.listdir(store.paths.tmp) == []
        assert store.database.query("SELECT * FROM intents") == []
        assert store.check() == []
    assert not list(tmp_path.rglob("evil"))


def test_as_an_ordinary_user_in_a_namespace_of_its_own(registry, layout, tmp_path):
    """One id, no capabilities on the host; overlay with user attributes."""
    skopeo_copy(f"oci:{layout}:busybox", f"docker://{registry}/rootless:1")
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    for parent in [tmp_path, *tmp_path.parents]:
        if parent != Path("/tmp") and parent.stat().st_uid == 0 and str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o711)
    script = (
        "import sys; sys.path[:0] = sys.argv[1].split(':')\n"
        "from wherry.store import Store\n"
        "from wherry.transfer import pull\n"
        "store = Store.open()\n"
        f"image = pull(store, '{registry}/rootless:1')\n"
        "root = store.snapshots.create('c', image.chain_id)\n"
        "print(store.root, store.snapshotter.name, ','.join(root.mounts[0].options), root.mountpoint, sep='\\n')\n"
        "assert store.check(deep=True) == []\n"
    )
    import urllib3

    site = Path(urllib3.__file__).parents[1]
    source = Path(__file__).parents[2] / "src"
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    inside = ["unshare", "-Urm", "--map-root-user"]
    python = ["/usr/bin/python3", "-I", "-c", script, f"{source}:{site}"]
    done = subprocess.run([*command, *inside, *python], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    root, driver, options, mountpoint = done.stdout.split()
    assert (root, driver) == (f"{home}/.local/share/wherry", "overlay")
    assert options.endswith(",userxattr")
    look = f"mount -t overlay -o {options} o {mountpoint} && ls {mountpoint}/tmp && cat {mountpoint}/etc/greeting"
    done = subprocess.run([*command, *inside, "sh", "-c", look], capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == ("hello", "")
