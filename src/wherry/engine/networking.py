"""A container's network: its namespace, attachment and name files.

The namespace is pinned under the run root before the container exists, so that a monitor can restart the
container in the same network with no Python process alive.
"""

from __future__ import annotations

import os
from _sqlite3 import DatabaseError

from . import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

    from wherry.network.base import Attachment, Network, NetworkDriver
    from wherry.store.database import Database


class Networking:
    """Attaches containers to the default network and takes everything down again."""

    __slots__ = ("_database", "_driver", "_run_root")

    def __init__(self, database: Database, run_root: str) -> None:
        self._database = database
        self._run_root = run_root
        self._driver: NetworkDriver | None = None

    def namespace_path(self, container_id: str) -> str:
        """Where the network namespace of a bridged container is pinned."""
        return os.path.join(self._run_root, "netns", container_id)

    def attach(self, container_id: str, ports: Sequence[str]) -> Attachment:
        """Make the namespace and connect it. Raises WherryError, with nothing left, when a port is taken."""
        from wherry.network import namespaces
        from wherry.network.base import Netns
        from wherry.network.ports import parse_ports

        mappings = tuple([mapping for text in ports for mapping in parse_ports(text)])
        path = self.namespace_path(container_id)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        namespaces.delete(path)
        descriptor = namespaces.create(path)
        try:
            with self._until_reboot():
                driver = self._driver_in_use()
                return driver.attach(self._network(), container_id, Netns(fd=descriptor), ports=mappings)
        except BaseException as error:
            self.detach(container_id)
            if isinstance(error, DatabaseError):
                raise self._database.translate(error) from error
            raise
        finally:
            os.close(descriptor)

    def detach(self, container_id: str) -> None:
        """Release addresses, rules and the namespace; what is gone already is no error."""
        from wherry.network import namespaces

        namespaces.delete(self.namespace_path(container_id))
        try:
            with self._until_reboot():
                self._driver_in_use().detach(container_id, netns_gone=True)
        except DatabaseError as error:
            raise self._database.translate(error) from error

    def detach_lost(self, container_id: str) -> None:
        """End what serves a container's network when the run root was wiped; links go with their namespace."""
        from wherry.network.slirp import UserDriver

        driver = self._driver_in_use()
        if isinstance(driver, UserDriver):
            driver.detach_lost(container_id)

    def attachments(self, container_id: str) -> tuple[Attachment, ...]:
        """How a container is connected now."""
        return self._driver_in_use().attachments(container_id)

    def _until_reboot(self) -> Relaxed:
        """Leases speak of namespaces: a power cut that takes the latest of them takes those too."""
        return Relaxed(self._database.connection())

    def _network(self) -> Network:
        if paths.real_uid() != 0:
            from wherry.network.slirp import USER_NETWORK

            return USER_NETWORK
        from wherry.network.bridge import BridgeDriver

        driver = self._driver_in_use()
        assert isinstance(driver, BridgeDriver)
        return driver.ensure_default()

    def _driver_in_use(self) -> NetworkDriver:
        """The bridge for root; for others a program that brings packets through ordinary sockets."""
        if self._driver is None:
            if paths.real_uid() != 0:
                from wherry.network.rootless import user_driver

                folder = os.path.join(self._run_root, "network")
                os.makedirs(folder, mode=0o700, exist_ok=True)
                self._driver = user_driver(folder)
            else:
                from wherry.network.addresses import SqliteLeases
                from wherry.network.bridge import BridgeDriver

                self._driver = BridgeDriver(SqliteLeases(self._database.connection()))
        return self._driver


class Relaxed:
    """A `with` block whose transactions on this connection do not wait for the disk."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("PRAGMA synchronous=NORMAL")

    def __exit__(self, *_: object) -> None:
        self._connection.execute("PRAGMA synchronous=FULL")


def write_name_files(folder: str, hostname: str, attachment: Attachment | None, *, host_network: bool) -> None:
    """Write resolv.conf, hosts and hostname for the container's /etc."""
    from wherry.network import resolver_files

    addresses = [address.address for address in attachment.addresses] if attachment else []
    servers = attachment.dns_servers if attachment else ()
    host_hosts = _read("/etc/hosts") if host_network else ""
    texts = {
        "resolv.conf": resolver_files.resolv_conf(
            _read("/etc/resolv.conf"), servers=servers, drop_loopback=not host_network
        ),
        "hosts": resolver_files.hosts(hostname, addresses, host_text=host_hosts),
        "hostname": resolver_files.hostname(hostname),
    }
    for name, text in texts.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""
