from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from wherry.runtime.command_line import GLOBAL, NATIVE_VERBS, VERBS
from wherry.runtime.commands.help import SUMMARIES
from wherry.runtime.manual import TEXTS, options, page, text

PAGE = Path(__file__).parents[3] / "docs/man/wherry-runtime.1"


def test_the_page_is_current():
    assert PAGE.read_text() == page(), "run: .venv/bin/python -m wherry.runtime.manual"


def test_every_verb_is_in_it():
    assert sorted(SUMMARIES) == sorted((*VERBS, *NATIVE_VERBS))


def test_no_text_is_left_over():
    known = {(verb, row[0]) for verb in SUMMARIES for row in options(verb)} | {("", row[0]) for row in GLOBAL}
    used = {text(verb, name) for verb, name in known}
    assert [name for name, value in TEXTS.items() if value not in used] == []


def test_it_has_no_mistakes():
    if not shutil.which("man"):
        pytest.fail("man is missing: run `make setup`")
    done = subprocess.run(
        ["man", "--warnings", "-l", PAGE],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--console-socket PATH" in done.stdout
