"""`wherry-runtime` against runc and crun: every verb, in one alternating run.

.venv/bin/python bench/bench_runtime.py [ROUNDS]
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from harness import Contender, Samples, alternate, report

OURS = "wherry-runtime"
RUNTIMES = {OURS: str(Path(__file__).parents[1] / ".venv/bin/wherry-runtime"), "runc": "runc", "crun": "crun"}


def without_unified() -> None:
    """Debian's crun refuses the hybrid layout: start again where the v2 mount is gone, all three alike."""
    if os.path.ismount("/sys/fs/cgroup/unified") and "WHERRY_BENCH_INSIDE" not in os.environ:
        os.environ["WHERRY_BENCH_INSIDE"] = "1"
        script = 'umount /sys/fs/cgroup/unified; exec "$@"'
        os.execvp("unshare", ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, *sys.argv])


def make_bundle(place: Path) -> Path:
    """A busybox root and runc's default document, with `sleep` or `true` as command."""
    bundle = place / "bundle"
    (bundle / "rootfs/bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", bundle / "rootfs/bin/busybox")
    for applet in ("true", "sleep", "sh"):
        (bundle / f"rootfs/bin/{applet}").symlink_to("busybox")
    subprocess.run(["runc", "spec"], cwd=bundle, check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    config["process"].pop("rlimits", None)  # raising limits needs a privilege this host may lack
    for name, args in {"true": ["/bin/true"], "sleep": ["/bin/sleep", "1000"]}.items():
        config["process"]["args"] = args
        config["root"]["path"] = str(bundle / "rootfs")
        folder = place / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
    return place


class Bench:
    """Contenders for each verb; ids differ by runtime and round."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def base(self, name: str) -> list[str]:
        return [RUNTIMES[name], "--root", str(self.place / f"root-{name}")]

    def quietly(self, name: str, *words: str) -> None:
        null = subprocess.DEVNULL
        subprocess.run([*self.base(name), *words], stdin=null, stdout=null, stderr=null, check=False)

    def contenders(self, words: Callable[[str], list[str]], *, before: tuple[str, ...] = ()) -> list[Contender]:
        def make(name: str) -> Contender:
            def prepare(number: int) -> None:
                container = f"b{number}"
                if "create" in before:
                    self.quietly(name, "create", "--bundle", str(self.place / "sleep"), container)
                if "start" in before:
                    self.quietly(name, "start", container)
                if "kill" in before:
                    self.quietly(name, "kill", container, "KILL")
                    time.sleep(0.05)  # a killed process takes its time to go

            def clean(number: int) -> None:
                self.quietly(name, "delete", "--force", f"b{number}")

            return Contender(name, lambda number: [*self.base(name), *words(f"b{number}")], prepare, clean)

        return [make(name) for name in RUNTIMES]

    def run(self, rounds: int) -> None:
        true, sleep = str(self.place / "true"), str(self.place / "sleep")
        cases: list[tuple[str, list[Contender], dict[str, float]]] = [
            ("run /bin/true", self.contenders(lambda c: ["run", "--bundle", true, c]), {"runc": 0.65}),
            ("create", self.contenders(lambda c: ["create", "--bundle", sleep, c]), {}),
            ("start", self.contenders(lambda c: ["start", c], before=("create",)), {"crun": 0.6}),
            ("state", self.contenders(lambda c: ["state", c], before=("create",)), {"crun": 0.6}),
            (
                "exec true",
                self.contenders(lambda c: ["exec", c, "/bin/true"], before=("create", "start")),
                {"runc": 0.9},
            ),
            ("kill KILL", self.contenders(lambda c: ["kill", c, "KILL"], before=("create", "start")), {"crun": 0.6}),
            ("delete", self.contenders(lambda c: ["delete", c], before=("create", "start", "kill")), {"crun": 0.6}),
        ]
        totals: dict[str, Samples] = {name: Samples() for name in RUNTIMES}
        for title, contenders, bounds in cases:
            results = alternate(contenders, rounds)
            report(title, results, OURS, bounds)
            if title in ("create", "start", "kill KILL", "delete"):
                for name, samples in results.items():
                    cpu_ms, wall_ms = samples.median_ms()
                    totals[name].cpu_s.append(cpu_ms / 1000)
                    totals[name].wall_s.append(wall_ms / 1000)
        summed = {n: Samples([sum(s.cpu_s)], [sum(s.wall_s)]) for n, s in totals.items()}
        report("create + start + kill + delete (sum of medians)", summed, OURS, {"runc": 0.7, "crun": 1.1})


def main() -> None:
    without_unified()
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    # State belongs on a tmpfs, as /run is; files on a disk would measure its file system.
    with tempfile.TemporaryDirectory(prefix="wherry-bench-", dir="/dev/shm") as folder:
        Bench(make_bundle(Path(folder))).run(rounds)


if __name__ == "__main__":
    main()
