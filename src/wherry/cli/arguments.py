"""What the commands share: the engine, and the values of their arguments."""

from __future__ import annotations

import os

from wherry.errors import INVALID_ARGUMENT, NOT_FOUND, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.engine import Engine

    from .main import Globals


def open_engine(settings: Globals) -> Engine:
    """The engine on the folders of the global options."""
    from wherry.engine.engine import Engine

    return Engine.open(settings.root, run_root=settings.run_root)


def environment(given: list[str], files: list[str]) -> dict[str, str]:
    """Variables of `-e` and `--env-file`; a name alone passes the caller's own variable on, if set."""
    lines = [line for path in files for line in _env_lines(path)]
    variables: dict[str, str] = {}
    for text in [*lines, *given]:
        name, equals, value = text.partition("=")
        if not name:
            raise WherryError(INVALID_ARGUMENT, f"environment variable {text!r} has no name")
        if equals:
            variables[name] = value
        elif name in os.environ:
            variables[name] = os.environ[name]
    return variables


def _env_lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        raise WherryError(NOT_FOUND, f"environment file {path} does not exist") from None
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def size(text: str) -> int:
    """Bytes of `512m`, `1g`, `64kb` (powers of 1024). Raises WherryError (invalid argument)."""
    units = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
    number = text.lower().removesuffix("ib").removesuffix("b") if text.lower() != "b" else ""
    unit = number[-1:] if number[-1:] in units else ""
    digits = number.removesuffix(unit) if unit else number
    try:
        return int(float(digits) * units[unit])
    except (ValueError, OverflowError):
        raise WherryError(INVALID_ARGUMENT, f"size {text!r} is not a number with b, k, m or g") from None


def seconds(text: str) -> float:
    """Seconds of `30s`, `1m30s`, `500ms` or a plain number. Raises WherryError (invalid argument)."""
    units = {"ms": 0.001, "us": 0.000_001, "h": 3600.0, "m": 60.0, "s": 1.0}
    total = 0.0
    rest = text
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = next((unit for unit in units if rest.startswith(unit)), "s" if not rest and not total else "")
        if not unit or not number.replace(".", "", 1).isdecimal():
            raise WherryError(INVALID_ARGUMENT, f"time {text!r} is not like 30s or 1m30s")
        total += float(number) * units[unit]
        rest = rest.removeprefix(unit)
    return total
