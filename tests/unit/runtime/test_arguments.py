from __future__ import annotations

import pytest

from wherry.errors import WherryError
from wherry.runtime.arguments import FLAG, MANY, TEXT, parse

TABLE = (("bundle", "b", TEXT), ("detach", "d", FLAG), ("env", "e", MANY))


@pytest.mark.parametrize(
    "words",
    [
        ["--bundle", "/b", "box"],
        ["--bundle=/b", "box"],
        ["-b", "/b", "box"],
        ["-bundle=/b", "box"],
        ["box", "--bundle", "/b"],
        ["--bundle", "/b", "--", "box"],
    ],
)
def test_all_forms_of_a_value(words):
    arguments = parse(TABLE, words, intermixed=True)
    assert (arguments.text("bundle"), arguments.operands) == ("/b", ["box"])


def test_options_of_the_command_to_execute_are_left_alone():
    arguments = parse(TABLE, ["-d", "box", "ls", "-b", "--detach"], intermixed=False)
    assert arguments.operands == ["box", "ls", "-b", "--detach"]
    assert arguments.flag("detach")


def test_repeated_values_and_switches():
    arguments = parse(TABLE, ["-e", "A=1", "--env=B=2", "--detach=false"], intermixed=True)
    assert arguments.many("env") == ["A=1", "B=2"]
    assert not arguments.flag("detach")
    assert arguments.text("bundle") == ""


def test_an_id_named_help_is_an_id():
    assert parse(TABLE, ["h"], intermixed=True).operands == ["h"]


@pytest.mark.parametrize("words", [["--nope"], ["--bundle"], ["--detach=maybe"], ["-x=1"]])
def test_mistakes(words):
    with pytest.raises(WherryError):
        parse(TABLE, words, intermixed=True)


def test_numbers():
    table = (("preserve-fds", "", TEXT),)
    assert parse(table, [], intermixed=True).number("preserve-fds") == 0
    with pytest.raises(WherryError):
        parse(table, ["--preserve-fds=x"], intermixed=True).number("preserve-fds")
