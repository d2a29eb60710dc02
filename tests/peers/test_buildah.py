"""buildah, with the runtime under test given to `buildah run`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import LIMITS
from .engines import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCKERFILE = """\
FROM {image}
RUN echo built > /var/file && id -u > /var/user
USER worker
RUN id -u > /tmp/user
"""
IMAGE = "localhost/busybox:latest"


@pytest.fixture(scope="module")
def buildah(place: Path, scratch: Path, podman_conf: Path, rootfs: Path) -> Iterator[Engine]:
    """buildah with a store of its own, and the image in it."""
    folders = [f"--{option}={place / option}" for option in ("root", "runroot")]
    env = {"CONTAINERS_CONF": str(podman_conf)}
    engine = Engine("buildah", "--storage-driver=overlay", *folders, scratch=scratch, env=env)
    container = engine.output("from", *(f"--ulimit={limit}" for limit in LIMITS), "scratch")
    engine("copy", container, rootfs, "/")
    engine("commit", container, IMAGE)
    yield engine
    engine("rm", "--all")


@pytest.fixture
def container(buildah: Engine) -> str:
    return buildah.output("from", *(f"--ulimit={limit}" for limit in LIMITS), IMAGE)


@pytest.fixture
def isolation(runtime_path: str) -> list[str]:
    return ["--isolation=oci", f"--runtime={runtime_path}"]


def test_run(buildah: Engine, container: str, isolation: list[str]) -> None:
    result = buildah("run", *isolation, container, "--", "sh", "-c", "echo out; echo err >&2; exit 5", check=False)
    assert result.stdout == "out\n"
    assert result.stderr.startswith("err\n")
    assert result.status == 5


def test_changes_stay(buildah: Engine, container: str, isolation: list[str]) -> None:
    buildah("run", *isolation, "--user=worker", "--workingdir=/tmp", container, "--", "sh", "-c", "id -u > mine")
    assert buildah.output("run", *isolation, container, "--", "cat", "/tmp/mine") == "1000"


def test_terminal(buildah: Engine, container: str, isolation: list[str]) -> None:
    shown = buildah.terminal("run", *isolation, "--terminal", container, "--", "sh", "-c", "tty; exit 3")
    assert "/dev/pts/0" in shown.stdout
    assert shown.status == 3


def test_volume(buildah: Engine, container: str, isolation: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    flags = [f"--volume={tmp_path}:/data:ro"]
    assert buildah.output("run", *isolation, *flags, container, "--", "cat", "/data/file") == "text"


def test_build(buildah: Engine, isolation: list[str], tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(DOCKERFILE.format(image=IMAGE))
    limits = [f"--ulimit={limit}" for limit in LIMITS]
    identity = buildah.output("build", "--quiet", *isolation, *limits, "--pull=never", f"--file={file}", tmp_path)
    built = buildah.output("from", *limits, identity)
    script = "cat /var/file /var/user /tmp/user"
    assert buildah.output("run", *isolation, "--user=0", built, "--", "sh", "-c", script).split() == [
        "built",
        "0",
        "1000",
    ]
    assert json.loads(buildah.output("inspect", built))["OCIv1"]["config"]["User"] == "worker"
