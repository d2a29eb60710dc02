from __future__ import annotations

import os
import subprocess

from wherry.network.base import PortMapping
from wherry.network.helper_process import Record, decode, end, is_alive, start_time

PORTS = (PortMapping(80, 8080), PortMapping(53, 53, "udp", "127.0.0.1"))


def test_record_survives() -> None:
    record = Record("one", "slirp4netns", "user", "eth0", PORTS, 123, 456)
    again = decode("one", record.encode())
    assert again.encode() == record.encode()
    assert again.ports == PORTS


def test_a_reused_process_id_is_not_the_helper() -> None:
    process = subprocess.Popen(["sleep", "60"])
    started = start_time(process.pid)
    end(process.pid, started + 1)
    assert process.poll() is None
    assert not is_alive(Record("one", "x", "user", "eth0", (), process.pid, started + 1))
    end(process.pid, started)
    assert start_time(process.pid) == 0
    process.wait()


def test_own_start_time() -> None:
    assert start_time(os.getpid()) > 0
