"""Measure commands side by side: one alternating run, medians of CPU and wall time, ratios.

CPU time is user + system of the command and of every descendant it waited for, as the kernel accounts it (wait4).
What a command leaves running (a monitor, a daemon) is not in it; where that matters the benchmark says so.
"""

from __future__ import annotations

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


def measure(command: Sequence[str], *, quiet: bool = True) -> tuple[float, float, int]:
    """Run a command to its end: CPU seconds, wall seconds, exit status."""
    null = os.open(os.devnull, os.O_RDWR)
    actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, null, 0)]
    if quiet:
        actions += [(os.POSIX_SPAWN_DUP2, null, 1)]
    begin = time.monotonic()
    pid = os.posix_spawnp(command[0], list(command), os.environ, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    wall = time.monotonic() - begin
    os.close(null)
    return usage.ru_utime + usage.ru_stime, wall, os.waitstatus_to_exitcode(status)


@dataclass
class Contender:
    """Something measured: `prepare` and `clean` are not in the time; both get the run's number."""

    name: str
    command: Callable[[int], Sequence[str]]
    prepare: Callable[[int], None] = lambda number: None
    clean: Callable[[int], None] = lambda number: None


def alternate(contenders: Sequence[Contender], rounds: int) -> dict[str, Samples]:
    """Each contender once a round, in turn; the first round warms up and does not count."""
    results = {contender.name: Samples() for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders:
            contender.prepare(number)
            cpu, wall, status = measure(contender.command(number))
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
