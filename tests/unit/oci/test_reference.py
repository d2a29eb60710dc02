import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry import errors
from wherry.errors import WherryError
from wherry.oci.reference import parse

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"

# The distribution project's grammar, as regular expressions.
LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
DOMAIN = rf"(?:{LABEL}(?:\.{LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
NAME = rf"(?:{DOMAIN}/)?{COMPONENT}(?:/{COMPONENT})*"
REFERENCE = re.compile(rf"{NAME}(?::[a-zA-Z0-9_][a-zA-Z0-9_.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?", re.ASCII)


@pytest.mark.parametrize(
    ("text", "canonical", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("user/app:1", "docker.io/user/app:1", "user/app:1"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest"),
        ("host.example/a/b:v1", "host.example/a/b:v1", "host.example/a/b:v1"),
        ("HOST/a", "HOST/a:latest", "HOST/a:latest"),
        ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}", f"busybox@{DIGEST}"),
        (f"busybox:1@{DIGEST}", f"docker.io/library/busybox:1@{DIGEST}", f"busybox:1@{DIGEST}"),
        ("a__b/c--d", "docker.io/a__b/c--d:latest", "a__b/c--d:latest"),
        ("library/x/y", "docker.io/library/x/y:latest", "library/x/y:latest"),
    ],
)
def test_normalises(text, canonical, familiar):
    reference = parse(text)
    assert str(reference) == canonical
    assert reference.familiar() == familiar
    assert parse(reference.familiar()) == reference == parse(canonical)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":tag",
        "Busybox",
        "host.example/Upper",
        "a//b",
        "a/",
        "/a",
        "-a",
        "a-",
        "a___b",
        "a._b",
        "a..b",
        "a:",
        "a:-x",
        "a:" + "t" * 129,
        "a:b:c",
        "a@sha256:00",
        "a@",
        "host:port/a",
        "https://host/a",
        "a b",
        "é",
        HEX,
        "a" * 256,
        "[::1/a",
        "../a",
        "a\n",
    ],
)
def test_refuses(text):
    with pytest.raises(WherryError) as caught:
        parse(text)
    assert caught.value.code == errors.INVALID_ARGUMENT


def test_target_prefers_the_digest():
    assert parse(f"a:1@{DIGEST}").target == DIGEST
    assert parse("a:1").target == "1"
    assert parse(f"a:1@{DIGEST}").with_tag("2").target == "2"


def test_is_immutable():
    with pytest.raises(AttributeError):
        parse("a").tag = "x"


PARTS = {
    "domain": st.sampled_from(["", "a/", "A/", "a-b.c/", "localhost/", "x:1/", "[::1]/", "[1:a]:80/", "docker.io/"]),
    "path": st.lists(st.from_regex(re.compile(COMPONENT, re.ASCII), fullmatch=True), min_size=1, max_size=3),
    "tag": st.just("") | st.from_regex(re.compile(r":[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,5}", re.ASCII), fullmatch=True),
    "digest": st.sampled_from(["", f"@{DIGEST}"]),
}


@settings(deadline=None)
@given(**PARTS)
def test_accepts_the_grammar_and_round_trips(domain, path, tag, digest):
    text = domain + "/".join(path) + tag + digest
    name = text.partition("@")[0]
    try:
        reference = parse(text)
    except WherryError as error:
        # Only what the grammar leaves to other rules: lengths, ids, and a first component taken for a domain.
        first = text.partition("/")[0]
        taken = "/" in text and not re.fullmatch(DOMAIN, first) and "." in first
        assert taken or any(word in error.message for word in ("longer than", "image id")), text
        return
    assert parse(str(reference)) == reference
    assert parse(reference.familiar()) == reference
    assert reference.repository.split("/")[-1] in name


@given(st.text(alphabet="abAB09.-_/:@[]sha256:", max_size=40))
def test_accepts_nothing_outside_the_grammar(text):
    try:
        reference = parse(text)
    except WherryError:
        return
    assert REFERENCE.fullmatch(text), text
    assert str(reference)
