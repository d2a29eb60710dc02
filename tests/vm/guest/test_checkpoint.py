"""Checkpoint and restore with criu, which does not know the newest kernels but knows this one."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.system.runtime.test_checkpoint import come_back

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.bundle import Bundle
    from tests.system.runtimes import Container


def test_a_container_comes_back(container: Container, bundle: Bundle, place: Path) -> None:
    checked = subprocess.run(["criu", "check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    come_back(container, bundle, place / "images")
