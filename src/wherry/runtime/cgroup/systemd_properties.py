"""Unit properties of systemd that say what control group files say, and values given as text."""

from __future__ import annotations

from wherry.errors import INVALID_ARGUMENT, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.runtime.cgroup.resources import Setting

    Value = tuple[str, Any]

INFINITY = (1 << 64) - 1
SECOND_US = 1_000_000
# systemd keeps a quota as whole percents of a CPU
QUOTA_STEP_US = 10_000

_NUMBERS = {
    "memory.min": "MemoryMin",
    "memory.low": "MemoryLow",
    "memory.high": "MemoryHigh",
    "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax",
    "memory.limit_in_bytes": "MemoryLimit",
    "cpu.weight": "CPUWeight",
    "cpu.shares": "CPUShares",
    "io.weight": "IOWeight",
    "blkio.weight": "BlockIOWeight",
    "blkio.bfq.weight": "BlockIOWeight",
    "pids.max": "TasksMax",
}
_SETS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}
_RATES = {
    "rbps": "IOReadBandwidthMax",
    "wbps": "IOWriteBandwidthMax",
    "riops": "IOReadIOPSMax",
    "wiops": "IOWriteIOPSMax",
}
_INTEGERS = {"byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u", "int64": "x", "uint64": "t"}


def resource_properties(settings: list[Setting]) -> dict[str, Value]:
    """The properties for the settings that have one; a later setting of the same file wins."""
    found: dict[str, Value] = {}
    quota, period = 0, 100_000
    for _, file, value, where, _ in settings:
        if file in _NUMBERS:
            if number := _number(value):
                found[_NUMBERS[file]] = ("t", number)
        elif file in _SETS:
            found[_SETS[file]] = ("ay", cpu_mask(value, where))
        elif file == "cpu.idle" and value == "1":
            found["CPUWeight"] = ("t", 0)
        elif file == "io.max":
            _add_rate(found, value)
        elif file == "cpu.max":
            first, _, second = value.partition(" ")
            quota, period = _number(first), _number(second) or period
        elif file == "cpu.cfs_quota_us":
            quota = _number(value)
        elif file == "cpu.cfs_period_us":
            period = _number(value)
    if quota:
        found["CPUQuotaPerSecUSec"] = ("t", quota_per_second(quota, period))
        found["CPUQuotaPeriodUSec"] = ("t", period)
    return found


def quota_per_second(quota: int, period: int) -> int:
    """CPU time in a second, microseconds, rounded up to what systemd can keep."""
    if quota == INFINITY:
        return INFINITY
    steps = -(-quota * SECOND_US // (period * QUOTA_STEP_US))
    return steps * QUOTA_STEP_US


def cpu_mask(text: str, where: str) -> list[int]:
    """The bytes of the mask of a list like `0-2,7`, lowest CPU first."""
    mask = 0
    for part in text.replace("\n", "").split(","):
        first, dash, last = part.strip().partition("-")
        if not part.strip():
            continue
        if not first.isdecimal() or (dash and not last.isdecimal()) or int(last or first) > 1 << 16:
            raise WherryError(INVALID_ARGUMENT, f"{text!r} is not a list like 0-2,7", path=where)
        for number in range(int(first), int(last or first) + 1):
            mask |= 1 << number
    return list(mask.to_bytes(max(1, -(-mask.bit_length() // 8)), "little"))


def annotated_property(name: str, text: str, where: str) -> tuple[str, Value]:
    """A property given by annotation. A name in seconds (…Sec) becomes systemd's own in microseconds."""
    value = parse_value(text.strip(), where)
    if not (name.isascii() and name.isalnum()):
        raise WherryError(INVALID_ARGUMENT, f"{name!r} is not the name of a property", path=where)
    if name.endswith("Sec") and not name.endswith("USec"):
        if value[0] not in _INTEGERS.values() or value[1] < 0:
            raise WherryError(INVALID_ARGUMENT, f"{text!r} is not a number of seconds", path=where)
        return name[:-3] + "USec", ("t", value[1] * SECOND_US)
    return name, value


def parse_value(text: str, where: str) -> Value:
    """A value in GVariant's text form: true, 5, `uint64 5`, 'text', ['list', 'of texts']."""
    if text in ("true", "false"):
        return "b", text == "true"
    if text.startswith("[") and text.endswith("]"):
        items = [parse_value(item.strip(), where) for item in text[1:-1].split(",") if item.strip()]
        if all(item[0] == "s" for item in items):
            return "as", [item[1] for item in items]
    elif len(text) > 1 and text[0] in "'\"" and text[-1] == text[0] and text[0] not in text[1:-1]:
        return "s", text[1:-1]
    else:
        kind, _, digits = text.rpartition(" ")
        signature = _INTEGERS.get(kind.strip() or "int32")
        if signature and digits.removeprefix("-").isdecimal():
            return signature, _in_range(int(digits), signature, where)
    raise WherryError(
        INVALID_ARGUMENT,
        f"cannot understand {text!r}",
        hint="values are like true, 5, uint64 5, 'text', ['a', 'b']",
        path=where,
    )


def _in_range(number: int, signature: str, where: str) -> int:
    bits = {"y": 8, "n": 16, "q": 16, "i": 32, "u": 32, "x": 64, "t": 64}[signature]
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signature in "nix" else (0, 1 << bits)
    if not low <= number < high:
        raise WherryError(INVALID_ARGUMENT, f"{number} is out of range", path=where)
    return number


def _number(value: str) -> int:
    """0 for what cannot be a property: systemd refuses 0, and devices have their own lists."""
    if value == "max" or value == "-1":
        return INFINITY
    return int(value) if value.isdecimal() else 0


def _add_rate(found: dict[str, Value], value: str) -> None:
    device, *pairs = value.split()
    for pair in pairs:
        key, _, rate = pair.partition("=")
        if key in _RATES and (number := _number(rate)):
            _, entries = found.setdefault(_RATES[key], ("a(st)", []))
            entries.append((f"/dev/block/{device}", number))
