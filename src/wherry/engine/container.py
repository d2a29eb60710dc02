"""One container, as a value to act on."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # the public module loads enum
import os

from wherry.errors import FAILED_PRECONDITION, INTERNAL, INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE, WherryError
from wherry.oci.json_text import loads

from . import records
from .monitor_folder import MonitorFolder
from .processes import boot_id

KILL_PATIENCE_S = 10

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from .attach import Client, Exit
    from .engine import Engine
    from .execution import ExecResult
    from .launch import Report
    from .logs import LogLine
    from .records import Record


class Container:
    """A container of an engine. Facts are read anew at each call; nothing is cached but the record."""

    __slots__ = ("_engine", "_record")

    def __init__(self, engine: Engine, record: Record) -> None:
        self._engine = engine
        self._record = record

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return self._record.id

    @property
    def name(self) -> str:
        """The unique name."""
        return self._record.name

    @property
    def record(self) -> Record:
        """The database's row as it was when this value was made (or `reload`ed)."""
        return self._record

    @property
    def folder(self) -> MonitorFolder:
        """The monitor's folder."""
        return MonitorFolder(self._engine.run_root, self.id)

    def facts(self) -> dict[str, Any]:
        """What every start needs: network, ports, restart policy … (see `document.launch_facts`)."""
        facts: dict[str, Any] = loads(self._record.launch)
        return facts

    def config(self) -> dict[str, Any]:
        """The OCI runtime document."""
        with open(os.path.join(self._engine.folder(self.id), "config.json"), "rb") as file:
            config: dict[str, Any] = loads(file.read())
        return config

    def reload(self) -> None:
        """Read the record again. Raises WherryError (not found) when the container is gone."""
        self._record = self._engine.records.find(self.id)

    # Looking

    def pid(self) -> int:
        """Host pid of the container's first process, 0 when none runs."""
        from .processes import start_time

        state = os.path.join(self._engine.run_root, "runtime", self.id, "state.json")
        try:
            with open(state, "rb") as file:
                known = loads(file.read())
        except FileNotFoundError:
            return 0
        pid = int(known["pid"])
        return pid if start_time(pid) == known["startTime"] != 0 else 0

    def status(self) -> str:
        """The docker word for it: created, running, paused, restarting, exited or removing."""
        state = self._record.state
        if state != records.STARTED:
            return "created" if state == records.CREATING else state
        if self._record.boot != boot_id():
            return "exited"
        live = self.folder.live_record() or {}
        status = str(live.get("status", "created"))
        if status == "restarting" and self.folder.monitor_pid():
            return status
        if self.pid() == 0:
            return "exited" if status != "created" else "created"
        return self._frozen() or ("created" if status == "created" else "running")

    def _frozen(self) -> str:
        from wherry.plan.meta import read_meta
        from wherry.runtime.state_folder import is_frozen

        try:
            with open(os.path.join(self._engine.run_root, "runtime", self.id, "plan"), "rb") as file:
                facts = read_meta(file.read())
        except FileNotFoundError:  # removed since its pid was read
            return ""
        return "paused" if is_frozen(facts.get("freezer", "")) else ""

    def inspect(self) -> dict[str, Any]:
        """What docker's `inspect` shows."""
        from .inspect import inspect_container

        self.reload()
        return inspect_container(self._engine, self)

    # Starting

    def start(self, *, remove_on_failure: bool = False) -> None:
        """Start the container; one that runs already is left alone. Raises StartFailed (126, 127)."""
        try:
            self._start()
        except BaseException:
            if remove_on_failure:
                self.remove(force=True)
            raise

    def _start(self) -> None:
        checked = "health" in self.facts()  # the check's plan must be there before the monitor starts anything
        report = self.launch(attached=checked)
        if report is None:
            return
        try:
            if checked:
                with self.attach() as client:
                    client.start()
            report.expect("started")
        finally:
            report.close()

    def launch(self, *, attached: bool) -> Report | None:
        """Create the container under a monitor; None when it runs already.

        When `attached` it waits for a client's START, else it starts at once.
        """
        descriptor = self._engine.lock(self.id)
        try:
            self.reload()
            if self._record.state == records.STARTED:
                if self.status() != "exited":
                    return None
                self._engine.fold(self._record)
            report = self._engine.launch(self._record, attached=attached)
            self.reload()
            return report
        finally:
            os.close(descriptor)

    def attach(self) -> Client:
        """A connection to the monitor. Raises WherryError (failed precondition) when there is none."""
        from .attach import Client

        try:
            return Client(self.folder.path)
        except WherryError as error:
            if error.code not in (NOT_FOUND, UNAVAILABLE):
                raise
            raise WherryError(FAILED_PRECONDITION, f"container {self.name} is not running") from error

    # Ending

    def kill(self, signal_name: str | int = "KILL") -> None:
        """Send a signal to the first process. Raises WherryError (failed precondition) when it is not running."""
        number = signal_number(signal_name)
        pid = self.pid()
        if pid == 0:
            raise WherryError(FAILED_PRECONDITION, f"container {self.name} is not running")
        if number in (signal.SIGKILL, signal.SIGTERM):
            self.folder.forbid_restart()
        from wherry.runtime.api import Runtime

        Runtime(os.path.join(self._engine.run_root, "runtime")).kill(self.id, number)

    def stop(self, *, timeout_s: float | None = None) -> None:
        """Ask the first process to end (the image's stop signal), kill it after `timeout_s` (default 10)."""
        self.reload()
        status = self.status()
        if status not in ("running", "paused", "restarting"):
            return
        if status == "paused":  # it could not even be killed
            from wherry.runtime.api import Runtime

            Runtime(os.path.join(self._engine.run_root, "runtime")).resume(self.id)
        facts = self.facts()
        patience_s = facts["stopTimeout"] if timeout_s is None else timeout_s
        self.folder.forbid_restart()
        ended = self._end(signal_number(facts["stopSignal"]), patience_s) or self._end(signal.SIGKILL, KILL_PATIENCE_S)
        if not ended:
            raise WherryError(
                INTERNAL,
                f"container {self.name} did not end {KILL_PATIENCE_S} s after SIGKILL",
                hint="a process hangs in the kernel",
            )
        self.settle()

    def _end(self, number: int, patience_s: float) -> bool:
        """Send a signal, by the monitor if it lives, and wait for the end of the container."""
        if self.folder.monitor_pid():
            with self.attach() as client:
                client.forbid_restart()
                client.kill(number)
                if await_exit(client, timeout_s=patience_s) is not None:
                    return True
            return self.pid() == 0  # its monitor still waits for who reads its output slowly
        pid = self.pid()
        return pid == 0 or _end_process(pid, number, patience_s)

    def wait(self) -> int:
        """Wait for the end; the exit status, 128 + n for a signal, 255 when it was not observed."""
        self.reload()
        if self._record.state == records.STARTED:
            try:
                with self.attach() as client:
                    await_exit(client)
            except WherryError as error:
                if error.code != FAILED_PRECONDITION:
                    raise
            self.settle()
        return self._record.exit_code

    def settle(self, *, remove: bool = False) -> None:
        """Fold the end of the container into its record, if it is over; then forget it, with `remove`."""
        descriptor = self._engine.lock(self.id)
        try:
            record = self._engine.records.get(self.id)
            if record is None:
                return
            if record.state == records.STARTED and self.status() == "exited":
                self._engine.fold(record, durable=not remove)
            self._record = self._engine.records.get(self.id) or record
            if remove and self._record.state == records.EXITED:
                self._engine.discard(self.id)
        finally:
            os.close(descriptor)

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove a container that does not run, or any with `force`."""
        descriptor = self._engine.lock(self.id)
        try:
            record = self._engine.records.get(self.id)
            if record is None:
                return
            self._record = record
            status = self.status()
            if status in ("running", "paused", "restarting") and not force:
                raise WherryError(
                    FAILED_PRECONDITION,
                    f"container {self.name} is {status}",
                    hint=f"stop it first, or: wherry rm -f {self.name}",
                )
            self.folder_forbid()
            self._engine.discard(self.id)
        finally:
            os.close(descriptor)

    def folder_forbid(self) -> None:
        """Keep a live monitor from restarting what is about to be removed."""
        if os.path.isdir(self.folder.path):
            self.folder.forbid_restart()

    # Using

    def exec(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: str = "",
        working_dir: str = "",
        input: bytes = b"",
        privileged: bool = False,
    ) -> ExecResult:
        """Run a command inside and collect its output. See `execution.ExecRequest` for terminals and streams."""
        from .execution import ExecRequest

        return ExecRequest(command, env=env, user=user, working_dir=working_dir, privileged=privileged).run(
            self._engine, self, input=input
        )

    def logs(self, *, follow: bool = False, tail: int = -1) -> Iterator[LogLine]:
        """Lines the container wrote, oldest first; `follow` goes on until it ends."""
        from .logs import read_logs

        return read_logs(self._engine, self, follow=follow, tail=tail)


def _end_process(pid: int, number: int, patience_s: float) -> bool:
    import select

    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        signal.pidfd_send_signal(descriptor, number)
        return bool(select.select([descriptor], [], [], patience_s)[0])
    except ProcessLookupError:
        return True
    finally:
        os.close(descriptor)


def await_exit(client: Client, *, timeout_s: float | None = None) -> Exit | None:
    """Wait for the end for good; None when the time is up or the monitor went away without a word."""
    import select
    import time

    from .attach import Exit

    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        if deadline is not None and not client.pending():
            left_s = max(deadline - time.monotonic(), 0)
            if not select.select([client], [], [], left_s)[0]:
                return None
        event = client.receive()
        if event is None or (isinstance(event, Exit) and event.final):
            return event


def signal_number(text: str | int) -> int:
    """The number of `KILL`, `SIGKILL`, `9` or 9. Raises WherryError (invalid argument)."""
    if isinstance(text, int):
        return text
    if text.isdecimal() and 0 < int(text) < 65:
        return int(text)
    name = text.upper()
    name = name if name.startswith("SIG") else "SIG" + name
    if name.startswith("SIGRTMIN+") and name[9:].isdecimal():
        return int(signal.SIGRTMIN) + int(name[9:])
    number = getattr(signal, name, None)
    if number is None or name.startswith("SIG_"):
        raise WherryError(INVALID_ARGUMENT, f"signal {text!r} is unknown", hint="see signal(7)")
    return int(number)
