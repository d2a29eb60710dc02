"""Go's text/template, as far as `--format` users rely on it.

Actions: fields (`.Name.Inner`), pipelines, `if`/`else if`/`else`, `range` (with `$i, $v :=`), `with`, variables,
trim markers, and the functions of docker's command line: json, join, split, lower, upper, title, pad, truncate,
println, printf, print, len, index, eq, ne, lt, le, gt, ge, and, or, not, slice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from wherry.errors import INVALID_ARGUMENT, WherryError

Node = tuple[Any, ...]
_ACTION = re.compile(r"\{\{(- )?((?:[^\"`}]|\"(?:\\.|[^\"\\])*\"|`[^`]*`|\}(?!\}))*?)( -)?\}\}", re.S)
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\])*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)|(?P<variable>\$\w*(?:\.\w+)*)"""
    r"""|(?P<field>(?:\.[\w-]+)+|\.)|(?P<word>\w+)|(?P<symbol>:=|=|[|(),]))""",
    re.S,
)
_WORDS = {"true": True, "false": False, "nil": None}


class Template:
    """A parsed template. Raises WherryError (invalid argument) for what cannot be parsed."""

    def __init__(self, text: str) -> None:
        self._nodes = _Parser(text).parse()

    def render(self, value: object) -> str:
        """The text for one value (dicts, lists, plain values)."""
        out: list[str] = []
        _run(self._nodes, value, {"$": value}, out)
        return "".join(out)


class _Parser:
    def __init__(self, text: str) -> None:
        self._items = _split(text)
        self._at = 0

    def parse(self) -> list[Node]:
        nodes, ended_by = self._block(())
        assert not ended_by
        return nodes

    def _block(self, enders: Sequence[str]) -> tuple[list[Node], str]:
        nodes: list[Node] = []
        while self._at < len(self._items):
            kind, text = self._items[self._at]
            self._at += 1
            if kind == "text":
                nodes.append(("text", text))
                continue
            word = text.split(None, 1)[0] if text else ""
            if word in ("end", "else"):
                if word not in enders:
                    raise _bad(f"unexpected {{{{{word}}}}}")
                return nodes, text
            if word in ("if", "with", "range"):
                nodes.append(self._control(word, text[len(word) :]))
            elif not text.startswith("/*"):
                nodes.append(("print", *_parse_statement(text)))
        if enders:
            raise _bad("missing {{end}}")
        return nodes, ""

    def _control(self, word: str, condition: str) -> Node:
        names, pipeline = _parse_statement(condition)
        body, ended_by = self._block(("end", "else"))
        otherwise: list[Node] = []
        if ended_by.startswith("else"):
            rest = ended_by[4:].strip()
            if rest.startswith(("if", "with")):
                inner = "if" if rest.startswith("if") else "with"
                otherwise = [self._control(inner, rest[len(inner) :])]
            else:
                otherwise, _ = self._block(("end",))
        return (word, names, pipeline, body, otherwise)


def _split(text: str) -> list[tuple[str, str]]:
    items: list[tuple[str, str]] = []
    at = 0
    trim = False
    for match in _ACTION.finditer(text):
        before = text[at : match.start()]
        before = before.lstrip() if trim else before
        before = before.rstrip() if match[1] else before
        items += [("text", before)] if before else []
        items.append(("action", match[2].strip()))
        trim = bool(match[3])
        at = match.end()
    rest = text[at:]
    if "{{" in rest:
        raise _bad("unclosed action")
    rest = rest.lstrip() if trim else rest
    return items + ([("text", rest)] if rest else [])


def _parse_statement(text: str) -> tuple[list[str], list[list[Node]]]:
    """Variables assigned to, and the pipeline: commands, each a list of operands."""
    tokens = _tokens(text)
    names: list[str] = []
    for position, (_, value) in enumerate(tokens):
        if value in (":=", "=") and tokens[position][0] == "symbol":
            names = [token[1] for token in tokens[:position] if token[0] == "variable"]
            tokens = tokens[position + 1 :]
            break
    pipeline, rest = _parse_pipeline(tokens)
    if rest:
        raise _bad(f"unexpected {rest[0][1]!r} in {text!r}")
    return names, pipeline


def _parse_pipeline(tokens: list[tuple[str, str]]) -> tuple[list[list[Node]], list[tuple[str, str]]]:
    commands: list[list[Node]] = [[]]
    while tokens:
        kind, value = tokens[0]
        tokens = tokens[1:]
        if kind == "symbol":
            if value == "|":
                commands.append([])
                continue
            if value == "(":
                inner, tokens = _parse_pipeline(tokens)
                if not tokens:
                    raise _bad("unclosed parenthesis")
                tokens = tokens[1:]
                commands[-1].append(("pipeline", inner))
                continue
            tokens = [(kind, value), *tokens]
            break
        commands[-1].append(_operand(kind, value))
    if not all(commands):
        raise _bad("empty command")
    return commands, tokens


