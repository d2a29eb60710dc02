from __future__ import annotations

import json

import pytest

from wherry.errors import INVALID_ARGUMENT, NOT_FOUND, WherryError
from wherry.oci import config
from wherry.oci.check import Document
from wherry.oci.json_text import loads


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        ' {"a": [1, -2.5e3, true, false, null, "\\u00fc\\n"]}\n',
        '{"a":1,"a":2}',
        "[]",
        '"x"',
        "12345678901234567890",
    ],
)
def test_json_is_read_as_by_the_library(text):
    assert loads(text) == json.loads(text)
    assert loads(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "line 1 column 1"),
        (b"{", "line 1 column 2"),
        (b'{"a":\n  }', "line 2 column 3"),
        (b"{} x", "extra data at line 1 column 4"),
        (b'{"a": NaN}', "NaN"),
        (b'"\n"', "line 1 column 2"),
        (b'"abc', "line 1"),
        (b"\xff", "UTF-8"),
        (b"[" * 100_000, "deeply"),
        (b"1" * 5000, "not JSON"),
    ],
)
def test_mistakes_are_one_line_with_their_place(data, words):
    with pytest.raises(WherryError) as caught:
        loads(data, "config.json")
    assert caught.value.code == INVALID_ARGUMENT
    assert caught.value.path == "config.json"
    assert words in caught.value.message
    assert "\n" not in str(caught.value)


def test_a_document_is_an_object_of_bounded_size(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('\ufeff{"a": 1}', encoding="utf-8")
    assert config.load(str(path)) == {"a": 1}
    path.write_text("[]")
    with pytest.raises(WherryError, match="must be an object"):
        config.load(str(path))
    with path.open("wb") as file:
        file.truncate(config.SIZE_LIMIT_BYTES + 1)
    with pytest.raises(WherryError, match="16 MiB"):
        config.load(str(path))


def test_a_missing_document(tmp_path):
    with pytest.raises(WherryError) as caught:
        config.load(str(tmp_path / "config.json"))
    assert caught.value.code == NOT_FOUND
    with pytest.raises(WherryError, match="directory"):
        config.load(str(tmp_path))


DOCUMENT = {
    "text": "t",
    "number": 5,
    "flag": True,
    "texts": ["a"],
    "object": {"x": "y"},
    "objects": [{}, {"a": 1}],
    "null": None,
    "float": 1.0,
}


def test_members_are_read():
    document = Document(DOCUMENT)
    assert document.text("text") == "t"
    assert document.text("null", "default") == document.text("missing", "default") == "default"
    assert document.number("number", 0, 5) == 5
    assert document.flag("flag") is True
    assert document.texts("texts") == ["a"]
    assert document.mapping("object") == {"x": "y"}
    assert [entry.path for entry in document.documents("objects")] == ["objects[0]", "objects[1]"]
    assert document.document("null") is None
    assert not document.has("null")


@pytest.mark.parametrize(
    "read",
    [
        lambda d: d.text("number"),
        lambda d: d.required_text("missing"),
        lambda d: d.number("float", 0, 5),
        lambda d: d.number("flag", 0, 5),
        lambda d: d.number("number", 0, 4),
        lambda d: d.required_number("null", 0, 4),
        lambda d: d.flag("number"),
        lambda d: d.texts("text"),
        lambda d: d.texts("objects"),
        lambda d: d.mapping("texts"),
        lambda d: list(d.documents("object")),
        lambda d: list(d.documents("texts")),
        lambda d: d.document("objects"),
    ],
)
def test_wrong_members_are_refused_with_their_place(read):
    with pytest.raises(WherryError) as caught:
        read(Document(DOCUMENT, "top"))
    assert caught.value.path.startswith("top.")
    assert caught.value.code == INVALID_ARGUMENT
