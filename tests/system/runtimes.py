"""Runtimes under test and containers driven through their command line.

Standard streams of a container are files, never pipes: a runtime that leaves may not keep a test waiting for
the end of a pipe that the container still holds.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .bundle import Bundle

# crun 1.8 takes a hybrid hierarchy for a pure v2 one; it works when it cannot see the v2 part.
CRUN = ("unshare", "-m", "sh", "-c", 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$0" "$@"')


@dataclass(frozen=True)
class Result:
    """How a command ended: status (128 + signal when killed), and what it and its container wrote."""

    command: Sequence[str]
    status: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return f"{' '.join(self.command)}\nstatus {self.status}\n{self.stdout}\n{self.stderr}"


class Runtime:
    """A runtime's command line with a state root of its own."""

    def __init__(self, executable: str, root: Path, scratch: Path) -> None:
        self.executable = executable
        self.dialect = Path(executable).name
        self.root = root
        self.scratch = scratch
        self.prefix = [*CRUN, executable] if self.dialect == "crun" else [executable]
        self.calls = 0

    def command(self, *args: str | os.PathLike[str]) -> list[str]:
        """The full argument vector, for tests that start it themselves."""
        return [*self.prefix, "--root", str(self.root), *map(str, args)]

    def __call__(
        self,
        *args: str | os.PathLike[str],
        check: bool = True,
        input: str = "",
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
        timeout_s: float = 60,
    ) -> Result:
        """Run one verb. With `check`, a status other than 0 fails the test and shows what was written."""
        self.calls += 1
        out, err, given = (self.scratch / f"{self.calls}.{name}" for name in ("out", "err", "in"))
        given.write_text(input)
        with out.open("wb") as stdout, err.open("wb") as stderr, given.open("rb") as stdin:
            process = subprocess.Popen(
                self.command(*args),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=None if env is None else os.environ | env,
                cwd=cwd,
                pass_fds=tuple(pass_fds),
            )
            status = _wait(process, timeout_s)
        result = Result(
            process.args,  # type: ignore[arg-type]
            status if status >= 0 else 128 - status,
            out.read_text(errors="replace"),
            err.read_text(errors="replace"),
        )
        assert not check or status == 0, f"failed: {result}"
        return result


