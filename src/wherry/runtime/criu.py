"""Checkpoint and restore by the program `criu`: its command line, and what of a container is outside of its images."""

from __future__ import annotations

import json
import os
import subprocess

from wherry.errors import FAILED_PRECONDITION, NOT_FOUND, WherryError
from wherry.oci.check import Document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

DESCRIPTORS = "descriptors.json"


def find_criu(given: str = "") -> str:
    """The program. Raises WherryError(NOT_FOUND)."""
    import shutil

    found = shutil.which(given or "criu", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise WherryError(NOT_FOUND, "the program criu is not installed", hint="install the package criu")
    return found


def run_criu(command: Sequence[str], work_dir: str, log: str, *, pass_fds: Sequence[int] = (), verb: str) -> None:
    """Run it to the end. Raises WherryError with the last error of its log."""
    done = subprocess.run(command, pass_fds=tuple(pass_fds), check=False)
    if done.returncode == 0:
        return
    path = os.path.join(work_dir, log)
    line = _last_error(path)
    message = f"{verb} failed: criu: {line or f'exit status {done.returncode}'}"
    raise WherryError(FAILED_PRECONDITION, message, hint=f"its log is {path}")


def _last_error(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            errors = [line for line in file if "Error" in line]
    except OSError:
        return ""
    return errors[0].partition("Error")[2].strip() if errors else ""


def external_mounts(document: dict[str, Any], bundle: str) -> list[tuple[str, str]]:
    """(target in the container, host path) of the mounts that are not the container's own."""
    root = Document(document)
    found = []
    for mount in root.documents("mounts"):
        options = mount.texts("options")
        if mount.text("type") == "bind" or "bind" in options or "rbind" in options:
            found.append((mount.text("destination"), os.path.join(bundle, mount.text("source"))))
    linux = root.document("linux")
    for path in linux.texts("maskedPaths") if linux is not None else ():
        if os.path.isfile(path):
            found.append((path, "/dev/null"))
    return found


def external_namespaces(document: dict[str, Any]) -> list[str]:
    """criu's words for the network namespace that the container joined by path."""
    linux = Document(document).document("linux")
    for entry in linux.documents("namespaces") if linux is not None else ():
        if entry.text("type") == "network" and entry.text("path"):
            try:
                inode = os.stat(entry.text("path")).st_ino
            except OSError:
                continue
            return ["--external", f"net[{inode}]:extRootNetNS"]
    return []


def save_descriptors(pid: int, directory: str) -> None:
    """What standard input, output and error are, for `restore` to put others in their place."""
    names = []
    for number in range(3):
        try:
            names.append(os.readlink(f"/proc/{pid}/fd/{number}"))
        except OSError:
            names.append("/dev/null")
    with open(os.path.join(directory, DESCRIPTORS), "w", encoding="utf-8") as file:
        json.dump(names, file)


def inherited_descriptors(directory: str) -> tuple[list[str], list[int]]:
    """criu's words that give the restored process this command's standard streams, and their descriptors."""
    try:
        with open(os.path.join(directory, DESCRIPTORS), encoding="utf-8") as file:
            names = json.load(file)
    except (OSError, ValueError):
        return [], []
    words, numbers = [], []
    for number, name in enumerate(names[:3]):
        if isinstance(name, str) and name.startswith(("pipe:", "socket:")):
            words += ["--inherit-fd", f"fd[{number}]:{name}"]
            numbers.append(number)
    return words, numbers
