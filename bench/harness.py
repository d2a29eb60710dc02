"""Measure commands side by side: one alternating run, medians of CPU and wall time, ratios.

CPU time is user + system of the command and of every descendant it waited for, as the kernel accounts it (wait4).
What a command leaves running (a monitor, a daemon) is not in it, unless the contender's whole tree is asked for:
then the processes it left behind become our children, and their end is awaited (outside of the wall time).
"""

from __future__ import annotations

import ctypes
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Samples:
    """Seconds per run."""

    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)

    def median_ms(self) -> tuple[float, float]:
        """CPU and wall."""
        return statistics.median(self.cpu_s) * 1000, statistics.median(self.wall_s) * 1000


def adopt_orphans(*, yes: bool) -> None:
    """Become the parent of what commands leave behind (PR_SET_CHILD_SUBREAPER), or no longer."""
    ctypes.CDLL(None).prctl(36, int(yes), 0, 0, 0)


def children() -> set[int]:
    """Our own processes and those we were left with."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return set(map(int, file.read().split()))


def reap_but(kept: set[int]) -> float:
    """Wait for every child but these; their CPU seconds."""
    cpu = 0.0
    while adopted := children() - kept:
        _, _, usage = os.wait4(adopted.pop(), 0)
        cpu += usage.ru_utime + usage.ru_stime
    return cpu


def measure(command: Sequence[str], *, quiet: bool = True, tree: bool = False) -> tuple[float, float, int]:
    """Run a command to its end: CPU seconds, wall seconds, exit status."""
    null = os.open(os.devnull, os.O_RDWR)
    actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, null, 0)]
    if quiet:
        actions += [(os.POSIX_SPAWN_DUP2, null, 1)]
    adopt_orphans(yes=tree)
    before = children() if tree else set()
    begin = time.monotonic()
    pid = os.posix_spawnp(command[0], list(command), os.environ, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    wall = time.monotonic() - begin
    os.close(null)
    cpu = usage.ru_utime + usage.ru_stime + (reap_but(before) if tree else 0.0)
    adopt_orphans(yes=False)
    return cpu, wall, os.waitstatus_to_exitcode(status)


@dataclass
class Contender:
    """Something measured: `prepare` and `clean` are not in the time; both get the run's number."""

    name: str
    command: Callable[[int], Sequence[str]]
    prepare: Callable[[int], None] = lambda number: None
    clean: Callable[[int], None] = lambda number: None
    tree: bool = False


def alternate(contenders: Sequence[Contender], rounds: int) -> dict[str, Samples]:
    """Each contender once a round, in turn; the first round warms up and does not count."""
    results = {contender.name: Samples() for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders:
            contender.prepare(number)
            cpu, wall, status = measure(contender.command(number), tree=contender.tree)
            contender.clean(number)
            if status != 0:
                raise SystemExit(f"{contender.name}: exit status {status}: {' '.join(contender.command(number))}")
            if number:
                results[contender.name].cpu_s.append(cpu)
                results[contender.name].wall_s.append(wall)
    return results


def report(title: str, results: dict[str, Samples], ours: str, bounds: dict[str, float] | None = None) -> None:
    """Print medians and the ratio of `ours` to each other; `bounds` are the ratios aimed at."""
    print(f"\n{title}")
    own_cpu, own_wall = results[ours].median_ms()
    for name, samples in results.items():
        cpu, wall = samples.median_ms()
        line = f"  {name:<22} cpu {cpu:8.2f} ms   wall {wall:8.2f} ms"
        if name != ours:
            line += f"   ours/this: cpu {own_cpu / cpu:5.2f}  wall {own_wall / wall:5.2f}"
            if bounds and name in bounds:
                line += f"   (aim ≤ {bounds[name]}: {'reached' if own_cpu / cpu <= bounds[name] else 'NOT reached'})"
        print(line)
    sys.stdout.flush()
