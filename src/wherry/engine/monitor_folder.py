"""The folder in which a container's monitor says what it does: `<run root>/containers/<id>`."""

from __future__ import annotations

import os
import time

from wherry.errors import DEADLINE, WherryError
from wherry.oci.json_text import loads

PATIENCE_S = 15  # a monitor itself waits 10 s for a client that reads slowly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class MonitorFolder:
    """Reads the monitor's files; the only file written here is `stopped`."""

    __slots__ = ("path",)

    def __init__(self, run_root: str, container_id: str) -> None:
        self.path = os.path.join(run_root, "containers", container_id)

    def make(self) -> None:
        """Make the folder, without what an earlier life of the container left in it."""
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        self._clear()

    def remove(self) -> None:
        """Remove the folder, once its monitor has left; a missing one is no error.

        Raises WherryError (deadline) when the monitor of a container that is over does not leave.
        """
        self.await_end_of_monitor()
        try:
            self._clear()
            os.rmdir(self.path)
        except FileNotFoundError:
            pass

    def await_end_of_monitor(self) -> None:
        """Wait until the monitor has written its last word. Raises WherryError (deadline)."""
        deadline = time.monotonic() + PATIENCE_S
        while self.monitor_pid():
            if time.monotonic() > deadline:
                raise WherryError(
                    DEADLINE, f"the monitor (pid {self.monitor_pid()}) does not leave", hint="end it", path=self.path
                )
            time.sleep(0.002)  # a record lock can be waited for, but not with a deadline

    def _clear(self) -> None:
        for name in os.listdir(self.path):
            os.unlink(os.path.join(self.path, name))

    @property
    def health_plan(self) -> str:
        """The exec plan of the health check, written by the engine once the container is created."""
        return os.path.join(self.path, "health.plan")

    def monitor_pid(self) -> int:
        """The monitor's pid while it holds its lock, else 0."""
        import fcntl

        try:
            descriptor = os.open(os.path.join(self.path, "monitor.lock"), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.read(descriptor, 32) or b"0")
        finally:
            os.close(descriptor)
        return 0

    def forbid_restart(self) -> None:
        """Leave the mark that ends the restart policy."""
        os.close(os.open(os.path.join(self.path, "stopped"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def exit_record(self) -> dict[str, Any] | None:
        """The last exit, None when the container has not ended yet."""
        return self._read("exit.json")

    def live_record(self) -> dict[str, Any] | None:
        """The monitor's own account: containerPid, status, startedAt, restarts."""
        return self._read("monitor.json")

    def health_record(self) -> dict[str, Any] | None:
        """The last health checks, None without any."""
        return self._read("health.json")

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            with open(os.path.join(self.path, name), "rb") as file:
                record: dict[str, Any] = loads(file.read())
        except FileNotFoundError:
            return None
        return record