class Container:
    """One container of a bundle. `stdout` and `stderr` name the files that its streams go to."""

    def __init__(self, runtime: Runtime, bundle: Bundle, container_id: str) -> None:
        self.runtime = runtime
        self.bundle = bundle
        self.id = container_id
        self.pid_file = bundle.path / f"{container_id}.pid"
        self.last: Result | None = None
        self._streams: tuple[Path, Path] | None = None

    # Verbs. `flags` stand before the id.

    def create(self, *flags: str, check: bool = True, **how: Any) -> Result:
        return self._start_with("create", flags, check=check, **how)

    def run(self, *flags: str, check: bool = True, **how: Any) -> Result:
        """`run`: in the foreground unless `--detach` is among the flags."""
        return self._start_with("run", flags, check=check, **how)

    def start(self, check: bool = True) -> Result:
        return self.runtime("start", self.id, check=check)

    def exec(self, *argv: str, flags: Sequence[str] = (), check: bool = True, **how: Any) -> Result:
        return self.runtime("exec", *flags, self.id, *argv, check=check, **how)

    def kill(self, sig: str | int = "KILL", *flags: str, check: bool = True) -> Result:
        return self.runtime("kill", *flags, self.id, str(sig), check=check)

    def delete(self, *flags: str, check: bool = True) -> Result:
        return self.runtime("delete", *flags, self.id, check=check)

    def state(self) -> dict[str, Any]:
        """The state document; fails the test if there is no such container."""
        return json.loads(self.runtime("state", self.id).stdout)

    # Looking at it.

    @property
    def exists(self) -> bool:
        return self.runtime("state", self.id, check=False).status == 0

    @property
    def status(self) -> str:
        return self.state()["status"]

    @property
    def pid(self) -> int:
        return self.state()["pid"]

    @property
    def stdout(self) -> str:
        """What the container (and the `create` or `run` that started it) wrote so far."""
        assert self._streams, "not started"
        return self._streams[0].read_text(errors="replace")

    @property
    def stderr(self) -> str:
        assert self._streams, "not started"
        return self._streams[1].read_text(errors="replace")

    def wait(self, status: str = "stopped", timeout_s: float = 20) -> None:
        """Wait for a status."""
        wait_until(lambda: self.status == status, timeout_s, f"{self.id} is {self.status}, not {status}")

    def output(self, script: str | None = None, *flags: str) -> str:
        """Run the bundle's command (or this shell script) to its end and give what it printed."""
        if script is not None:
            self.bundle.shell(script)
        return self.run(*flags).stdout

    def cgroups(self) -> list[Path]:
        """The container's control groups, in every hierarchy."""
        return cgroups_named(self.id)

    # Ending it.

    def clean_up(self) -> None:
        """Delete by force; a runtime that cannot must not spoil the next test."""
        reap()
        self.runtime("delete", "--force", self.id, check=False)
        reap()

    def _start_with(self, verb: str, flags: Sequence[str], *, check: bool, **how: Any) -> Result:
        self.bundle.save()
        paths = self.runtime.scratch, self.runtime.calls + 1
        self._streams = paths[0] / f"{paths[1]}.out", paths[0] / f"{paths[1]}.err"
        flags = ["--bundle", str(self.bundle.path), "--pid-file", str(self.pid_file), *flags]
        self.last = self.runtime(verb, *flags, self.id, check=check, **how)
        return self.last


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> int:
    """Its status. Meanwhile orphans are collected, as an engine does: a container only ends when all of its are."""
    deadline = time.monotonic() + timeout_s
    pidfd = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        while not poll.poll(20):
            reap()
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
                return -1
        return process.wait()
    finally:
        os.close(pidfd)


def default_runtime() -> str:
    """`WHERRY_TEST_RUNTIME`, else the runtime installed beside this interpreter."""
    return os.environ.get("WHERRY_TEST_RUNTIME") or str(Path(sys.executable).parent / "wherry-runtime")


def wait_until(condition: Any, timeout_s: float = 20, message: str = "condition did not become true") -> None:
    """Poll until `condition()` is true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, message
        reap()
        time.sleep(0.01)


def children() -> list[int]:
    """Our children, with the orphans that came to us as their subreaper."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended has none
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return found


def process_state(pid: int) -> str:
    """The state letter of /proc/PID/stat, or "" when the process is gone."""
    return _stat(pid)[0]


def reap() -> None:
    """Collect orphans that ended. They have a session of their own; what a test started has ours."""
    for pid in children():
        state, session = _stat(pid)
        if state == "Z" and session != os.getsid(0):
            with suppress(ChildProcessError):  # another thread was faster
                os.waitpid(pid, os.WNOHANG)


def kill_orphans() -> list[str]:
    """Kill children that a test left behind; gives their command lines."""
    reap()
    left = [pid for pid in children() if process_state(pid) not in ("", "Z")]
    names = [f"{pid} {Path(f'/proc/{pid}/cmdline').read_bytes().decode(errors='replace')!r}" for pid in left]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return names


def _stat(pid: int) -> tuple[str, int]:
    """State letter and session of a process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    return fields[0], int(fields[3])


def cgroups_named(part: str) -> list[Path]:
    """Directories of every control group hierarchy whose name contains `part`."""
    return [Path(folder, name) for folder, names, _ in os.walk("/sys/fs/cgroup") for name in names if part in name]


def remove_cgroups(part: str) -> None:
    """Remove what `cgroups_named` finds, with the groups below."""
    for top in cgroups_named(part):
        for folder, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()


def mounts_below(path: Path) -> list[str]:
    """Mount points at or below a path, in our mount namespace."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if f"{point}/".startswith(f"{path}/")]
