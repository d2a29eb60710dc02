"""The options of `update`, runc's and crun's, and the document they stand for."""

from __future__ import annotations

from wherry.errors import INVALID_ARGUMENT, WherryError
from wherry.oci.json_text import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# option, section and member of linux.resources (or linux.intelRdt), kind
FLAGS = (
    ("--blkio-weight", "blockIO", "weight", "number"),
    ("--cpu-period", "cpu", "period", "number"),
    ("--cpu-quota", "cpu", "quota", "number"),
    ("--cpu-burst", "cpu", "burst", "number"),
    ("--cpu-share", "cpu", "shares", "number"),
    ("--cpu-rt-period", "cpu", "realtimePeriod", "number"),
    ("--cpu-rt-runtime", "cpu", "realtimeRuntime", "number"),
    ("--cpu-idle", "cpu", "idle", "number"),
    ("--cpuset-cpus", "cpu", "cpus", "text"),
    ("--cpuset-mems", "cpu", "mems", "text"),
    ("--memory", "memory", "limit", "bytes"),
    ("--memory-reservation", "memory", "reservation", "bytes"),
    ("--memory-swap", "memory", "swap", "bytes"),
    ("--kernel-memory", "memory", "kernel", "bytes"),
    ("--kernel-memory-tcp", "memory", "kernelTCP", "bytes"),
    ("--pids-limit", "pids", "limit", "number"),
    ("--l3-cache-schema", "intelRdt", "l3CacheSchema", "text"),
    ("--mem-bw-schema", "intelRdt", "memBwSchema", "text"),
)
_POWERS = "kmgtp"


def resources_from_flags(values: dict[str, str]) -> dict[str, Any]:
    """linux.resources of the options given (name to text), with an intelRdt section if they ask for one."""
    found: dict[str, Any] = {}
    for option, section, member, kind in FLAGS:
        text = values.get(option)
        if text is not None:
            found.setdefault(section, {})[member] = _value(option, text, kind)
    return found


def resources_from_json(data: bytes | str) -> dict[str, Any]:
    """linux.resources of a document given with `--resources`."""
    value = loads(data)
    if not isinstance(value, dict):
        raise WherryError(INVALID_ARGUMENT, "must be an object", path="resources")
    return value


def parse_bytes(text: str, where: str = "") -> int:
    """Bytes of `512`, `64m`, `1.5GiB`, or -1; the units are powers of 1024."""
    lower = text.strip().lower()
    if lower == "-1":
        return -1
    digits = lower.rstrip("b").rstrip("i")
    power = _POWERS.find(digits[-1:]) + 1 if digits else 0
    number = digits[:-1].rstrip() if power else digits.rstrip()
    whole, point, fraction = number.partition(".")
    if not whole.isdecimal() or (point and not fraction.isdecimal()):
        raise WherryError(INVALID_ARGUMENT, f"{text!r} is not a size like 512m", path=where)
    unit = 1 << 10 * power
    return int(whole) * unit + (int(fraction) * unit // 10 ** len(fraction) if point else 0)


def _value(option: str, text: str, kind: str) -> int | str:
    if kind == "text":
        return text
    if kind == "bytes":
        return parse_bytes(text, option)
    if not text.removeprefix("-").isdecimal():
        raise WherryError(INVALID_ARGUMENT, f"{text!r} is not a number", path=option)
    return int(text)
