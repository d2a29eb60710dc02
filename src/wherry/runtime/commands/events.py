"""`events`: a container's resource use, once or again and again, and its out-of-memory events."""

from __future__ import annotations

import json
import sys
import time

from wherry.errors import INVALID_ARGUMENT, WherryError
from wherry.runtime.arguments import FLAG, TEXT, parse
from wherry.runtime.existing import Existing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.runtime.arguments import Table
    from wherry.runtime.command_line import Context

OPTIONS: Table = (("stats", "", FLAG), ("interval", "", TEXT))
DEFAULT_INTERVAL_S = 5.0
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def run(context: Context) -> int:
    """Print events as JSON lines until the container is gone, with `--stats` one."""
    from wherry.runtime.cgroup.stats import read_stats

    arguments = parse(OPTIONS, context.words, intermixed=True)
    if len(arguments.operands) != 1:
        raise WherryError(INVALID_ARGUMENT, "requires exactly 1 argument, the container's ID")
    container = Existing(context.root(), arguments.operands[0])
    container.require_live()
    interval_s = parse_duration(arguments.text("interval")) if arguments.text("interval") else DEFAULT_INTERVAL_S
    if arguments.flag("stats"):
        _print(container, "stats", read_stats(container.groups(), container.pid))
        return 0
    _watch(container, interval_s)
    return 0


def _watch(container: Existing, interval_s: float) -> None:
    from wherry.runtime.cgroup.oom import OomWatch
    from wherry.runtime.cgroup.stats import read_stats
    from wherry.runtime.state_folder import start_time

    groups, started = container.groups(), start_time(container.pid)
    with OomWatch(groups) as watch:
        due = time.monotonic()
        while start_time(container.pid) == started:
            if time.monotonic() >= due:
                _print(container, "stats", read_stats(groups, container.pid))
                due = time.monotonic() + interval_s
            happened = watch.wait(min(1.0, max(0.0, due - time.monotonic())))
            if happened == "oom":
                _print(container, "oom", None)
            elif happened == "gone":
                break


def _print(container: Existing, type: str, data: dict[str, Any] | None) -> None:
    event: dict[str, Any] = {"type": type, "id": container.id}
    if data is not None:
        event["data"] = data
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def parse_duration(text: str) -> float:
    """Seconds of `5s`, `1m30s`, `500ms`. Raises WherryError(INVALID_ARGUMENT)."""
    import re

    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if not parts or "".join(number + unit for number, unit in parts) != text or seconds <= 0:
        raise WherryError(INVALID_ARGUMENT, f"{text!r} is not a duration like 5s", path="--interval")
    return seconds
