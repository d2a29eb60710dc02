"""Command lines of other engines, and their daemons.

Streams are files, never pipes: what an engine leaves running may hold them open.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.system.runtimes import Result, reap, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_S = 60


class Engine:
    """An engine's command line: its program, global options and environment."""

    def __init__(self, *prefix: str | os.PathLike[str], scratch: Path, env: dict[str, str] | None = None) -> None:
        self.prefix = [str(word) for word in prefix]
        self.scratch = scratch
        self.env = os.environ | (env or {})
        self.calls = 0

    def __call__(self, *args: object, check: bool = True, input: str = "", pass_fds: Sequence[int] = ()) -> Result:
        """Run a command to its end. With `check`, a status other than 0 fails the test and shows what was written."""
        return self.start(*args, input=input, pass_fds=pass_fds).end(check=check)

    def start(self, *args: object, input: str = "", pass_fds: Sequence[int] = ()) -> Running:
        """Start a command and come back while it runs."""
        self.calls += 1
        files = [self.scratch / f"{self.calls}.{name}" for name in ("in", "out", "err")]
        files[0].write_text(input)
        command = [*self.prefix, *map(str, args)]
        with files[0].open("rb") as stdin, files[1].open("wb") as stdout, files[2].open("wb") as stderr:
            streams = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
            # conmon leaves a file named oom in its working directory
            process = subprocess.Popen(command, **streams, env=self.env, pass_fds=tuple(pass_fds), cwd=self.scratch)
        return Running(process, command, files[1], files[2])

    def output(self, *args: object) -> str:
        """What a command printed, without the end of the line."""
        return self(*args).stdout.rstrip("\n")

    def terminal(self, *args: object, typed: str = "", rows: int = 24, columns: int = 80) -> Result:
        """Run a command with a terminal as its streams, and type this into it."""
        master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (rows, columns))
        command = [*self.prefix, *map(str, args)]
        process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=self.env, cwd=self.scratch)
        os.close(slave)
        os.write(master, typed.encode())
        shown = read_terminal(master, process)
        os.close(master)
        return Result(command, as_shell(process.wait()), shown, "")


class Running:
    """A command that was started."""

    def __init__(self, process: subprocess.Popen[bytes], command: list[str], stdout: Path, stderr: Path) -> None:
        self.process = process
        self.command = command
        self.stdout = stdout
        self.stderr = stderr

    def end(self, *, check: bool = True) -> Result:
        """Wait for its end; one that takes over `TIMEOUT_S` is killed and fails the test."""
        try:
            wait_until(lambda: self.process.poll() is not None, TIMEOUT_S, f"hangs: {self.command}")
        except AssertionError:
            self.process.kill()
            self.process.wait()
            raise
        status = as_shell(self.process.returncode)
        out, err = (path.read_text(errors="replace") for path in (self.stdout, self.stderr))
        result = Result(self.command, status, out, err)
        assert not check or status == 0, f"failed: {result}"
        return result


def with_etc(folder: Path, **files: str) -> list[str]:
    """Words before a command that then finds these files in /etc.

    Mounts on single files would go when the host's tools replace the file below.
    """
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    script = f'mount -t overlay -o lowerdir={folder}:/etc overlay /etc; exec "$0" "$@"'
    return ["unshare", "--mount", "sh", "-c", script]


def as_shell(status: int) -> int:
    """128 + n for signal n."""
    return status if status >= 0 else 128 - status


def read_terminal(master: int, process: subprocess.Popen[bytes]) -> str:
    """What is shown until every holder of the terminal has gone."""
    os.set_blocking(master, False)
    shown = b""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        ended = process.poll() is not None
        try:
            while data := os.read(master, 65536):
                shown += data
        except BlockingIOError:
            pass
        except OSError:  # EIO: nobody holds the other side
            ended = process.wait(TIMEOUT_S) is not None
        if ended:
            return shown.decode(errors="replace")
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise AssertionError(f"hangs: {process.args!r}; it showed {shown!r}")
        reap()
        time.sleep(0.01)


class Daemon:
    """A daemon of the tests' own, with its log in a file."""

    def __init__(self, command: Sequence[object], log: Path) -> None:
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen([str(word) for word in command], stdout=out, stderr=out)

    def wait_for(self, answers: Engine, *args: str) -> None:
        """Wait until a command of its client succeeds."""
        deadline = time.monotonic() + TIMEOUT_S
        while answers(*args, check=False).status:
            assert self.process.poll() is None, f"ended:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"does not answer:\n{self.log.read_text()}"
            time.sleep(0.1)

    def stop(self) -> None:
        """End it, and what it started."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def kill_users(place: Path) -> list[str]:
    """Kill the processes whose command line names a path below `place`; gives their command lines.

    Engines leave monitors and shims behind when their container is not removed.
    """
    found = []
    for folder in Path("/proc").glob("[1-9]*"):
        with suppress(OSError):
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if f"{place}/" in line and int(folder.name) != os.getpid():
                os.kill(int(folder.name), signal.SIGKILL)
                found.append(f"{folder.name} {line}")
    reap()
    return found


def python() -> str:
    """The name of this Python's folder of libraries."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}"
