"""The native front: which Python and which package it becomes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .runtimes import default_runtime

VERSION = f"python3.{sys.version_info.minor}"
MAIN = """
import json, os, sys
def main(name, argv):
    flags = {name: getattr(sys.flags, name) for name in ("isolated", "no_site", "ignore_environment", "utf8_mode")}
    words = [os.fsencode(word).hex() for word in argv]
    print(json.dumps({"argv0": sys.argv[0], "words": words, "path": sys.path, "flags": flags, "name": name}))
    return 7
def command(argv):
    return main("command", argv)
def runtime(argv):
    return main("runtime", argv)
"""


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A folder with our executable in bin, under both names, and nothing else."""
    if Path(default_runtime()).name != "wherry-runtime":
        pytest.skip("a peer has no front")
    (tmp_path / "bin").mkdir()
    for name in ("wherry", "wherry-runtime"):
        shutil.copy(default_runtime(), tmp_path / "bin" / name)
    return tmp_path


def install(folder: Path) -> Path:
    """A package that tells how it was called."""
    (folder / "wherry").mkdir(parents=True, exist_ok=True)
    (folder / "wherry/__init__.py").touch()
    (folder / "wherry/start.py").write_text(MAIN)
    return folder


def ask(prefix: Path, name: str, *words: str | bytes, status: int = 7, **env: str) -> dict:
    command = [prefix / "bin" / name, *words]
    given = {"PATH": os.environ["PATH"]} | env
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=given)
    assert result.returncode == status, result.stderr
    return json.loads(result.stdout) if result.stdout else {"error": result.stderr}


@pytest.mark.parametrize("packages", ["site-packages", "dist-packages"])
@pytest.mark.parametrize("version", [VERSION, "python3"])
def test_the_package_beside_the_executable(prefix: Path, packages: str, version: str) -> None:
    site = install(prefix / "lib" / version / packages)
    said = ask(prefix, "wherry", "ps")
    assert said["argv0"] == str(prefix / "bin/wherry")
    assert said["path"][-1] == str(site)
    assert said["name"] == "command"
    assert said["flags"] == {"isolated": 1, "no_site": 1, "ignore_environment": 1, "utf8_mode": 1}


def test_the_standard_library_comes_first(prefix: Path) -> None:
    site = install(prefix / "lib" / VERSION / "site-packages")
    (site / "json.py").write_text("raise SystemExit('shadowed')")
    ask(prefix, "wherry", "ps")


@pytest.mark.parametrize("name", ["_editable_impl_wherry.pth", "_wherry.pth"])
def test_an_editable_install(prefix: Path, name: str) -> None:
    source = install(prefix / "source")
    site = prefix / "lib" / VERSION / "site-packages"
    site.mkdir(parents=True)
    (site / name).write_text(str(source))
    assert ask(prefix, "wherry", "ps")["path"][-2:] == [str(source), str(site)]


def test_verbs_that_native_code_does_not_know_go_to_python(prefix: Path) -> None:
    install(prefix / "lib" / VERSION / "site-packages")
    for words in (
        ("create", "x"),
        ("--root", "/x", "spec"),
        ("nonsense",),
        (),
        ("--help",),
        ("start", "-h"),
        ("--odd",),
    ):
        said = ask(prefix, "wherry-runtime", *words)
        assert said["name"] == "runtime"
        assert [bytes.fromhex(word).decode() for word in said["words"]] == list(words)


def test_words_arrive_as_they_are(prefix: Path) -> None:
    install(prefix / "lib" / VERSION / "site-packages")
    words = [b"", b"two\nlines", b"-c", b"\xff\xfe", "é".encode()]
    assert ask(prefix, "wherry", *words)["words"] == [word.hex() for word in words]


def test_the_interpreter_can_be_named(prefix: Path) -> None:
    install(prefix / "lib" / VERSION / "site-packages")
    python = prefix / "named"
    python.symlink_to(sys.executable)
    ask(prefix, "wherry", "ps", WHERRY_PYTHON=str(python))
    error = ask(prefix, "wherry", "ps", WHERRY_PYTHON="/no/such/python", status=1)["error"]
    assert error == "cannot execute /no/such/python: No such file or directory\n"


def test_the_interpreter_of_the_environment_is_preferred(prefix: Path) -> None:
    install(prefix / "lib" / VERSION / "site-packages")
    (prefix / "bin" / VERSION).write_text("#!/bin/sh\nexit 42\n")
    (prefix / "bin" / VERSION).chmod(0o755)
    ask(prefix, "wherry", "ps", status=42)


def test_the_environment_does_not_change_the_package(prefix: Path) -> None:
    site = install(prefix / "lib" / VERSION / "site-packages")
    other = install(prefix / "other")
    assert str(other) not in ask(prefix, "wherry", "ps", PYTHONPATH=str(other))["path"]
    assert site.is_dir()


def test_no_package_is_a_plain_error(prefix: Path) -> None:
    error = ask(prefix, "wherry", "ps", WHERRY_PYTHON="/usr/bin/python3", status=1)["error"]
    assert error == f"cannot find the package of {prefix}/bin/wherry: name its Python in WHERRY_PYTHON\n"
