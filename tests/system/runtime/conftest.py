"""Containers in the states that the verbs are tried on, and what looks at them from inside."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..bundle import Bundle
from ..runtimes import Container, process_state, wait_until
from .console import ConsoleSocket

if TYPE_CHECKING:
    from collections.abc import Iterator


PROJECT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def probe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """probe.c, compiled statically."""
    path = tmp_path_factory.mktemp("probe") / "probe"
    source = Path(__file__).with_name("probe.c")
    subprocess.run(["musl-gcc", "-static", "-O1", "-Wall", "-Werror", "-o", path, source], check=True)
    return path


@pytest.fixture(scope="session")
def installed() -> Iterator[Path]:
    """A copy of the package outside the clone: for users who may not enter that, and for tests that may harm it."""
    folder = Path(tempfile.mkdtemp(prefix="wherry-installed-"))
    folder.chmod(0o755)
    subprocess.run([sys.executable, PROJECT / "tools/relocate.py", folder / "wherry"], check=True)
    yield folder / "wherry"
    shutil.rmtree(folder)


@pytest.fixture
def probe(probe_path: Path, bundle: Bundle) -> Bundle:
    """The test's bundle with /bin/probe."""
    shutil.copy(probe_path, bundle.rootfs / "bin/probe")
    return bundle


@pytest.fixture
def console(place: Path) -> Iterator[ConsoleSocket]:
    """A socket for `--console-socket`."""
    made = ConsoleSocket(place / "console.sock")
    yield made
    made.close()


@pytest.fixture
def created(container: Container) -> Container:
    """A created container whose command sleeps."""
    container.bundle.args("sleep", "1000")
    container.create()
    return container


@pytest.fixture
def running(created: Container) -> Container:
    """A running container."""
    created.start()
    return created


@pytest.fixture
def stopped(running: Container) -> Container:
    """A container whose process was killed and reaped."""
    pid = running.pid
    running.kill("KILL")
    running.wait("stopped")
    wait_until(lambda: process_state(pid) == "")
    return running
