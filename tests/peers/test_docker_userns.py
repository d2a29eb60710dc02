"""dockerd with every container in a user namespace (`userns-remap`)."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from .conftest import IMAGE, dockerd
from .engines import Engine, with_etc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def docker(place: Path, scratch: Path, layer: Path, runtime_path: str) -> Iterator[Engine]:
    """The ids are there for this daemon only."""
    ids = "nobody:700000:65536\n"
    before = with_etc(place / "etc", subuid=ids, subgid=ids)
    yield from dockerd(place, scratch, layer, runtime_path, *before, **{"userns-remap": "nobody:nogroup"})


def test_run(docker: Engine) -> None:
    script = "cat /proc/self/uid_map; touch /file; stat -c %u /file; exit 3"
    result = docker("run", "--rm", "--network=none", IMAGE, "sh", "-c", script, check=False)
    assert result.stdout.split() == ["0", "700000", "65536", "0"]
    assert result.status == 3


def test_exec_and_removal(docker: Engine, name: str) -> None:
    docker("run", "--detach", "--network=none", "--name", name, IMAGE, "sleep", "1000")
    pid = json.loads(docker("inspect", name).stdout)[0]["State"]["Pid"]
    assert os.stat(f"/proc/{pid}").st_uid == 700000
    assert docker.output("exec", "--user=worker", name, "id", "-u") == "1000"
    assert "/dev/pts/0" in docker.terminal("exec", "-it", name, "tty").stdout
    docker("pause", name)
    docker("unpause", name)
    docker("rm", "--force", name)
    assert not os.path.exists(f"/proc/{pid}")


def test_outside_of_it(docker: Engine) -> None:
    result = docker("run", "--rm", "--userns=host", "--network=none", IMAGE, "cat", "/proc/self/uid_map")
    assert result.stdout.split() == ["0", "0", "4294967295"]
