"""The linters are tests: what they say is fixed, not silenced."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

TOOLS = {
    "ruff check": (["ruff", "check"], "ruff check --fix"),
    "ruff format": (["ruff", "format", "--check"], "ruff format"),
    "mypy": (["mypy"], "mypy"),
    "import-linter": (["lint-imports", "--no-cache"], "lint-imports"),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_tool_is_content(tool):
    command, mend = TOOLS[tool]
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\nto mend: .venv/bin/{mend}"
