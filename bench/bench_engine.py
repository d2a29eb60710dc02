"""`wherry` against podman and docker: the everyday commands, in one alternating run.

.venv/bin/python bench/bench_engine.py [ROUNDS]

For `run --rm` the CPU time is that of the whole tree: the command and the monitor, conmon, runtime and clean-up
processes that it leaves behind. docker's work is done by a daemon that no such account contains: its CPU time is
that of the client (and of the shim, for `run`), its wall time is comparable. podman runs runc, as
the others of Debian do. Needs root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness import Contender, Samples, alternate, report

OURS = "wherry"
PODMAN, DOCKER = "podman", "docker (client only)"
IMAGE = "localhost/bench:latest"
LISTED = 20
CROWD = 50
DAEMON_PATIENCE_S = 30
# A host without the privilege to raise limits lets nobody ask for more than this.
LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class Tool:
    """One engine: its command line up to the verb, and what its `run` needs besides."""

    def __init__(self, name: str, base: Sequence[str], run: Sequence[str] = ()) -> None:
        self.name = name
        self.base = list(base)
        self.run_flags = list(run)

    def __call__(self, *words: str) -> list[str]:
        return [*self.base, *words]

    def run(self, *words: str) -> list[str]:
        return [*self.base, "run", *self.run_flags, *words]

    def quietly(self, *words: str) -> None:
        subprocess.run(self(*words), check=True, **QUIET)  # type: ignore[call-overload]

    def removal(self, names: Sequence[str]) -> list[str]:
        """At once: podman asks first and waits."""
        return self("rm", "-f", *(["-t", "0"] if self.name == PODMAN else []), *names)

    def start(self, name: str, *flags: str) -> None:
        subprocess.run(
            self.run("-d", "--name", name, "--network", "none", *flags, IMAGE, "sleep", "1000"), check=True, **QUIET
        )  # type: ignore[call-overload]


def make_image(place: Path) -> Path:
    """A tarball with a static busybox."""
    root = place / "root"
    for folder in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        (root / folder).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for applet in ("true", "sleep", "sh"):
        (root / "bin" / applet).symlink_to("busybox")
    with tarfile.open(place / "image.tar", "w") as archive:
        archive.add(root, ".")
    return place / "image.tar"


@contextmanager
def dockerd(place: Path) -> Iterator[Tool | None]:
    """A daemon of our own, without networks; None where docker is not installed."""
    if not shutil.which("dockerd"):
        yield None
        return
    socket = place / "docker.sock"
    folders = ["--data-root", place / "docker", "--exec-root", place / "docker-run", "--pidfile", place / "docker.pid"]
    command = ["dockerd", "-H", f"unix://{socket}", *folders, "--bridge=none", "--iptables=false", "--ip6tables=false"]
    with open(place / "dockerd.log", "w") as log:
        daemon = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    tool = Tool(DOCKER, ["docker", "-H", f"unix://{socket}"], LIMITS)
    try:
        deadline = time.monotonic() + DAEMON_PATIENCE_S
        while subprocess.run(tool("version"), check=False, **QUIET).returncode:  # type: ignore[call-overload]
            if time.monotonic() > deadline or daemon.poll() is not None:
                raise SystemExit("dockerd does not start:\n" + (place / "dockerd.log").read_text()[-2000:])
            time.sleep(0.1)
        yield tool
    finally:
        daemon.terminate()
        daemon.wait()


class Bench:
    def __init__(self, tools: Sequence[Tool], rounds: int) -> None:
        self.tools = list(tools)
        self.rounds = rounds
        self.daemonless = [tool for tool in tools if tool.name != DOCKER]

    def compare(self, title: str, contenders: Sequence[Contender], bounds: dict[str, float] | None = None) -> None:
        report(title, alternate(contenders, self.rounds), OURS, bounds)

    def run_and_remove(self) -> None:
        def contender(tool: Tool, *flags: str) -> Contender:
            command = tool.run("--rm", *flags, IMAGE, "true")
            return Contender(tool.name, lambda number: command, tree=True)

        none = [contender(tool, "--network", "none") for tool in self.tools]
        self.compare("run --rm --network none IMAGE true (whole tree)", none, {PODMAN: 0.4})
        bridge = [contender(tool) for tool in self.daemonless]
        self.compare("run --rm IMAGE true, default bridge (whole tree)", bridge, {PODMAN: 0.25})

    def look_into_running(self) -> None:
        for tool in self.tools:
            for number in range(LISTED):
                tool.start(f"listed{number}")
        self.compare("exec NAME true", [self._fixed(tool, "exec", "listed0", "true") for tool in self.tools])
        self.compare(f"ps, {LISTED} containers", [self._fixed(tool, "ps") for tool in self.tools])
        for tool in self.tools:
            names = [f"listed{number}" for number in range(LISTED)]
            subprocess.run(tool.removal(names), check=True, **QUIET)  # type: ignore[call-overload]

    def _fixed(self, tool: Tool, *words: str) -> Contender:
        command = tool(*words)
        return Contender(tool.name, lambda number: command)

    def crowd(self) -> None:
        """Many at once: the wall time until every command has returned, and that of removing all."""
        starts = {tool.name: Samples() for tool in self.tools}
        removals = {tool.name: Samples() for tool in self.tools}
        names = [f"crowd{number}" for number in range(CROWD)]
        for _ in range(max(1, self.rounds // 7)):
            for tool in self.tools:
                self._timed(starts[tool.name], [self._detached(tool, name) for name in names])
                self._timed(removals[tool.name], [tool.removal(names)])
        report(f"{CROWD} x run -d --network none, all at once", starts, OURS)
        report(f"rm -f of {CROWD} running", removals, OURS)

    def _detached(self, tool: Tool, name: str) -> list[str]:
        return tool.run("-d", "--name", name, "--network", "none", IMAGE, "sleep", "1000")

    def _timed(self, samples: Samples, commands: Sequence[Sequence[str]]) -> None:
        before, begin = os.times(), time.monotonic()
        running = [subprocess.Popen(command, **QUIET) for command in commands]  # type: ignore[call-overload]
        failed = sum(process.wait() != 0 for process in running)
        after = os.times()
        if failed:
            raise SystemExit(f"{failed} of {len(commands)} failed: {' '.join(commands[0])}")
        samples.wall_s.append(time.monotonic() - begin)
        used = after.children_user + after.children_system - before.children_user - before.children_system
        samples.cpu_s.append(used)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    ours = str(Path(__file__).parents[1] / ".venv/bin/wherry")
    place = Path(tempfile.mkdtemp(prefix="wherry-bench-"))
    folders = {name: str(place / name) for name in ("wherry", "wherry-run", "podman", "podman-run")}
    podman = ["podman", "--root", folders["podman"], "--runroot", folders["podman-run"]]
    tools = [
        Tool(OURS, [ours, "--root", folders["wherry"], "--run-root", folders["wherry-run"]]),
        Tool(PODMAN, [*podman, "--cgroup-manager", "cgroupfs", "--runtime", "runc"], LIMITS),
    ]
    try:
        with dockerd(place) as docker:
            tools += [docker] if docker else []
            image = make_image(place)
            for tool in tools:
                tool.quietly("import", str(image), IMAGE)
            bench = Bench(tools, rounds)
            bench.run_and_remove()
            bench.look_into_running()
            bench.crowd()
    finally:
        subprocess.run([*podman, "system", "reset", "--force"], check=False, **QUIET)  # type: ignore[call-overload]
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
