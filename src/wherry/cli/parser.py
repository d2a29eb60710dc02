"""The flags of a command: recorded once, parsed here, explained by argparse.

`argparse` costs more than all else that a short command does. So `Parser` has argparse's `add_argument`, but only
records; `parse_args` takes the plain cases itself and leaves everything else (help, mistakes, `--`) to the argparse
parser that `full` makes of the same record. Both agree on what both accept; a test compares them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from .full_parser import FullParser

REST = "..."


class Parsed:
    """The values by name, as argparse's Namespace."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class NotPlain(Exception):
    """A command line for argparse."""


class Parser:
    """Flags and operands of one command."""

    __slots__ = ("_operands", "_options", "description", "record", "verb")

    def __init__(self, verb: str, description: str) -> None:
        self.verb = verb
        self.description = description
        self.record: list[tuple[tuple[str, ...], dict[str, Any]]] = []
        self._options: dict[str, tuple[str, dict[str, Any]]] = {}
        self._operands: list[tuple[str, str]] = []

    def add_argument(self, *names: str, **settings: Any) -> None:
        """As argparse's, with the actions `store`, `store_true` and `append`."""
        self.record.append((names, settings))
        if not names[0].startswith("-"):
            self._operands.append((names[0], settings.get("nargs", "")))
            return
        long = [name for name in names if name.startswith("--")] or names
        target = settings.get("dest") or long[0].lstrip("-").replace("-", "_")
        for name in names:
            self._options[name] = (target, settings)

    def parse_args(self, words: Sequence[str]) -> Parsed:
        """The values. Ends the process with docker's status 125 for a wrong command line, with 0 after the help."""
        try:
            return self._parse(words)
        except NotPlain:
            return self.full().parse_args(words, Parsed())

    def full(self) -> FullParser:
        """argparse's parser with the same flags."""
        from .full_parser import FullParser

        return FullParser(self)

    def error(self, message: str) -> NoReturn:
        """End with docker's status and the way to the help."""
        self.full().error(message)

    def _parse(self, words: Sequence[str]) -> Parsed:
        values = {target: settings.get("default", _unset(settings)) for target, settings in self._options.values()}
        operands: list[str] = []
        rest = any(count == REST for _, count in self._operands)
        at = 0
        while at < len(words):
            word = words[at]
            at += 1
            if word[:1] != "-" or word == "-":
                operands.append(word)
                if rest:
                    operands += words[at:]
                    break
            elif word[:2] == "--":
                at += self._long(word, words[at : at + 1], values)
            else:
                at += self._short(word, words[at : at + 1], values)
        if "--" in operands:
            raise NotPlain
        values.update(self._assign(operands))
        parsed = Parsed()
        parsed.__dict__.update(values)
        return parsed

    def _long(self, word: str, following: Sequence[str], values: dict[str, Any]) -> int:
        """Take `--name`, `--name=value` or `--name value`; how many of the following words were used."""
        name, equals, value = word.partition("=")
        if name not in self._options:
            raise NotPlain
        if self._options[name][1].get("action") == "store_true":
            if equals:
                raise NotPlain
            self._store(name, "", values)
            return 0
        if equals:
            self._store(name, value, values)
            return 0
        self._store(name, _value(following), values)
        return 1

    def _short(self, word: str, following: Sequence[str], values: dict[str, Any]) -> int:
        """Take `-x`, `-xvalue`, `-x value` and flags in one word; how many of the following words were used."""
        if "=" in word or " " in word:  # argparse has views of its own on these
            raise NotPlain
        for place, letter in enumerate(word[1:], 2):
            name = f"-{letter}"
            if name not in self._options:
                raise NotPlain
            if self._options[name][1].get("action") == "store_true":
                self._store(name, "", values)
                continue
            if word[place:]:
                self._store(name, word[place:], values)
                return 0
            self._store(name, _value(following), values)
            return 1
        return 0

    def _store(self, name: str, text: str, values: dict[str, Any]) -> None:
        target, settings = self._options[name]
        action = settings.get("action")
        if action == "store_true":
            values[target] = True
            return
        if text == "--":
            raise NotPlain
        convert = settings.get("type")
        try:
            value = text if convert is None else convert(text)
        except (TypeError, ValueError):
            raise NotPlain from None
        if "choices" in settings and value not in settings["choices"]:
            raise NotPlain
        values[target] = [*values[target], value] if action == "append" else value

    def _assign(self, operands: list[str]) -> dict[str, Any]:
        """Operands by name; a count that does not fit is for argparse to explain."""
        values: dict[str, Any] = {}
        left = list(operands)
        for name, count in self._operands:
            if count in ("*", "+", REST):
                if count == "+" and not left:
                    raise NotPlain
                values[name], left = left, []
            elif left:
                values[name] = left.pop(0)
            elif count == "?":
                values[name] = None
            else:
                raise NotPlain
        if left:
            raise NotPlain
        return values


def _value(following: Sequence[str]) -> str:
    if not following or (following[0][:1] == "-" and following[0] != "-"):
        raise NotPlain
    return following[0]


def _unset(settings: dict[str, Any]) -> bool | None:
    return False if settings.get("action") == "store_true" else None
