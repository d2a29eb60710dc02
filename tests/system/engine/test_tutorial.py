"""The programs in docs/python.md run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import environment

if TYPE_CHECKING:
    from ..bundle import Bundle

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[3] / "docs/python.md").read_text(), re.S)


def run(wherry, program: str) -> str:
    enter = ["nsenter", f"--net=/run/netns/{wherry.netns}"]
    env = environment(WHERRY_ROOT=str(wherry.root), WHERRY_RUN_ROOT=str(wherry.run_root))
    done = subprocess.run([*enter, sys.executable, "-c", program], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_programs():
    assert len(BLOCKS) == 4


def test_containers(wherry):
    wherry("tag", "busybox:test", "busybox:1")
    lines = run(wherry, BLOCKS[0]).splitlines()
    assert lines[:2] == ["0", "stdout b'ready\\n'"]
    assert lines[2].startswith("0 b'") and lines[3] == "137"
    assert lines[4].startswith("127 ") and "no-such-command" in lines[4]
    assert wherry.out("ps", "-aq") == ""


@pytest.mark.parametrize("block", [2, 3])
def test_the_runtime_alone(wherry, bundle: Bundle, block):
    bundle.args("sleep", "60")
    bundle.save()
    program = (
        BLOCKS[block].replace("/path/to/bundle", str(bundle.path)).replace("/run/my-runtime", str(wherry.place / "r"))
    )
    out = run(wherry, program)
    assert out == "running\n" if block == 2 else "HOST" in out
