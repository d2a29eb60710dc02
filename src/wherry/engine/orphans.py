"""Monitors whose folder was wiped under them: a cleaner of /run or /tmp, an unmounted /run/user/UID.

Such a container can neither be seen nor be spoken to any more, so it is ended. Its monitor still holds the plan
and removes the control groups by itself once the container's process is dead.
"""

from __future__ import annotations

import os
import select
import signal
import time

from wherry.errors import DEADLINE, WherryError

PATIENCE_S = 10
ROUND_S = 0.05


def end_orphan(folder: str) -> None:
    """End the monitor that was started for `folder`, and its container, if there is one.

    A monitor that is over becomes the clean-up command, which waits for the caller's lock: that one may stay.
    Raises WherryError (deadline) when they do not end.
    """
    wanted = os.fsencode(os.path.abspath(folder))
    pid, descriptor = _find(wanted)
    if descriptor < 0:
        return
    try:
        deadline = time.monotonic() + PATIENCE_S
        while _is_monitor(str(pid), wanted):
            if select.select([descriptor], [], [], ROUND_S)[0]:
                return
            if time.monotonic() > deadline:
                raise WherryError(DEADLINE, f"the monitor (pid {pid}) does not leave", hint="end it", path=folder)
            for child in _children(pid):
                _kill(child, parent=pid)
    finally:
        os.close(descriptor)


def _find(folder: bytes) -> tuple[int, int]:
    """The monitor's pid and a descriptor of it, (0, -1) when there is none."""
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            if os.stat(f"/proc/{name}").st_uid != os.geteuid() or not _is_monitor(name, folder):
                continue
            descriptor = os.pidfd_open(int(name))
        except OSError:
            continue
        if _is_monitor(name, folder):  # still the same one, now that it is held
            return int(name), descriptor
        os.close(descriptor)
    return 0, -1


def _is_monitor(pid: str, folder: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
    except OSError:
        return False
    return words[1:2] == [b"@monitor"] and b"--dir" in words and words[words.index(b"--dir") + 1] == folder


def _children(parent: int) -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal() and _parent(int(name)) == parent]


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def _kill(pid: int, *, parent: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if _parent(pid) == parent:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        pass
    finally:
        os.close(descriptor)
