import pytest

from wherry.errors import WherryError
from wherry.oci import platform as platforms
from wherry.oci.platform import Platform, parse, rank, select


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("linux/armhf", "linux/arm/v7"),
        ("arm64", "linux/arm64"),
        ("LINUX/AMD64", "linux/amd64"),
    ],
)
def test_parses(text, parsed):
    assert str(parse(text)) == parsed


@pytest.mark.parametrize("text", ["", "a/b/c/d", "linux/", "linux/a b"])
def test_refuses(text):
    with pytest.raises(WherryError):
        parse(text)


def test_one_word_may_be_a_system():
    assert parse("linux") == Platform("linux", platforms.host().architecture)


@pytest.mark.parametrize(
    ("wanted", "offered", "suits"),
    [
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm/v7", "linux/arm/v6", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/arm64", "linux/arm64/v9", False),
        ("linux/amd64", "linux/amd64/v3", False),
        ("linux/amd64/v3", "linux/amd64", True),
        ("linux/amd64", "windows/amd64", False),
        ("linux/amd64", "linux/386", False),
    ],
)
def test_an_older_variant_runs_on_a_newer_machine(wanted, offered, suits):
    assert (rank(parse(wanted), parse(offered)) is not None) is suits


def test_selects_the_closest_and_the_first_of_equals():
    offers = [parse(text) for text in ("linux/arm/v5", "linux/arm/v7", "linux/arm/v6", "linux/arm/v7")]
    assert select(parse("linux/arm/v7"), [None, *offers]) == 2
    assert select(parse("linux/arm/v6"), offers) == 2
    assert select(parse("linux/s390x"), offers) is None


def test_host_is_a_linux():
    assert platforms.host().os == "linux"
    assert platforms.host().architecture
