from __future__ import annotations

import os

import pytest

from wherry.runtime.host import variable
from wherry.runtime.paths import absolute, join


@pytest.mark.parametrize("path", ["/", "/a/../b", "a", "./a//b/.", "../..", "/../x", "", "//a"])
def test_absolute(path):
    assert absolute(path) == os.path.abspath("/" + path.lstrip("/") if path[:2] == "//" else path)


def test_join():
    assert join("/a/", "b") == "/a/b"
    assert join("/a", "/b") == "/b"


def test_variables(monkeypatch):
    monkeypatch.setenv("WHERRY_TEST", "ü")
    assert variable("WHERRY_TEST") == "ü"
    monkeypatch.delenv("WHERRY_TEST")
    assert variable("WHERRY_TEST") == ""
