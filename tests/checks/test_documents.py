"""Documents speak of paths that exist, and the tree keeps the project's own rules."""

import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md")])
ROOTS = ("src/", "native/", "tests/", "docs/", "bench/", "demo/", "tools/")
CITED = re.compile(r"`((?:%s)[\w./*{},-]*)`" % "|".join(ROOTS))
LINKED = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_paths_named_exist(document):
    text = document.read_text()
    cited = [place for match in CITED.findall(text) for place in _expand(match)]
    missing = [place for place in cited if not list(PROJECT.glob(place.rstrip("/")))]
    missing += [place for place in LINKED.findall(text) if not (document.parent / place).exists()]
    assert not missing


def _expand(place: str) -> list[str]:
    """`a/{b,c}` means both."""
    match = re.match(r"(.*)\{([^}]*)\}(.*)", place)
    return [match[1] + part + match[3] for part in match[2].split(",")] if match else [place]


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", *patterns], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    return [PROJECT / name for name in listed.stdout.split("\0") if name and (PROJECT / name).exists()]


def test_nothing_forks_in_python():
    banned = re.compile(r"os\.fork\(|pty\.fork\(|preexec_fn|import multiprocessing|from multiprocessing")
    files = [path for path in tracked("src/*.py", "tests/*.py", "bench/*.py") if path != Path(__file__)]
    assert not [str(path) for path in files if banned.search(path.read_text())]


def test_packages_are_empty_or_lazy():
    """A heavy `__init__` makes every command pay."""
    for path in tracked("src/**/__init__.py", "src/wherry/__init__.py"):
        for line in path.read_text().splitlines():
            assert not re.match(r"(import|from) (?!__future__)", line), f"{path}: {line}"


def test_no_binary_file_is_tracked():
    for path in tracked():
        assert b"\0" not in path.read_bytes()[:8192], path
