"""Which process is which: a pid alone can be someone else's tomorrow."""

from __future__ import annotations

import os


def boot_id() -> str:
    """The identifier of this boot."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat in clock ticks, 0 when the process is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def owner_token() -> str:
    """Who works on a record: boot, pid and start time of this process."""
    pid = os.getpid()
    return f"{boot_id()} {pid} {start_time(pid)}"


def owner_alive(token: str) -> bool:
    """Whether the process of `owner_token` still runs."""
    parts = token.split()
    return len(parts) == 3 and parts[0] == boot_id() and start_time(int(parts[1])) == int(parts[2]) != 0
