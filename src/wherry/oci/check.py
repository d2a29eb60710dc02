"""Read a parsed JSON document member by member; what is wrong is named by its place in the document.

As in the specification, unknown members are ignored; a member that is null counts as absent.
"""

from __future__ import annotations

from wherry.errors import INVALID_ARGUMENT, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

UINT32_MAX = (1 << 32) - 1
INT64_MAX = (1 << 63) - 1
UINT64_MAX = (1 << 64) - 1


class Document:
    """A JSON object and its place (`linux.namespaces[2]`; "" for the whole document).

    Every reader raises WherryError(INVALID_ARGUMENT) with the member's place as `path`.
    """

    __slots__ = ("path", "value")

    def __init__(self, value: Any, path: str = "") -> None:
        if not isinstance(value, dict):
            raise wrong(path, f"must be an object, not {kind_of(value)}")
        self.value = value
        self.path = path

    def at(self, name: str) -> str:
        """The place of a member."""
        return f"{self.path}.{name}" if self.path else name

    def has(self, name: str) -> bool:
        """Whether the member is there and not null."""
        return self.value.get(name) is not None

    def error(self, name: str, message: str, hint: str = "") -> WherryError:
        """An error about a member, to be raised."""
        return wrong(self.at(name), message, hint)

    def text(self, name: str, default: str = "") -> str:
        """A string without NUL."""
        value = self.value.get(name)
        if value is None:
            return default
        return check_text(value, self, name)

    def required_text(self, name: str) -> str:
        """A string that must be there and not be empty."""
        value = self.text(name)
        if not value:
            raise self.error(name, "is required" if self.value.get(name) is None else "must not be empty")
        return value

    def number(self, name: str, low: int, high: int, default: int = 0) -> int:
        """An integer from `low` to `high`."""
        value = self.value.get(name)
        if value is None:
            return default
        if value.__class__ is not int:
            raise self.error(name, f"must be an integer, not {kind_of(value)}")
        if not low <= value <= high:
            raise self.error(name, f"must be from {low} to {high}, not {value}")
        return int(value)

    def required_number(self, name: str, low: int, high: int) -> int:
        """An integer that must be there."""
        if self.value.get(name) is None:
            raise self.error(name, "is required")
        return self.number(name, low, high)

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean."""
        value = self.value.get(name)
        if value is None:
            return default
        if value is not True and value is not False:
            raise self.error(name, f"must be true or false, not {kind_of(value)}")
        return value

    def texts(self, name: str) -> list[str]:
        """A list of strings; empty when absent."""
        values = self.list(name)
        for index, value in enumerate(values):
            if value.__class__ is not str or "\0" in value:
                check_text(value, self, f"{name}[{index}]")
        return values

    def list(self, name: str) -> list[Any]:
        """A list of anything; empty when absent."""
        value = self.value.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.error(name, f"must be a list, not {kind_of(value)}")
        return value

    def document(self, name: str) -> Document | None:
        """An object, or None when absent."""
        value = self.value.get(name)
        return None if value is None else Document(value, self.at(name))

    def documents(self, name: str) -> Iterator[Document]:
        """The objects of a list."""
        for index, value in enumerate(self.list(name)):
            yield Document(value, f"{self.at(name)}[{index}]")

    def mapping(self, name: str) -> dict[str, str]:
        """An object whose members are strings; empty when absent."""
        found = self.document(name)
        if found is None:
            return {}
        for key, value in found.value.items():
            if value.__class__ is not str or "\0" in value or "\0" in key:
                check_text(value, found, key)
                check_text(key, found, key)
        value = found.value
        assert isinstance(value, dict)
        return value


def check_text(value: Any, document: Document, name: str) -> str:
    """`value` if it is a string without NUL."""
    if not isinstance(value, str):
        raise document.error(name, f"must be a string, not {kind_of(value)}")
    if "\0" in value:
        raise document.error(name, "must not contain a NUL character")
    return value


def wrong(path: str, message: str, hint: str = "") -> WherryError:
    """An error about the place `path` of a document, to be raised."""
    return WherryError(INVALID_ARGUMENT, message, hint=hint, path=path or "config.json")


def kind_of(value: Any) -> str:
    """A value's JSON kind, for people."""
    if value is None:
        return "null"
    if value is True or value is False:
        return "a boolean"
    for kind, name in ((str, "a string"), (int, "a number"), (float, "a number"), (list, "a list")):
        if isinstance(value, kind):
            return f"a fractional number ({value})" if kind is float else name
    return "an object"
