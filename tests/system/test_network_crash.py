"""Killed at any request to the kernel or write to the database, a network can be cleaned and used again."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import wherry

from .network_lab import Host, Lab, ping, talk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VICTIM = """
import os, sqlite3, sys
from wherry.network import namespaces
from wherry.network.addresses import SqliteLeases
from wherry.network.base import Netns
from wherry.network.bridge import BridgeDriver
from wherry.network.ports import parse_ports
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
driver = BridgeDriver(SqliteLeases(connection))
netns = Netns(fd=os.open(sys.argv[2], os.O_RDONLY))
ports = parse_ports("8080:80") + parse_ports("127.0.0.1:53:53/udp")
driver.attach(driver.ensure_default(), "victim", netns, ports=ports)
driver.detach("victim")
"""
CALLS = "sendto,pwrite64"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path) as lab:
        yield lab


def killed_at(lab: Lab, netns_path: Path, number: int) -> bool:
    """Attach and detach in a process that dies at its n-th call; False when it lived to the end."""
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={CALLS}"]
    command += ["-e", f"inject={CALLS}:signal=KILL:when={number}"]
    command += [sys.executable, "-S", "-c", VICTIM, str(lab.database), str(netns_path)]
    source = str(next(iter(wherry.__path__))).rpartition("/")[0]
    done = subprocess.run(command, env={"PYTHONPATH": source}, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -9, 137), done.stderr
    return done.returncode != 0


def test_killed_beside_a_running_container(lab: Lab) -> None:
    zero = lab.container("zero", "9090:90")
    before = lab.snapshot()
    number = 1
    while killed_at(lab, lab.box().path, number):
        lab.driver.reconcile({"zero"})
        assert lab.snapshot() == before, f"after a kill at call {number}"
        assert lab.driver.reconcile({"zero"}) == ()
        number += 1
    assert number > 10
    assert talk(Host(), ("127.0.0.1", 9090), zero, 90)


def test_killed_on_a_clean_host(lab: Lab) -> None:
    clean = lab.snapshot()
    number = 1
    while killed_at(lab, lab.box().path, number):
        next_one = lab.container("next", "8081:80")
        assert ping(next_one, next_one.attachment.addresses[0].gateway)
        assert talk(Host(), ("127.0.0.1", 8081), next_one, 80), f"after a kill at call {number}"
        lab.driver.reconcile(())
        lab.driver.remove_network("wherry")
        assert lab.snapshot() == clean, f"after a kill at call {number}"
        number += 1
    assert number > 20


RIVAL = """
import os, sqlite3, sys
from wherry.network.addresses import SqliteLeases
from wherry.network.base import Netns
from wherry.network.bridge import BridgeDriver
from wherry.network.ports import parse_ports
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
driver = BridgeDriver(SqliteLeases(connection))
netns = Netns(fd=os.open(sys.argv[2], os.O_RDONLY))
sys.stdin.read()
driver.attach(driver.ensure_default(), sys.argv[3], netns, ports=parse_ports("80"))
"""


def test_many_at_once_on_a_clean_host(lab: Lab) -> None:
    source = str(next(iter(wherry.__path__))).rpartition("/")[0]
    boxes = {f"c{number}": lab.box() for number in range(6)}
    rivals = [
        subprocess.Popen(
            [sys.executable, "-S", "-c", RIVAL, str(lab.database), str(box.path), name],
            env={"PYTHONPATH": source},
            stdin=subprocess.PIPE,
        )
        for name, box in boxes.items()
    ]
    for rival in rivals:
        assert rival.stdin is not None
        rival.stdin.close()
    assert [rival.wait() for rival in rivals] == [0] * len(rivals)
    attachments = lab.driver.attachments()
    assert len({item.addresses for item in attachments}) == len(boxes)
    for item in attachments:
        assert talk(Host(), ("127.0.0.1", item.ports[0].host_port), boxes[item.container_id], 80)


def test_ports_without_a_lease_are_withdrawn(lab: Lab) -> None:
    lab.container("zero", "9090:90")
    before = lab.snapshot()
    lab.container("one", "8080:80", "127.0.0.1:81:80")
    lab.leases.release("one")
    removed = lab.driver.reconcile({"zero"})
    assert sorted(removed) == [
        "interface wv0a570003 of one",
        "port 8080/tcp of one",
        "port 81/tcp of one",
    ]
    assert lab.snapshot() == before
