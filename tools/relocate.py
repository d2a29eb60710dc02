"""Copy the installed package with what it needs at run time: `python tools/relocate.py FOLDER`.

For users who may not enter the clone (one in /root is closed to others): FOLDER/bin/wherry then works for anyone.
"""

from __future__ import annotations

import re
import shutil
import sys
from importlib.metadata import distribution
from pathlib import Path


def needed(name: str) -> set[str]:
    """A distribution and, without extras, all that it requires."""
    found = {name}
    for requirement in distribution(name).requires or ():
        wanted, _, marker = requirement.partition(";")
        if "extra" not in marker:
            found |= needed(re.split(r"[^\w.-]", wanted.strip())[0])
    return found


def relocate(target: Path) -> None:
    """Copy executables, the package as it is in the working tree, and its dependencies."""
    venv = Path(sys.prefix)
    site = target / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    site.mkdir(parents=True)
    (target / "bin").mkdir()
    for name in ("wherry", "wherry-runtime"):
        shutil.copy(venv / "bin" / name, target / "bin" / name)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(__file__).parents[1] / "src/wherry", site / "wherry", ignore=ignore)
    for name in needed("wherry") - {"wherry"}:
        for file in distribution(name).files or ():
            source = Path(str(file.locate()))
            if ".." not in file.parts and "__pycache__" not in file.parts and source.exists():
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, site / file)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)


if __name__ == "__main__":
    relocate(Path(sys.argv[1]))
