"""A registry, images and the tools on the other side, for the tests of images."""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import subprocess
import tarfile
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest

from wherry.transfer import bootstrap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CONFIG = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}
http: {{addr: "{address}"}}
{auth}
"""


@contextmanager
def run_registry(directory: Path, *, htpasswd: str = "") -> Iterator[str]:
    """Debian's docker-registry on a free port of the loopback; gives `address:port`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    directory.mkdir(parents=True, exist_ok=True)
    auth = ""
    if htpasswd:
        (directory / "htpasswd").write_text(htpasswd)
        auth = f"auth: {{htpasswd: {{realm: test, path: {directory}/htpasswd}}}}"
    (directory / "config.yml").write_text(CONFIG.format(data=directory / "data", address=address, auth=auth))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", directory / "config.yml"], stdout=log, stderr=log)
    try:
        _wait_for(address)
        yield address
    finally:
        process.terminate()
        process.wait()


def _wait_for(address: str) -> None:
    for _ in range(500):
        try:
            with urllib.request.urlopen(f"http://{address}/v2/"):
                return
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("the registry does not start")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry for the tests of one file."""
    with run_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout with a busybox image of three layers, tagged `busybox`."""
    directory = tmp_path_factory.mktemp("layout")
    bootstrap.busybox_tarball(directory / "rootfs.tar")
    layers = [
        (directory / "rootfs.tar").read_bytes(),
        tar({"etc/greeting": b"hello", "opt/app/run": b"#!/bin/sh\n", "tmp/scratch": b"x"}),
        tar({"opt/app/data": b"y" * 5000, "tmp/.wh.scratch": b""}),
    ]
    make_layout(directory / "oci", "busybox", layers)
    return directory / "oci"


def tar(files: dict[str, bytes]) -> bytes:
    """A layer of regular files."""
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mtime = 1_700_000_000
            archive.addfile(info, BytesIO(data))
    return out.getvalue()


def many_files(seed: int, count: int, average_bytes: int) -> bytes:
    """A layer of half-compressible files in directories of fifty."""
    source = random.Random(seed)
    files = {}
    for number in range(count):
        size = int(source.expovariate(1 / average_bytes)) + 1
        data = source.randbytes(size // 3 + 1) + b"abcdefgh" * (size // 8)
        files[f"layer{seed}/d{number // 50}/f{number}"] = data[:size]
    return tar(files)


def make_layout(directory: Path, tag: str, layers: list[bytes], *, compress: str = "gzip") -> None:
    """Write an OCI layout by hand, with compressed layers as other tools make them."""
    (directory / "blobs/sha256").mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (directory / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    described = []
    for layer in layers:
        packed = subprocess.run([compress, "-c"], input=layer, capture_output=True, check=True).stdout
        described.append(put(packed, f"application/vnd.oci.image.layer.v1.tar+{compress}"))
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/bin:/bin", "GREETING=hello"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
    }
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": put(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": described,
    }
    entry = put(json.dumps(manifest).encode(), kind)
    entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


def tool(*command: object, cwd: Path | None = None) -> str:
    """Run a tool of the other side; what it printed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def skopeo_copy(source: str, target: str, *options: str) -> None:
    """Without certificates on either side, and without changing the image."""
    tool("skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", *options, source, target)


def digest_of(image: str) -> str:
    """What skopeo says is the manifest's digest."""
    return tool("skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", image).strip()


@contextmanager
def podman(directory: Path) -> Iterator[Callable[..., str]]:
    """podman with a store of its own, which goes at the end."""
    # Its run directory must have a short name.
    with tempfile.TemporaryDirectory(prefix="wp") as run:
        command = ["podman", f"--root={directory}/podman", f"--runroot={run}", "--storage-driver=vfs"]
        yield lambda *arguments: tool(*command, "--events-backend=none", *arguments)
        tool(*command, "rmi", "-a", "-f")
