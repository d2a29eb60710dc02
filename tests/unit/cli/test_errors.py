"""The command line's edge."""

from __future__ import annotations

import pytest

from wherry.cli import errors
from wherry.cli.commands.ps import seconds_of
from wherry.errors import INVALID_ARGUMENT, WherryError


def test_nothing_foreign_controls_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    errors.show(WherryError(INVALID_ARGUMENT, "name \x1b[2J\n\udc80é", path="a\rb", hint="no\x9b"))
    assert capsys.readouterr().err == "Error: a\\rb: name \\x1b[2J\\n\\udc80é\n  → no\\x9b\n"
    errors.show(FileNotFoundError(2, "No such file or directory", "x\ny"))
    assert capsys.readouterr().err == "Error: x\\ny: No such file or directory\n"


@pytest.mark.parametrize("text", ["", "\x1b[31m", "yesterday", "0000-00-00T00:00:00Z", "9999-99-99T99:99:99"])
def test_what_an_image_calls_its_time_may_be_none(text: str) -> None:
    assert seconds_of(text) == 0
