"""Processes that carry the traffic of a container without privileges, and the records by which they are found.

One text file per container in the state folder: the process and when it started (so that a reused process id
is not taken for it), what it serves, and its ports. The folder lies where a reboot empties it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os

from wherry import errors
from wherry.errors import WherryError
from wherry.network.base import PortMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

READY_TIMEOUT_S = 10
_STOP_TIMEOUT_S = 2
_SUFFIX = ".helper"
_LAST_LINES = 3


class Record:
    """One helper: `pid` 0 while it is being started."""

    __slots__ = ("container_id", "interface", "network", "pid", "ports", "program", "start_time")

    def __init__(
        self,
        container_id: str,
        program: str,
        network: str,
        interface: str,
        ports: tuple[PortMapping, ...],
        pid: int = 0,
        start_time: int = 0,
    ) -> None:
        self.container_id = container_id
        self.program = program
        self.network = network
        self.interface = interface
        self.ports = ports
        self.pid = pid
        self.start_time = start_time

    def encode(self) -> str:
        lines = [f"{self.program} {self.pid} {self.start_time} {self.interface} {self.network}"]
        lines += [f"{port.protocol} {port.container_port} {port.host_port} {port.host_ip}" for port in self.ports]
        return "\n".join(lines) + "\n"


def decode(container_id: str, text: str) -> Record:
    head, *lines = text.splitlines()
    program, pid, start_time, interface, network = head.split(" ", 4)
    fields = (line.split(" ", 3) for line in lines)
    ports = tuple(PortMapping(int(inner), int(outer), kind, ip) for kind, inner, outer, ip in fields)
    return Record(container_id, program, network, interface, ports, int(pid), int(start_time))


class Helpers:
    """The helpers whose records lie in one folder."""

    __slots__ = ("folder",)

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def path(self, container_id: str, suffix: str = _SUFFIX) -> str:
        return f"{self.folder}/{container_id}{suffix}"

    def save(self, record: Record) -> None:
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        temporary = self.path(record.container_id, ".new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, record.encode().encode())
        finally:
            os.close(fd)
        os.rename(temporary, self.path(record.container_id))

    def find(self, container_id: str) -> Record | None:
        try:
            with open(self.path(container_id), encoding="utf-8") as file:
                return decode(container_id, file.read())
        except FileNotFoundError:
            return None

    def all(self) -> Iterator[Record]:
        try:
            names = sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return
        for name in names:
            if name.endswith(_SUFFIX):
                record = self.find(name.removesuffix(_SUFFIX))
                if record is not None:
                    yield record

    def stop(self, container_id: str) -> None:
        """End a container's helper and forget it; may be repeated."""
        record = self.find(container_id)
        if record is None:
            return
        if record.pid:
            end(record.pid, record.start_time)
        else:
            self.stop_lost(container_id, record.program)
        for suffix in (".sock", ".log", ".pid", ".new", _SUFFIX):
            try:
                os.unlink(self.path(container_id, suffix))
            except FileNotFoundError:
                continue

    def stop_lost(self, container_id: str, *programs: str) -> None:
        """End helpers whose number was never written down, or was lost with the folder."""
        for pid in _unrecorded(container_id, programs):
            end(pid, start_time(pid))

    def log_tail(self, container_id: str) -> str:
        try:
            with open(self.path(container_id, ".log"), encoding="utf-8", errors="replace") as file:
                return "; ".join(file.read().strip().splitlines()[-_LAST_LINES:])
        except FileNotFoundError:
            return ""


def _unrecorded(container_id: str, programs: Sequence[str]) -> Iterator[int]:
    """Find helpers of a container by their arguments."""
    mark = f"/{container_id}.".encode()  # in the names of its files, whichever way the folder is named
    endings = tuple([program.encode() for program in programs])
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                arguments = file.read().split(b"\0")
        except OSError:
            continue
        if arguments[0].endswith(endings) and any(mark in argument for argument in arguments):
            yield int(name)


def spawn(program: str, arguments: Sequence[str], log_path: str, keep_fds: Sequence[int]) -> int:
    """Start a helper in a session of its own, its words in a log, with `keep_fds` open; return its id."""
    null, log_flags = "/dev/null", os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, null, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log_path, log_flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    # A duplicate onto itself only clears the flag that would close it.
    actions += [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in keep_fds]
    try:
        # Python ignores SIGPIPE, which pasta takes for a failure to set up its own handling.
        return os.posix_spawn(
            program,
            [program, *arguments],
            dict(os.environ),
            file_actions=actions,
            setsigdef=(_signal.SIGPIPE, _signal.SIGXFSZ),
            setsid=True,
        )
    except OSError as error:
        raise WherryError(errors.FAILED_PRECONDITION, f"cannot start {program}: {error.strerror}")


def start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 when it is gone or only waits for its parent."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] == "Z" else int(fields[19])


def is_alive(record: Record) -> bool:
    return bool(record.pid) and start_time(record.pid) == record.start_time != 0


def end(pid: int, started: int) -> None:
    """Ask a process to end, and make it; nothing happens when the id belongs to another process by now."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if start_time(pid) == started:
            _terminate(pidfd)
    finally:
        os.close(pidfd)
    _reap(pid)


def _terminate(pidfd: int) -> None:
    for number in (_signal.SIGTERM, _signal.SIGKILL):
        try:
            _signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            return
        if _is_readable(pidfd, _STOP_TIMEOUT_S):
            return


def wait_ready(ready_fd: int, pid: int) -> bool:
    """Wait for the helper's byte; False when it ended, or took too long."""
    if not _is_readable(ready_fd, READY_TIMEOUT_S):
        return False
    if os.read(ready_fd, 1):
        return True
    _reap(pid)
    return False


def _is_readable(fd: int, timeout_s: float) -> bool:
    import select

    return bool(select.select([fd], [], [], timeout_s)[0])


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # somebody else's child
