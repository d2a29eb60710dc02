"""Dockerfile instructions that change an image's configuration, as in `docker import --change`."""

from __future__ import annotations

import json
import shlex

from wherry.errors import INVALID_ARGUMENT, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def apply(config: dict[str, Any], changes: Sequence[str]) -> None:
    """Change `config` (the `config` object of an image configuration) in place; INVALID_ARGUMENT."""
    for change in changes:
        word, _, rest = change.strip().partition(" ")
        change_one = _INSTRUCTIONS.get(word.upper())
        rest = rest.strip()
        if change_one is None or not rest:
            known = ", ".join(_INSTRUCTIONS)
            raise WherryError(INVALID_ARGUMENT, f"not a change: {change!r}", hint=f"one of {known}")
        change_one(config, rest)


def _cmd(config: dict[str, Any], text: str) -> None:
    config["Cmd"] = _command(text)


def _entrypoint(config: dict[str, Any], text: str) -> None:
    config["Entrypoint"] = _command(text)


def _env(config: dict[str, Any], text: str) -> None:
    values = dict(entry.split("=", 1) for entry in config.get("Env", []))
    values.update(_pairs(text, "ENV"))
    config["Env"] = [f"{name}={value}" for name, value in values.items()]


def _label(config: dict[str, Any], text: str) -> None:
    config.setdefault("Labels", {}).update(_pairs(text, "LABEL"))


def _expose(config: dict[str, Any], text: str) -> None:
    for word in text.split():
        port, _, protocol = word.partition("/")
        first, _, last = port.partition("-")
        if not all(part.isdigit() and 0 < int(part) < 65536 for part in (first, last or first)):
            raise WherryError(INVALID_ARGUMENT, f"not a port: {word!r}")
        if protocol not in ("", "tcp", "udp", "sctp"):
            raise WherryError(INVALID_ARGUMENT, f"not a protocol: {word!r}")
        config.setdefault("ExposedPorts", {})[f"{port}/{protocol or 'tcp'}"] = {}


def _user(config: dict[str, Any], text: str) -> None:
    config["User"] = text


def _workdir(config: dict[str, Any], text: str) -> None:
    import posixpath

    config["WorkingDir"] = posixpath.normpath(posixpath.join(config.get("WorkingDir") or "/", text))


def _volume(config: dict[str, Any], text: str) -> None:
    paths = _json_list(text) or text.split()
    config.setdefault("Volumes", {}).update({path: {} for path in paths})


def _stopsignal(config: dict[str, Any], text: str) -> None:
    config["StopSignal"] = text


_INSTRUCTIONS = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "LABEL": _label,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}


def _command(text: str) -> list[str]:
    """The JSON form as it is, the other through a shell."""
    listed = _json_list(text)
    return listed if listed is not None else ["/bin/sh", "-c", text]


def _json_list(text: str) -> list[str] | None:
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, list) and all(isinstance(entry, str) for entry in value) else None


def _pairs(text: str, what: str) -> dict[str, str]:
    """`a=b c="d e"`, or the old form `a b c`."""
    first, _, rest = text.partition(" ")
    if "=" not in first and not first.startswith(("'", '"')):
        if not rest:
            raise WherryError(INVALID_ARGUMENT, f"{what} needs a value: {text!r}")
        return {first: rest.strip()}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise WherryError(INVALID_ARGUMENT, f"{what}: {error}: {text!r}") from None
    pairs = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise WherryError(INVALID_ARGUMENT, f"{what} needs NAME=VALUE: {word!r}")
        pairs[name] = value
    return pairs
