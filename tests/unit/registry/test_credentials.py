import base64
import json

import pytest

from wherry import errors
from wherry.errors import WherryError
from wherry.registry import credentials


def auth(username, password="p"):
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


@pytest.fixture
def home(tmp_path):
    return {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def who(domain, repository, **options):
    found = credentials.find(domain, repository, **options)
    return found.username if found else None


def test_the_most_specific_entry_counts(tmp_path):
    write(tmp_path / "f", {"auths": {"h": auth("host"), "h/a": auth("space"), "h/a/b": auth("repository")}})
    for repository, expected in {"a/b": "repository", "a/c": "space", "x/y": "host", "ab": "host"}.items():
        assert who("h", repository, auth_file=str(tmp_path / "f")) == expected
    assert who("other", "a", auth_file=str(tmp_path / "f")) is None


def test_the_order_of_files(tmp_path, home):
    places = {
        ".dockercfg": "oldest",
        ".docker/config.json": "docker",
        ".config/containers/auth.json": "user",
        "run/containers/auth.json": "runtime",
    }
    for place, name in places.items():
        write(tmp_path / place, {"h": auth(name)} if name == "oldest" else {"auths": {"h": auth(name)}})
        assert who("h", "a", environment=home) == name
    write(tmp_path / "explicit", {"auths": {"h": auth("explicit")}})
    assert who("h", "a", environment={**home, "REGISTRY_AUTH_FILE": str(tmp_path / "explicit")}) == "explicit"


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "https://docker.io"])
def test_the_many_names_of_docker_hub(tmp_path, key):
    write(tmp_path / "f", {"auths": {key: auth("hub")}})
    assert who("docker.io", "library/a", auth_file=str(tmp_path / "f")) == "hub"


def test_other_forms_of_entries(tmp_path):
    write(
        tmp_path / "f",
        {
            "auths": {
                "a": {"username": "u", "password": "p"},
                "b": {"identitytoken": "t"},
                "c": {},
                "d": {"auth": "!!!"},
                "https://e/v2/": auth("e", "with:colon"),
            }
        },
    )
    find = lambda domain: credentials.find(domain, "x", auth_file=str(tmp_path / "f"))  # noqa: E731
    assert find("a").password == "p"
    assert find("b").identity_token == "t"
    assert find("c") is find("d") is None
    assert find("e").password == "with:colon"
    assert "with" not in repr(find("e"))


@pytest.mark.parametrize("content", ["", "[]", "{", "x" * 2_000_000])
def test_a_file_asked_for_must_be_good(tmp_path, content):
    (tmp_path / "f").write_text(content)
    with pytest.raises(WherryError) as caught:
        credentials.find("h", "a", auth_file=str(tmp_path / "f"))
    assert caught.value.code == errors.INVALID_ARGUMENT


def test_helpers(tmp_path, monkeypatch):
    helper = tmp_path / "docker-credential-test"
    helper.write_text('#!/bin/sh\nread host\necho "{\\"Username\\":\\"$host\\",\\"Secret\\":\\"s\\"}"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    write(tmp_path / "one", {"credHelpers": {"h": "test"}})
    assert who("h", "a", auth_file=str(tmp_path / "one")) == "h"
    write(tmp_path / "all", {"credsStore": "test"})
    assert who("docker.io", "a", auth_file=str(tmp_path / "all")) == "https://index.docker.io/v1/"
    write(tmp_path / "gone", {"credsStore": "missing"})
    assert who("h", "a", auth_file=str(tmp_path / "gone")) is None
    write(tmp_path / "evil", {"credsStore": "../../bin/sh"})
    with pytest.raises(WherryError):
        who("h", "a", auth_file=str(tmp_path / "evil"))
