"""Checkpoint and restore, by the installed criu."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ..bundle import Bundle
from ..runtimes import Container


@pytest.fixture
def images(place: Path) -> Path:
    return place / "images"


def criu_works() -> bool:
    return subprocess.run(["criu", "check"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(
    shutil.which("criu") is not None and not criu_works(), reason="criu check: this kernel is too new for it"
)
def test_a_container_comes_back(container: Container, bundle: Bundle, images: Path) -> None:
    come_back(container, bundle, images)


def come_back(container: Container, bundle: Bundle, images: Path) -> None:
    """A counter is checkpointed, goes, and counts on after the restore (also run in the virtual machine)."""
    # criu cannot follow descriptors of files that the container itself could not reach.
    bundle.shell("exec </dev/null >/dev/null 2>&1; i=0; while :; do i=$((i+1)); echo $i >/count; sleep 0.1; done")
    container.run("--detach")
    container.runtime("checkpoint", "--image-path", str(images), container.id)
    container.wait("stopped")
    before = int((bundle.rootfs / "count").read_text())
    container.delete()
    container.runtime("restore", "--detach", "--image-path", str(images), "--bundle", str(bundle.path), container.id)
    assert container.status == "running"
    container.exec("sh", "-c", f"while [ $(cat /count) -le {before} ]; do sleep 0.1; done")


def test_a_checkpoint_that_fails_leaves_the_container_running(
    container: Container, bundle: Bundle, images: Path, only
) -> None:
    only("wherry-runtime")
    bundle.args("sleep", "100")
    container.run("--detach")
    result = container.runtime("--criu", "false", "checkpoint", "--image-path", str(images), container.id, check=False)
    assert result.status == 1
    assert "checkpoint failed: criu: exit status 1" in result.stderr
    assert container.status == "running"


def test_a_restore_that_fails_leaves_nothing(container: Container, bundle: Bundle, images: Path, only) -> None:
    only("wherry-runtime")
    bundle.save()
    words = ("--criu", "false", "restore", "--image-path", str(images), "--bundle", str(bundle.path), container.id)
    result = container.runtime(*words, check=False)
    assert result.status == 1
    assert "restore failed: criu" in result.stderr
    assert not container.exists
    assert container.runtime("list", "-q").stdout == ""


def test_without_criu_the_missing_package_is_named(container: Container, bundle: Bundle, only) -> None:
    only("wherry-runtime")
    bundle.args("sleep", "100")
    container.run("--detach")
    result = container.runtime("--criu", "no-such-criu", "checkpoint", container.id, check=False)
    assert result.status == 1
    assert "install the package criu" in result.stderr
