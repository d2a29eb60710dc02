"""Build hook: compile native/ and ship the one static executable under both of its names."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAMES = ("wherry", "wherry-runtime")


class NativeHook(BuildHookInterface[Any]):
    """The executable is static and the package pure, so that one wheel fits every Python and every libc."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say what goes into the wheel. Raises CalledProcessError when a compiler is missing."""
        root = Path(self.root)
        executable = root / ".build" / "native" / "wherry"
        subprocess.run(["make", "-s", "-C", root / "native", f"VERSION={self.metadata.version}"], check=True)
        for name in NAMES:
            copy = root / ".build" / "scripts" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(executable, copy)
            build_data["shared_scripts"][str(copy)] = name
        machine = platform.machine()
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-manylinux_2_17_{machine}.manylinux2014_{machine}.musllinux_1_1_{machine}"