def _operand(kind: str, value: str) -> Node:
    if kind == "string":
        return ("literal", value[1:-1] if value[0] == "`" else json.loads(value))
    if kind == "number":
        return ("literal", float(value) if "." in value else int(value))
    if kind == "field":
        return ("field", [part for part in value.split(".") if part])
    if kind == "variable":
        name, *path = value.split(".")
        return ("variable", name, path)
    if value in _WORDS:
        return ("literal", _WORDS[value])
    if value not in _FUNCTIONS:
        raise _bad(f"function {value!r} not defined")
    return ("function", value)


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at = 0
    text = text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.end() == at:
            raise _bad(f"unexpected {text[at:]!r}")
        assert match.lastgroup
        tokens.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return tokens


def _run(nodes: list[Node], dot: object, variables: dict[str, Any], out: list[str]) -> None:
    for node in nodes:
        kind = node[0]
        if kind == "text":
            out.append(node[1])
            continue
        names, pipeline = node[1], node[2]
        value = _evaluate(pipeline, dot, variables)
        if kind == "print":
            if names:
                variables[names[0]] = value
            else:
                out.append(show(value))
        elif kind == "range":
            _range(node, value, dot, variables, out)
        else:
            scope = dict(variables, **({names[0]: value} if names else {}))
            inner = value if kind == "with" else dot
            _run(node[3] if _truth(value) else node[4], inner if _truth(value) else dot, scope, out)


def _range(node: Node, value: Any, dot: object, variables: dict[str, Any], out: list[str]) -> None:
    _, names, _, body, otherwise = node
    if not value:
        _run(otherwise, dot, variables, out)
        return
    pairs = sorted(value.items()) if isinstance(value, dict) else list(enumerate(value))
    for key, item in pairs:
        scope = dict(variables)
        if len(names) == 2:
            scope[names[0]], scope[names[1]] = key, item
        elif names:
            scope[names[0]] = item
        _run(body, item, scope, out)


def _evaluate(pipeline: list[list[Node]], dot: object, variables: dict[str, Any]) -> Any:
    value: Any = None
    for position, command in enumerate(pipeline):
        piped = [value] if position else []
        first = command[0]
        if first[0] == "function":
            arguments = [_value(operand, dot, variables) for operand in command[1:]]
            value = _call(first[1], arguments + piped)
        elif len(command) > 1 or piped:
            raise _bad("only a function takes arguments")
        else:
            value = _value(first, dot, variables)
    return value


def _value(operand: Node, dot: object, variables: dict[str, Any]) -> Any:
    kind = operand[0]
    if kind == "literal":
        return operand[1]
    if kind == "pipeline":
        return _evaluate(operand[1], dot, variables)
    if kind == "function":
        return _call(operand[1], [])
    if kind == "variable":
        if operand[1] not in variables:
            raise _bad(f"undefined variable {operand[1]}")
        return _walk(variables[operand[1]], operand[2])
    return _walk(dot, operand[1])


def _walk(value: Any, path: list[str]) -> Any:
    for name in path:
        if value is None:
            return None
        if not isinstance(value, dict):
            raise _bad(f"no field {name!r} in {show(value)!r}")
        if name not in value:
            by_case = {key.lower(): key for key in value if isinstance(key, str)}
            if name.lower() not in by_case:
                raise _bad(f"no field {name!r}", "known: " + ", ".join(sorted(map(str, value)))[:200])
            name = by_case[name.lower()]
        value = value[name]
    return value


def _call(name: str, arguments: list[Any]) -> Any:
    try:
        return _FUNCTIONS[name](*arguments)
    except (TypeError, LookupError, ValueError, AttributeError) as error:
        raise _bad(f"{name}: {error}") from error


def show(value: object) -> str:
    """A value as Go prints it."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{show(item)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(show(item) for item in value) + "]"
    return str(value)


def _truth(value: object) -> bool:
    return bool(value)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else value[key]
    return value


def _printf(template: str, *values: object) -> str:
    return template.replace("%v", "%s") % tuple(show(v) if not isinstance(v, int | float) else v for v in values)


def _truncate(text: str, length: int) -> str:
    return text[:length]


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": _json,
    "join": lambda items, separator: separator.join(map(show, items or ())),
    "split": lambda text, separator: text.split(separator),
    "lower": str.lower,
    "upper": str.upper,
    "title": str.title,
    "pad": lambda text, before, after: " " * before + text + " " * after if text else text,
    "truncate": _truncate,
    "println": lambda *values: " ".join(map(show, values)) + "\n",
    "print": lambda *values: "".join(map(show, values)),
    "printf": _printf,
    "len": len,
    "index": _index,
    "slice": lambda value, *bounds: value[slice(*bounds)],
    "eq": lambda first, *others: any(first == other for other in others),
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "and": lambda *values: next((v for v in values if not v), values[-1]),
    "or": lambda *values: next((v for v in values if v), values[-1]),
    "not": lambda value: not value,
}


def _bad(message: str, hint: str = "") -> WherryError:
    return WherryError(INVALID_ARGUMENT, f"template: {message}", hint=hint)
