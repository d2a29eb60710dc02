"""A network of namespaces for tests: a host of its own, containers on it, and a machine outside.

The test's thread lives in the host's namespace, so sockets, `ip` and `nft` all see that host. Sockets for a
container are made inside its namespace and used from here.
"""

from __future__ import annotations

import os
import select
import socket
import sqlite3
import struct
import subprocess
from contextlib import closing, suppress
from pathlib import Path
from uuid import uuid4

from wherry.network import links, namespaces, netlink
from wherry.network.addresses import SqliteLeases
from wherry.network.base import Attachment, Netns, Network
from wherry.network.bridge import BridgeDriver
from wherry.network.ports import parse_ports

HOST_ADDRESS = "192.0.2.1"
OUTSIDE_ADDRESS = "192.0.2.2"
TIMEOUT_S = 5.0
REFUSED_S = 0.4
TRIES = 10


class Box:
    """A network namespace that is pinned under the lab's directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.netns = Netns(fd=namespaces.create(str(path)))
        self.attachment = Attachment("", "")

    @property
    def address(self) -> str:
        return self.attachment.addresses[0].address

    def socket(self, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
        with namespaces.Inside(self.netns):
            made = socket.socket(socket.AF_INET, kind, protocol)
        made.settimeout(TIMEOUT_S)
        return made

    def run(self, *command: str) -> str:
        with namespaces.Inside(self.netns):
            return run(*command)

    def close(self) -> None:
        if self.netns.fd >= 0:
            os.close(self.netns.fd)
            namespaces.delete(str(self.path))
            self.netns = Netns(pid=os.getpid())


class ProcessBox(Box):
    """A network namespace that somebody else's process keeps."""

    def __init__(self, netns: Netns) -> None:
        self.netns = netns


class Lab:
    """The host; a `with` block enters it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._host = Box(directory / "host")
        self._inside = namespaces.Inside(self._host.netns)
        self._boxes: list[Box] = []
        self.machine: Box | Host = Host()
        self.database = directory / "network.db"

    def __enter__(self) -> Lab:
        self._inside.__enter__()
        with closing(netlink.Netlink(netlink.ROUTE)) as route:
            route.request([links.set_up(1)])
        self.connection = connect(self.database)
        self.leases = SqliteLeases(self.connection)
        self.driver = BridgeDriver(self.leases)
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.close()
        self.connection.close()
        for box in self._boxes:
            box.close()
        self._inside.__exit__()
        self._host.close()

    def box(self) -> Box:
        box = Box(self._directory / uuid4().hex[:8])
        self._boxes.append(box)
        return box

    def container(self, name: str, *ports: str, network: Network | None = None, **options: object) -> Box:
        box = self.box()
        mappings = tuple(mapping for port in ports for mapping in parse_ports(port))
        box.attachment = self.driver.attach(
            network or self.driver.ensure_default(), name, box.netns, ports=mappings, **options
        )
        return box

    def outside(self) -> Box:
        """A machine on the host's other network that sends everything to the host."""
        box = self.box()
        run("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan0", "netns", str(box.path))
        run("ip", "address", "add", f"{HOST_ADDRESS}/24", "dev", "lan0")
        run("ip", "link", "set", "lan0", "up")
        box.run("ip", "address", "add", f"{OUTSIDE_ADDRESS}/24", "dev", "lan0")
        box.run("ip", "link", "set", "lan0", "up")
        box.run("ip", "route", "add", "default", "via", HOST_ADDRESS)
        return box

    def snapshot(self) -> tuple[list[str], str, tuple[object, ...]]:
        """What a test may not leave changed: interfaces, packet filter, leases."""
        names = sorted(line.split(": ")[1] for line in run("ip", "-o", "link").splitlines())
        return names, run("nft", "list", "ruleset"), self.leases.leases()


def connect(database: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(database, isolation_level=None, timeout=20)
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


class Host:
    """The host as a client or a server."""

    def socket(self, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
        made = socket.socket(socket.AF_INET, kind, protocol)
        made.settimeout(TIMEOUT_S)
        return made


def talk(client: Box | Host, target: tuple[str, int], server: Box | Host, port: int) -> str:
    """Open a TCP connection to `target`, prove that `server` has it, and return the source that it sees."""
    with server.socket() as listener, client.socket() as near:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", port))
        listener.listen()
        near.connect(target)
        far, source = listener.accept()
        with far:
            near.sendall(b"ping")
            assert far.recv(16) == b"ping"
            far.sendall(b"pong")
            assert near.recv(16) == b"pong"
        return str(source[0])


def talk_udp(client: Box | Host, target: tuple[str, int], server: Box | Host, port: int) -> str:
    """Exchange datagrams with `target`, prove that `server` answers from there, return the source it sees."""
    with server.socket(socket.SOCK_DGRAM) as far, client.socket(socket.SOCK_DGRAM) as near:
        far.bind(("0.0.0.0", port))
        near.connect(target)
        near.settimeout(0.5)
        for _ in range(TRIES):  # a datagram may be lost: the first one while neighbours are still being asked for
            near.send(b"ping")
            if select.select([far], [], [], 0.5)[0]:
                data, source = far.recvfrom(16)
                assert data == b"ping"
                far.sendto(b"pong", source)
                with suppress(TimeoutError):
                    assert near.recv(16) == b"pong"
                    return str(source[0])
        raise TimeoutError(f"no datagram came through to {target} and back in {TRIES} tries")


def is_cut_off(client: Box | Host, target: tuple[str, int], server: Box | Host, port: int) -> bool:
    """Tell whether no connection comes about although the server listens."""
    with server.socket() as listener, client.socket() as near:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", port))
        listener.listen()
        near.settimeout(REFUSED_S)
        try:
            near.connect(target)
        except OSError:
            return True
        return False


def ping(client: Box | Host, target: str) -> bool:
    """Send one ICMP echo request and wait for its reply."""
    with client.socket(socket.SOCK_RAW, socket.IPPROTO_ICMP) as near:
        near.sendto(_echo_request(), (target, 0))
        while True:
            packet, source = near.recvfrom(256)
            if packet[(packet[0] & 15) * 4] == 0 and source[0] == target:
                return True


def _echo_request() -> bytes:
    body = struct.pack("!BBHHH", 8, 0, 0, 7, 1)
    words = struct.unpack("!4H", body)
    total = sum(words)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return struct.pack("!BBHHH", 8, 0, checksum, 7, 1)


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
