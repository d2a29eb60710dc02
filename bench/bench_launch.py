"""Create and start in process, as the engine does, against crun's two verbs and bubblewrap's one.

.venv/bin/python bench/bench_launch.py [ROUNDS]

Ours has no interpreter to start: the CPU time is this process's own and that of the native programs it waited for.
The container's process is nobody's child here and in none of the sums; bubblewrap's is in its own.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench_runtime import make_bundle, without_unified
from harness import Samples, report

from wherry.runtime import launch
from wherry.runtime.api import Runtime

OURS = "wherry, in process"
NATIVE = str(Path(__file__).parents[1] / ".venv/bin/wherry-runtime")
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def spawn(*words: str) -> None:
    """posix_spawn without pipes, the cheapest that Python has."""
    null = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
    _, status = os.waitpid(os.posix_spawnp(words[0], list(words), os.environ, file_actions=actions), 0)
    os.close(null)
    if status:
        raise SystemExit(f"{' '.join(words)}: exit status {os.waitstatus_to_exitcode(status)}")


def compare(place: Path, rounds: int) -> dict[str, Samples]:
    bundle, root, crun_root = (str(place / name) for name in ("sleep", "root", "root-crun"))
    os.makedirs(root)
    runtime = Runtime(root)
    rootfs = str(place / "bundle/rootfs")
    null = os.open(os.devnull, os.O_RDWR)
    bubble = ["bwrap", "--unshare-all", "--ro-bind", rootfs, "/", "--proc", "/proc", "--dev", "/dev", "/bin/true"]

    def ours() -> None:
        launch.create(bundle, id="own", root=root, stdio=(null, null, null))
        runtime.start("own")

    def crun() -> None:
        spawn("crun", "--root", crun_root, "create", "--bundle", bundle, "peer")
        spawn("crun", "--root", crun_root, "start", "peer")

    actions: dict[str, tuple[Callable[[], None], Callable[[], object]]] = {
        OURS: (ours, lambda: runtime.delete("own", force=True)),
        "crun create + start": (crun, lambda: spawn("crun", "--root", crun_root, "delete", "--force", "peer")),
        "bwrap, to its end": (lambda: spawn(*bubble), lambda: None),
    }
    results = {name: Samples() for name in actions}
    for number in range(rounds + 1):
        for name, (act, clean) in actions.items():
            cpu, begin = cpu_s(), time.monotonic()
            act()
            wall, used = time.monotonic() - begin, cpu_s() - cpu
            clean()
            if number:
                results[name].cpu_s.append(used)
                results[name].wall_s.append(wall)
    return results


def main() -> None:
    without_unified()
    os.environ["WHERRY_RUNTIME"] = NATIVE
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    with tempfile.TemporaryDirectory(prefix="wherry-bench-", dir="/dev/shm") as folder:
        results = compare(make_bundle(Path(folder)), rounds)
    report("create + start in process", results, OURS, {"crun create + start": 0.8})


if __name__ == "__main__":
    main()
