"""What an idle monitor costs. Its code is shared by all monitors of a machine; the rest is its own."""

from __future__ import annotations

from pathlib import Path

from ..runtimes import wait_until
from .driver import Monitored

OWN_KIB = 64
ALL_KIB = 300  # for the only monitor of a machine


def memory_kib(pid: int, field: str) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.split(f"{field}:")[1].split()[0])


def is_small(pid: int) -> bool:
    return memory_kib(pid, "Private_Dirty") <= OWN_KIB and memory_kib(pid, "Pss") <= ALL_KIB


def test_an_idle_monitor_is_small(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.start(*monitored.log_options(), "--stdin", "--restart", "always")
    wait_until(lambda: is_small(monitored.monitor_pid))


def test_memory_goes_back_when_the_container_is_quiet(monitored: Monitored) -> None:
    monitored.bundle.shell("head -c 2000000 /dev/zero | tr '\\0' '\\n'; echo end; sleep 1000")
    monitored.start(*monitored.log_options("json-file", "--log-max-size", "1000000"))
    wait_until(lambda: b'"end\\n"' in monitored.log.read_bytes()[-200:])
    wait_until(lambda: is_small(monitored.monitor_pid))
