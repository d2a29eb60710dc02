"""The light parser and argparse agree on every line that the light one takes."""

from __future__ import annotations

from importlib import import_module

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wherry.cli.parser import NotPlain, Parsed

VERBS = ("run", "create", "exec", "ps", "rm", "stop", "kill", "start")


def parser(verb):
    return import_module(f"wherry.cli.commands.{verb}").parser()


LINES = [
    ("run", "--rm -it --name box -e A=1 -e B=2 --env=C=3 -p 80:80 -v/a:/b -m512m --cpus 1.5 image sh -c x"),
    ("run", "-d --network=none --init image"),
    ("run", "- -x"),
    ("create", "--read-only --restart on-failure:3 --health-on-failure kill image"),
    ("exec", "-itu root box sh -l"),
    ("ps", "-aq --no-trunc"),
    ("rm", "-f one two"),
    ("stop", "-t 2.5 one"),
    ("stop", "--timeout 2 one"),
]


@pytest.mark.parametrize(("verb", "line"), LINES)
def test_plain_lines_need_no_argparse(verb, line):
    words = line.split()
    light = parser(verb)._parse(words)
    assert vars(light) == vars(parser(verb).full().parse_args(words, Parsed()))


WRONG = [
    ("run", ""),
    ("run", "--bogus image"),
    ("run", "--name"),
    ("run", "--rm=yes image"),
    ("run", "--cpus many image"),
    ("run", "--pull sometimes image"),
    ("start", ""),
    ("ps", "surplus"),
]


@pytest.mark.parametrize(("verb", "line"), WRONG)
def test_wrong_lines_are_explained_by_argparse(verb, line, capsys):
    with pytest.raises(SystemExit) as ended:
        parser(verb).parse_args(line.split())
    assert ended.value.code == 125
    assert capsys.readouterr().err.startswith("Error: ")


def test_help(capsys):
    with pytest.raises(SystemExit) as ended:
        parser("run").parse_args(["--rm", "--help"])
    assert ended.value.code == 0
    assert "--network" in capsys.readouterr().out


def words_of(verb):
    names = [name for flags, _ in parser(verb).record for name in flags if name.startswith("-")]
    values = ["1", "x", "A=1", "-", "-1", "two words", "=", "", "--", "none"]
    glued = st.builds(lambda name, value: name + value, st.sampled_from(names), st.sampled_from(values))
    equal = st.builds(lambda name, value: f"{name}={value}", st.sampled_from(names), st.sampled_from(values))
    return st.lists(st.one_of(st.sampled_from(names), st.sampled_from(values), glued, equal), max_size=6)


@pytest.mark.parametrize("verb", ["run", "exec", "ps"])
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_light_parser_never_disagrees(verb, data):
    from wherry.errors import WherryError

    words = data.draw(words_of(verb))
    try:
        light = parser(verb)._parse(words)
    except (NotPlain, WherryError):
        return
    assert vars(light) == vars(parser(verb).full().parse_args(words, Parsed()))
