"""Side by side: what each runtime verb costs here and in the installed peers (`make bench`).

Every round runs each runtime once, so that a busy machine disturbs all alike. CPU is that of the runtime's process and
of the children that it waited for; wall time is until it returned. Medians; the fastest in parentheses.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from system.bundle import Bundle, make_rootfs
from system.runtimes import Runtime, reap

OURS = os.environ.get("OURS") or Path(sys.executable).parent / "wherry-runtime"
ROUNDS = int(os.environ.get("ROUNDS", "20"))
VERBS = ("create", "start", "state", "exec", "pause", "resume", "kill", "delete", "run", "version")

Times = dict[str, dict[str, list[tuple[float, float]]]]


def measure(runtime: Runtime, *args: str) -> tuple[float, float]:
    """CPU and wall time of one verb in milliseconds."""
    command = runtime.command(*args)
    null = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
    begin = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - begin
    os.close(null)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return 1000 * (usage.ru_utime + usage.ru_stime), 1000 * wall


def one_round(runtime: Runtime, bundle: Bundle, name: str, times: dict[str, list[tuple[float, float]]]) -> None:
    """A life with every verb."""

    def do(verb: str, *args: str) -> None:
        times[verb].append(measure(runtime, *args))

    where = ("--bundle", str(bundle.path))
    bundle.args("sleep", "1000").save()
    do("create", "create", *where, name)
    do("start", "start", name)
    do("state", "state", name)
    do("exec", "exec", name, "true")
    do("pause", "pause", name)
    do("resume", "resume", name)
    do("kill", "kill", name, "KILL")
    while '"stopped"' not in runtime("state", name).stdout:
        time.sleep(0.001)
    do("delete", "delete", name)
    bundle.args("true").save()
    do("run", "run", *where, name)
    do("version", "--version")
    reap()


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def report(times: Times) -> None:
    for title, index in (("CPU ms", 0), ("wall ms", 1)):
        print(f"{title:<10}" + "".join([f"{name:>24}" for name in times]))
        for verb in VERBS:
            columns = {name: [pair[index] for pair in verbs[verb]] for name, verbs in times.items()}
            own = median(columns["wherry-runtime"])
            cells = []
            for name, values in columns.items():
                middle = median(values)
                ratio = "" if name == "wherry-runtime" else f"{own / middle:6.2f}x"
                cells.append(f"{middle:9.2f} ({min(values):.2f}){ratio}".rjust(24))
            print(f"{verb:<10}" + "".join(cells))
        print()


def hide_unified() -> None:
    """crun 1.8 does not work beside a hybrid hierarchy: all of us run where nobody sees its version 2 part."""
    unified = "/sys/fs/cgroup/unified"
    if os.path.ismount(unified):
        command = f'umount {unified}; exec "$0" "$@"'
        os.execvp("unshare", ["unshare", "-m", "sh", "-c", command, sys.executable, *sys.argv])


def main() -> None:
    hide_unified()
    place = Path(tempfile.mkdtemp(prefix="wherry-bench-"))
    make_rootfs(place / "template")
    runtimes: list[tuple[Runtime, Bundle]] = []
    for executable in (str(OURS), "crun", "runc"):
        name = Path(executable).name
        if shutil.which(executable):
            for part in ("root", "streams", "bundle"):
                (place / name / part).mkdir(parents=True)
            runtime = Runtime(executable, place / name / "root", place / name / "streams")
            runtime.prefix = [executable]
            runtimes.append((runtime, Bundle(place / name / "bundle", place / "template")))
    times: Times = {runtime.dialect: {verb: [] for verb in VERBS} for runtime, _ in runtimes}
    warm_up: dict[str, list[Any]] = {verb: [] for verb in VERBS}
    try:
        for number in range(ROUNDS + 1):
            for runtime, bundle in runtimes:
                one_round(runtime, bundle, f"bench{os.getpid()}", times[runtime.dialect] if number else warm_up)
    finally:
        shutil.rmtree(place)
    report(times)


if __name__ == "__main__":
    main()
