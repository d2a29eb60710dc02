"""JSON text from plain values and back, without the `json` package (its import costs more than a launch)."""

from __future__ import annotations

from _json import encode_basestring_ascii, make_scanner

from wherry.errors import INVALID_ARGUMENT, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def dumps(value: Any) -> str:
    """Compact JSON of None, bool, int, finite float, str, list, tuple and dict with str keys.

    Raises TypeError for anything else.
    """
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, dict):
        return "{" + ",".join([f"{_key(key)}:{dumps(item)}" for key, item in value.items()]) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join([dumps(item) for item in value]) + "]"
    if isinstance(value, float) and value - value == 0:
        return float.__repr__(value)
    raise TypeError(f"{value!r} is not a JSON value")


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"JSON key {key!r} is not text")
    return encode_basestring_ascii(key)


class _Context:
    """What the interpreter's scanner asks of a decoder."""

    strict = True
    object_hook = None
    object_pairs_hook: Any = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name: str) -> float:
        raise ValueError(f"{name} is not JSON")


BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SPACE = " \t\n\r"


class _Unique(_Context):
    @staticmethod
    def object_pairs_hook(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        document = dict(pairs)
        if len(document) != len(pairs):
            raise ValueError("a key occurs twice in one object")
        return document


def loads(data: bytes | str, name: str = "", *, unique: bool = False) -> Any:
    """The value of a JSON text; of a member given twice the last counts, or it is an error with `unique`.

    Raises WherryError(INVALID_ARGUMENT) naming line and column, with `name` (of the file) as its path.
    """
    try:
        text = data if isinstance(data, str) else data.removeprefix(BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as error:
        raise WherryError(INVALID_ARGUMENT, f"is not UTF-8 (byte {error.start})", path=name) from None
    try:
        value, end = _scan(text, _skip_space(text, 0), _Unique if unique else _Context)
        end = _skip_space(text, end)
        if end != len(text):
            raise _wrong(name, text, end, "extra data")
        return value
    except StopIteration as stop:
        raise _wrong(name, text, stop.value, "a value is expected") from None
    except RecursionError:
        raise WherryError(INVALID_ARGUMENT, "is nested too deeply", path=name) from None
    except ValueError as error:
        at = getattr(error, "pos", None)
        if at is None:
            raise WherryError(INVALID_ARGUMENT, f"is not JSON: {error}", path=name) from None
        raise _wrong(name, text, at, str(getattr(error, "msg", error))) from None


def _scan(text: str, start: int, context: type[_Context]) -> tuple[Any, int]:
    try:
        return make_scanner(context)(text, start)  # type: ignore[arg-type]
    except SystemError:  # the scanner wants to raise JSONDecodeError and finds its module not imported
        import json.decoder  # noqa: F401

        return make_scanner(context)(text, start)  # type: ignore[arg-type]


def _skip_space(text: str, at: int) -> int:
    size = len(text)
    while at < size and text[at] in _SPACE:
        at += 1
    return at


def _wrong(name: str, text: str, at: int, why: str) -> WherryError:
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    why = why[:1].lower() + why[1:]
    return WherryError(INVALID_ARGUMENT, f"is not JSON: {why} at line {line} column {column}", path=name)
