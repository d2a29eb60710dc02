"""A small parser for command lines in the manner of runc: `--name value`, `--name=value`, one dash or two."""

from __future__ import annotations

from wherry.errors import INVALID_ARGUMENT, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Value = str | bool | list[str]

# kinds
FLAG, TEXT, MANY = 0, 1, 2


class Arguments:
    """Options by long name (absent ones have their kind's empty value) and the operands."""

    __slots__ = ("operands", "values")

    def __init__(self, values: dict[str, Value], operands: list[str]) -> None:
        self.values = values
        self.operands = operands

    def text(self, name: str) -> str:
        """An option with a value, "" when it was not given."""
        value = self.values.get(name, "")
        return value if isinstance(value, str) else ""

    def flag(self, name: str) -> bool:
        """A switch."""
        return self.values.get(name) is True

    def many(self, name: str) -> list[str]:
        """The values of an option that may be repeated."""
        value = self.values.get(name)
        return value if isinstance(value, list) else []

    def number(self, name: str) -> int:
        """A number from 0, 0 when the option was not given. Raises WherryError(INVALID_ARGUMENT)."""
        text = self.text(name)
        if text and not (text.isascii() and text.isdigit()):
            raise WherryError(INVALID_ARGUMENT, f"{text!r} is not a number", path=f"--{name}")
        return int(text or "0")


# name, letter, kind
Table = tuple[tuple[str, str, int], ...]


def parse(table: Table, words: Sequence[str], *, intermixed: bool) -> Arguments:
    """Split a command line. Options end at `--`, and at the first operand unless `intermixed`.

    Raises WherryError(INVALID_ARGUMENT) for an unknown option and a missing or superfluous value.
    """
    known: dict[str, tuple[str, int]] = {}
    for name, letter, kind in table:
        known[name] = name, kind
        if letter:
            known[letter] = name, kind
    values: dict[str, Value] = {}
    operands: list[str] = []
    at, end = 0, len(words)
    while at < end:
        word = words[at]
        at += 1
        if word == "--":
            operands += words[at:]
            break
        if word[:1] != "-" or word == "-":
            operands.append(word)
            if intermixed:
                continue
            operands += words[at:]
            break
        name, equals, value = word.lstrip("-").partition("=")
        found = known.get(name)
        if found is None:
            raise WherryError(INVALID_ARGUMENT, f"flag provided but not defined: -{name}")
        name, kind = found
        if kind == FLAG:
            values[name] = _boolean(word, value) if equals else True
            continue
        if not equals:
            if at == end:
                raise WherryError(INVALID_ARGUMENT, f"flag needs an argument: -{name}")
            value = words[at]
            at += 1
        _add(values, name, kind, value)
    return Arguments(values, operands)


def _add(values: dict[str, Value], name: str, kind: int, value: str) -> None:
    if kind == TEXT:
        values[name] = value
        return
    found = values.setdefault(name, [])
    if isinstance(found, list):
        found.append(value)


def _boolean(word: str, value: str) -> bool:
    if value in ("true", "1", "t", "TRUE", "True"):
        return True
    if value in ("false", "0", "f", "FALSE", "False"):
        return False
    raise WherryError(INVALID_ARGUMENT, f"invalid value for {word}: true or false expected")
