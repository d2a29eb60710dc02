"""A network is set up on the way of every `run`: what it loads is counted."""

from __future__ import annotations

import subprocess
import sys

import wherry

ALLOWED = {"__future__", "_socket", "_struct", "_signal", "_ctypes", "errno", "wherry", "wherry.errors"}


def test_bridge_loads_next_to_nothing() -> None:
    source = str(next(iter(wherry.__path__))).rpartition("/")[0]
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import os; before = set(sys.modules);"
        "import wherry.network.bridge, wherry.network.resolver_files;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-E", "-c", program, source], capture_output=True, text=True, check=True
    )
    loaded = {name for name in done.stdout.split() if not name.startswith("wherry.network")}
    assert loaded <= ALLOWED, f"new modules: {loaded - ALLOWED}"
