"""The native program, built, and boxes to run it on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .harness import Box

if TYPE_CHECKING:
    from collections.abc import Iterator

NATIVE = Path(__file__).parents[3] / "native"


@pytest.fixture(scope="session")
def executable(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program with fault injection; `WHERRY_NATIVE` names another build (AddressSanitizer)."""
    given = os.environ.get("WHERRY_NATIVE")
    if given:
        return given
    out = tmp_path_factory.mktemp("native") / "wherry"
    subprocess.run(["make", "-s", "-j2", "-C", NATIVE, f"OUT={out}", "faults"], check=True)
    return f"{out}-faults"


@pytest.fixture
def box(executable: str, tmp_path: Path) -> Iterator[Box]:
    """One container; afterwards nothing of it may be left."""
    made = Box(executable, tmp_path)
    yield made
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    assert str(tmp_path) not in mounts
