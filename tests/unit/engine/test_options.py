import pytest

from wherry.cli.arguments import seconds, size
from wherry.cli.create_flags import add_create_flags, create_options
from wherry.cli.parser import Parser
from wherry.engine.options import BindMount, CreateOptions, valid_name
from wherry.errors import INVALID_ARGUMENT, WherryError


def parse(*words):
    parser = Parser("run", "")
    add_create_flags(parser)
    return create_options(parser.parse_args(words))


def test_flags_before_the_image_are_ours_and_after_it_the_commands():
    options = parse("-it", "--rm", "-e", "A=1", "image", "sh", "-c", "-e B=2", "--rm")
    assert (options.tty, options.stdin, options.remove, options.env) == (True, True, True, {"A": "1"})
    assert options.command == ("sh", "-c", "-e B=2", "--rm")


def test_a_variable_without_a_value_is_passed_on(monkeypatch, tmp_path):
    monkeypatch.setenv("GIVEN", "here")
    monkeypatch.delenv("MISSING", raising=False)
    file = tmp_path / "env"
    file.write_text("# note\n\nX=1\nGIVEN\n")
    assert parse("-e", "MISSING", "--env-file", str(file), "i").env == {"X": "1", "GIVEN": "here"}


@pytest.mark.parametrize(
    ("text", "value"), [("512m", 512 << 20), ("1g", 1 << 30), ("64kb", 65536), ("2GiB", 2 << 30), ("10", 10)]
)
def test_sizes(text, value):
    assert size(text) == value


@pytest.mark.parametrize("text", ["", "b", "m", "12x", "1.2.3m", "nan"])
def test_sizes_that_are_none(text):
    with pytest.raises(WherryError, match="size"):
        size(text)


@pytest.mark.parametrize(
    ("text", "value"), [("30s", 30), ("1m30s", 90), ("500ms", 0.5), ("2", 2), ("1h", 3600), ("0s", 0)]
)
def test_times(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["s", "1x", "1..2s", ".", "m30"])
def test_times_that_are_none(text):
    with pytest.raises(WherryError, match="time"):
        seconds(text)


def test_volumes():
    mount = BindMount.parse("/src:/dst:ro,z")
    assert (mount.source, mount.target, mount.options) == ("/src", "/dst", ("ro", "z"))
    assert BindMount.parse("/only").source == ""


@pytest.mark.parametrize("text", ["a:b", "/a:b", "/a:/b:ro:x", "/a:/", ""])
def test_volumes_that_are_none(text):
    with pytest.raises(WherryError, match="volume"):
        BindMount.parse(text)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"network": "wat"}, "network 'wat' is unknown"),
        ({"network": "none", "ports": ["80:80"]}, "cannot be published"),
        ({"restart": "sometimes"}, "restart policy"),
        ({"restart": "always", "remove": True}, "cannot both restart and be removed"),
        ({"log_driver": "syslog"}, "log driver"),
        ({"name": "-x"}, "container name"),
        ({"name": "a b"}, "container name"),
        ({"memory_bytes": -1}, "negative"),
    ],
)
def test_what_cannot_be_is_named(given, says):
    with pytest.raises(WherryError, match=says) as caught:
        CreateOptions("image", **given).check()
    assert caught.value.code == INVALID_ARGUMENT
    assert caught.value.hint


@pytest.mark.parametrize("name", ["a", "web-1", "A.b_c"])
def test_names(name):
    assert valid_name(name)


@pytest.mark.parametrize("name", ["", ".a", "a/b", "ä", "a\n"])
def test_names_that_are_none(name):
    assert not valid_name(name)
