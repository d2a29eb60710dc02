"""What it costs to attach a container to the default bridge with one published port, and to detach it.

    python bench/bench_network.py [ROUNDS]

Runs in a network namespace of its own (needs root). Ours is measured in process, as the engine uses it, and as
a whole process with the interpreter's start; netavark, when installed, as the process podman runs. CPU time is
user and system, children included.
"""

from __future__ import annotations

import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = str(Path(__file__).parent.parent / "src")
sys.path.insert(0, SOURCE)

from wherry.network import namespaces  # noqa: E402
from wherry.network.addresses import SqliteLeases  # noqa: E402
from wherry.network.base import Netns  # noqa: E402
from wherry.network.bridge import BridgeDriver  # noqa: E402
from wherry.network.ports import parse_ports  # noqa: E402

NETAVARK = "/usr/lib/podman/netavark"
IN_OWN_NAMESPACE = "WHERRY_BENCH_NETNS"
PROCESS = """
import sys; sys.path.insert(0, sys.argv[1])
import os, _sqlite3
from wherry.network.addresses import SqliteLeases
from wherry.network.base import Netns
from wherry.network.bridge import BridgeDriver
from wherry.network.ports import parse_ports
driver = BridgeDriver(SqliteLeases(_sqlite3.connect(sys.argv[2], isolation_level=None)))
if sys.argv[3] == "attach":
    netns = Netns(fd=os.open(sys.argv[4], os.O_RDONLY))
    driver.attach(driver.ensure_default(), "bench", netns, ports=parse_ports("8080:80"))
else:
    driver.detach("bench", netns_gone=True)
"""


def cpu_seconds() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


class Bench:
    def __init__(self, folder: Path, rounds: int) -> None:
        self.folder = folder
        self.rounds = rounds
        self.netns_path = str(folder / "netns")
        self.database = str(folder / "network.db")
        self.connection = sqlite3.connect(self.database, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self.driver = BridgeDriver(SqliteLeases(self.connection))

    def measure(self, name: str, attach: object, detach: object) -> None:
        assert callable(attach) and callable(detach)
        times: dict[str, list[tuple[float, float]]] = {"attach": [], "detach": []}
        for number in range(self.rounds + 2):
            fd = namespaces.create(self.netns_path)
            for verb, action in (("attach", lambda fd=fd: attach(fd)), ("detach", detach)):
                cpu, wall = cpu_seconds(), time.perf_counter()
                action()
                if number >= 2:
                    times[verb].append((cpu_seconds() - cpu, time.perf_counter() - wall))
                if verb == "attach":
                    os.close(fd)
            namespaces.delete(self.netns_path)
        for verb, values in times.items():
            cpu_ms, wall_ms = (1000 * statistics.median(column) for column in zip(*values, strict=True))
            print(f"{name:22} {verb}  CPU {cpu_ms:7.2f} ms  wall {wall_ms:7.2f} ms")

    def ours(self) -> None:
        network = self.driver.ensure_default()
        ports = parse_ports("8080:80")
        self.measure(
            "wherry in process",
            lambda fd: self.driver.attach(network, "bench", Netns(fd=fd), ports=ports),
            lambda: self.driver.detach("bench", netns_gone=True),
        )
        command = [sys.executable, "-I", "-S", "-E", "-c", PROCESS, SOURCE, self.database]
        self.measure(
            "wherry, own process",
            lambda _: subprocess.run([*command, "attach", self.netns_path], check=True),
            lambda: subprocess.run([*command, "detach"], check=True),
        )

    def netavark(self) -> None:
        options = json.dumps(netavark_options()).encode()
        command = [NETAVARK, "--config", str(self.folder)]

        def run(verb: str) -> None:
            subprocess.run([*command, verb, self.netns_path], input=options, stdout=subprocess.DEVNULL, check=True)

        self.measure("netavark", lambda _: run("setup"), lambda: run("teardown"))


def netavark_options() -> dict[str, object]:
    return {
        "container_id": "b" * 64,
        "container_name": "bench",
        "port_mappings": [{"container_port": 80, "host_ip": "", "host_port": 8081, "protocol": "tcp", "range": 1}],
        "networks": {"podman": {"interface_name": "eth0", "static_ips": ["10.88.0.2"]}},
        "network_info": {
            "podman": {
                "name": "podman",
                "id": "a" * 64,
                "driver": "bridge",
                "network_interface": "podman0",
                "subnets": [{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}],
                "ipv6_enabled": False,
                "internal": False,
                "dns_enabled": False,
                "ipam_options": {"driver": "host-local"},
            }
        },
    }


def main() -> None:
    if IN_OWN_NAMESPACE not in os.environ:
        os.environ[IN_OWN_NAMESPACE] = "1"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), rounds)
        bench.ours()
        if os.access(NETAVARK, os.X_OK):
            bench.netavark()


main()
