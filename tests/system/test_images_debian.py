"""A real Debian, and a large image: bootstrapped, imported, pushed, pulled by others and by us."""

from __future__ import annotations

import tarfile

import pytest

from wherry.store import Store
from wherry.transfer import bootstrap, import_tarball, pull, push

from .image_lab import digest_of, make_layout, many_files, registry, tar, tool

__all__ = ["registry"]


def test_busybox_is_the_same_every_time(tmp_path):
    for name in ("a", "b"):
        bootstrap.busybox_tarball(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with tarfile.open(tmp_path / "a") as archive:
        assert archive.getmember("bin/sh").linkname == "/bin/busybox"
        assert archive.getmember("tmp").mode == 0o1777


@pytest.mark.long
def test_debian(registry, tmp_path):
    bootstrap.debian_tarball("bookworm", ["base-files", "busybox-static"], "extract", tmp_path / "debian.tar")
    with Store.open(str(tmp_path / "one")) as store:
        with (tmp_path / "debian.tar").open("rb") as file:
            image = import_tarball(store, file, f"{registry}/debian:1", changes=['CMD ["busybox", "sh"]'])
        push(store, f"{registry}/debian:1")
    tool("skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{registry}/debian:1", f"oci:{tmp_path}/oci:1")
    tool("umoci", "unpack", "--image", f"{tmp_path}/oci:1", tmp_path / "bundle")
    assert (tmp_path / "bundle/rootfs/etc/debian_version").read_text().startswith("12")
    with Store.open(str(tmp_path / "two")) as store:
        assert pull(store, f"{registry}/debian:1").id == image.id
        assert store.check(deep=True) == []


@pytest.mark.long
def test_a_large_image(registry, tmp_path):
    """Ten thousand files in four layers, one of which has a file of 200 MB."""
    layers = [many_files(number, 3_300, 4_000) for number in range(3)] + [tar({"big": bytes(200 << 20)})]
    with Store.open(str(tmp_path / "store")) as store:
        make_layout(tmp_path / "oci", "x", layers)
        image = pull(store, f"oci:{tmp_path}/oci:x")
        store.images.tag(image, f"{registry}/large:1")
        push(store, f"{registry}/large:1")
        assert digest_of(f"docker://{registry}/large:1") == image.digest
        assert image.size_bytes > 200 << 20
    with Store.open(str(tmp_path / "again"), driver="copy") as store:
        assert pull(store, f"{registry}/large:1").digest == image.digest
        assert store.check(deep=True) == []
