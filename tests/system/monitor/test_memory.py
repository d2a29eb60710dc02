"""What an idle monitor costs."""

from __future__ import annotations

from pathlib import Path

from ..runtimes import wait_until
from .driver import Monitored

LIMIT_KIB = 200


def private_kib(pid: int) -> int:
    fields = dict(line.split(":") for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return sum(int(fields[name].split()[0]) for name in ("Private_Dirty", "Private_Clean", "Anonymous"))


def pss_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.split("Pss:")[1].split()[0])


def test_an_idle_monitor_is_small(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.start(*monitored.log_options(), "--stdin", "--restart", "always")
    assert pss_kib(monitored.monitor_pid) <= LIMIT_KIB


def test_memory_goes_back_when_the_container_is_quiet(monitored: Monitored) -> None:
    monitored.bundle.shell("head -c 2000000 /dev/zero | tr '\\0' '\\n'; echo end; sleep 1000")
    monitored.start(*monitored.log_options("json-file", "--log-max-size", "1000000"))
    wait_until(lambda: monitored.log.exists() and b'"end\\n"' in monitored.log.read_bytes()[-200:])
    wait_until(lambda: pss_kib(monitored.monitor_pid) <= LIMIT_KIB)
