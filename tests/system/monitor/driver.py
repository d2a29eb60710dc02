"""A monitored container for tests: a bundle compiled to a plan, and the monitor's command line."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.engine.attach import Client, Output
from wherry.errors import WherryError
from wherry.runtime.compile.container import compile_container
from wherry.runtime.compile.exec import Target, compile_exec
from wherry.runtime.host import Host
from wherry.runtime.options import Options

from ..runtimes import Runtime, process_state, wait_until

if TYPE_CHECKING:
    from ..bundle import Bundle


class Monitored:
    """One container under a monitor. `folder` holds the monitor's files, `log` is its log file."""

    def __init__(self, runtime: Runtime, bundle: Bundle, place: Path, container_id: str) -> None:
        self.runtime = runtime
        self.bundle = bundle
        self.id = container_id
        self.folder = place / f"{container_id}-monitor"
        self.folder.mkdir()
        self.state_folder = runtime.root / container_id
        self.log = place / f"{container_id}.log"
        self.init = False
        self.preserve_fds = 0
        bundle.linux["cgroupsPath"] = f"/{container_id}"
        self.memory_cgroup = Path("/sys/fs/cgroup/memory") / container_id

    def options(self) -> Options:
        return Options(
            id=self.id,
            bundle=str(self.bundle.path),
            root=str(self.runtime.root),
            monitor=True,
            init=self.init,
            preserve_fds=self.preserve_fds,
        )

    def prepare(self) -> Path:
        """Make the runtime's state folder. Gives the plan's path."""
        self.state_folder.mkdir()
        plan = compile_container(self.bundle.config, Host.probe(), self.options()).encode()
        (self.state_folder / "plan").write_bytes(plan)
        (self.state_folder / "config.json").write_text(json.dumps(self.bundle.config))
        (self.state_folder / "lock").touch()
        return self.state_folder / "plan"

    def health_plan(self, *args: str) -> Path:
        """An exec plan that runs `args`; whom it is aimed at does not matter."""
        process = {"args": list(args), "cwd": "/", "env": self.bundle.process["env"], "user": {"uid": 0, "gid": 0}}
        target = Target(pid=os.getpid(), start_time=0, cgroup=f"/sys/fs/cgroup/memory/{self.id}")
        plan = compile_exec(process, self.bundle.config, Host.probe(), target, self.options())
        path = self.folder / "health.plan"
        path.write_bytes(plan.encode())
        return path

    def command(self, plan_fd: int, report_fd: int, *options: str | Path) -> list[str]:
        fixed = ["--root", self.runtime.root, "--id", self.id, "--dir", self.folder, "--report-fd", report_fd]
        return [self.runtime.executable, "@monitor", *map(str, [*fixed, *options, plan_fd])]

    def spawn(self, *options: str | Path) -> tuple[subprocess.Popen[bytes], int]:
        """The starter's child and the end of the report pipe to read."""
        plan_fd = os.open(self.prepare(), os.O_RDONLY)
        report, report_end = os.pipe()
        process = subprocess.Popen(
            self.command(plan_fd, report_end, *options),
            pass_fds=(plan_fd, report_end),
            stdin=subprocess.DEVNULL,
        )
        os.close(plan_fd)
        os.close(report_end)
        return process, report

    def create(self, *options: str | Path) -> str:
        """Create without starting; gives the first report line."""
        process, report = self.spawn(*options)
        assert process.wait(20) == 0
        with os.fdopen(report) as lines:
            return lines.readline().rstrip("\n")

    def start(self, *options: str | Path) -> list[str]:
        """Create and start; gives all report lines."""
        process, report = self.spawn("--detach-start", *options)
        assert process.wait(20) == 0
        with os.fdopen(report) as lines:
            return lines.read().splitlines()

    def run(self, *options: str | Path) -> dict[str, Any]:
        """Start, wait for the end, give the exit record."""
        report = self.start(*options)
        assert report[-1] == "started", report
        return self.wait()

    def log_options(self, driver: str = "k8s-file", *more: str) -> tuple[str, ...]:
        return ("--log-driver", driver, "--log-path", str(self.log), *more)

    # Looking at it.

    def read(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / name).read_text())

    @property
    def monitor_pid(self) -> int:
        return int((self.folder / "monitor.lock").read_text())

    @property
    def pid(self) -> int:
        return self.read("monitor.json")["containerPid"]

    @property
    def is_monitored(self) -> bool:
        """Whether a monitor holds its lock."""
        with (self.folder / "monitor.lock").open("r+") as lock:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def client(self) -> Client:
        return Client(str(self.folder))

    def wait(self) -> dict[str, Any]:
        """Wait until the monitor has left; the exit record."""
        wait_until(lambda: not self.is_monitored, message=f"monitor of {self.id} stays")
        return self.read("exit.json")

    def clean_up(self) -> None:
        """End whatever is left."""
        (self.folder / "stopped").touch()
        try:
            with self.client() as client:
                client.forbid_restart()
        except WherryError:
            pass
        self.runtime("delete", "--force", self.id, check=False)
        lock = self.folder / "monitor.lock"
        if lock.exists() and lock.read_text():
            wait_until(lambda: process_state(self.monitor_pid) in ("", "Z"), message=f"monitor of {self.id} stays")


def output_of(client: Client) -> bytes:
    """All output to the end of the connection."""
    return b"".join(event.data for event in client.events() if isinstance(event, Output))


def next_of(client: Client, kind: type) -> Any:
    """Skip to the next event of this kind."""
    for event in client.events():
        if isinstance(event, kind):
            return event
    raise AssertionError(f"the connection ended without {kind.__name__}")


def is_alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    return process_state(pid) not in ("", "Z")
