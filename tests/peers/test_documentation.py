"""The configuration that docs/runtime.md shows is what the engines read."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs/runtime.md").read_text()
INSTALLED = "/usr/local/bin/wherry-runtime"


def snippet(kind: str, containing: str) -> str:
    found = re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)
    return next(text for text in found if containing in text)


@pytest.fixture
def with_runtime(runtime_path: str, tmp_path: Path):
    """Writes a snippet with the runtime under test in it."""

    def write(kind: str, containing: str) -> Path:
        path = tmp_path / "file"
        path.write_text(snippet(kind, containing).replace(INSTALLED, runtime_path))
        return path

    return write


def test_podman(with_runtime, runtime_path, place):
    path = with_runtime("toml", "[engine]")
    done = subprocess.run(
        ["podman", f"--root={place}/root", f"--runroot={place}/run", "info", "--format={{.Host.OCIRuntime.Path}}"],
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "CONTAINERS_CONF": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{runtime_path}\n", done.stderr


def test_containerd(with_runtime, runtime_path):
    path = with_runtime("toml", "io.containerd.grpc.v1.cri")
    command = ["containerd", "--config", path, "config", "dump"]
    shown = tomllib.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    runtimes = shown["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]
    assert runtimes["wherry"]["runtime_type"] == "io.containerd.runc.v2"
    assert runtimes["wherry"]["options"]["BinaryName"] == runtime_path


def test_crio():
    table = tomllib.loads(snippet("toml", "[crio."))["crio"]["runtime"]["runtimes"]["wherry"]
    assert table["runtime_path"] == INSTALLED


def test_dockerd():
    """test_docker.py starts dockerd with a file of this shape."""
    document = json.loads(snippet("json", "default-runtime"))
    assert document["runtimes"][document["default-runtime"]] == {"path": INSTALLED}
