"""Notice when the kernel kills processes of a container for want of memory."""

from __future__ import annotations

import os
import select

from wherry.errors import FAILED_PRECONDITION, WherryError
from wherry.runtime.cgroup.container import Groups
from wherry.runtime.cgroup.layout import read_text


class OomWatch:
    """Waits for out-of-memory events of a container, and for its end. Close it, or use it in `with`."""

    __slots__ = ("_directory", "_fds", "_kills", "_poll", "_version")

    def __init__(self, groups: Groups) -> None:
        """Raises WherryError when the container has no memory group."""
        self._directory = groups.directory("memory")
        self._version = groups.version("memory")
        self._fds: list[int] = []
        self._poll = select.poll()
        if not self._directory or not os.path.isdir(self._directory):
            raise WherryError(FAILED_PRECONDITION, "the container has no memory control group to watch")
        if self._version == 1:
            self._watch_v1()
        else:
            self._watch_v2()
        self._kills = self._count()

    def __enter__(self) -> OomWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop watching."""
        while self._fds:
            os.close(self._fds.pop())

    def wait(self, timeout_s: float | None = None) -> str:
        """What came first: "oom", "gone" (the group was removed, or is empty), or the end of the time ("")."""
        ready = self._poll.poll(None if timeout_s is None else int(timeout_s * 1000))
        for fd, _ in ready:
            if self._version == 1:
                os.eventfd_read(fd)
            else:
                os.pread(fd, 4096, 0)
        if not os.path.isdir(self._directory):
            return "gone"
        kills = self._count()
        if kills > self._kills or (ready and self._version == 1):
            self._kills = kills
            return "oom"
        populated = self._version == 1 or "populated 1" in read_text(f"{self._directory}/cgroup.events")
        return "" if populated else "gone"

    def _watch_v1(self) -> None:
        event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._fds.append(event)
        control = os.open(f"{self._directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        self._fds.append(control)
        registration = os.open(f"{self._directory}/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(registration, f"{event} {control}".encode())
        finally:
            os.close(registration)
        self._poll.register(event, select.POLLIN)

    def _watch_v2(self) -> None:
        for file in ("memory.events", "cgroup.events"):
            fd = os.open(f"{self._directory}/{file}", os.O_RDONLY | os.O_CLOEXEC)
            self._fds.append(fd)
            os.pread(fd, 4096, 0)
            self._poll.register(fd, select.POLLPRI)

    def _count(self) -> int:
        file = "memory.oom_control" if self._version == 1 else "memory.events"
        for line in read_text(f"{self._directory}/{file}").split("\n"):
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
        return 0
