"""A container's network: its namespace, attachment and name files.

The namespace is pinned under the run root before the container exists, so that a monitor can restart the
container in the same network with no Python process alive.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from wherry.network.base import Attachment, NetworkDriver
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
        from wherry.network.bridge import BridgeDriver
        from wherry.network.ports import parse_ports

        driver = self._bridge()
        assert isinstance(driver, BridgeDriver)
        mappings = tuple([mapping for text in ports for mapping in parse_ports(text)])
        path = self.namespace_path(container_id)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        namespaces.delete(path)
        descriptor = namespaces.create(path)
        try:
            return driver.attach(driver.ensure_default(), container_id, Netns(fd=descriptor), ports=mappings)
        except BaseException:
            self.detach(container_id)
            raise
        finally:
            os.close(descriptor)

    def detach(self, container_id: str) -> None:
        """Release addresses, rules and the namespace; what is gone already is no error."""
        from wherry.network import namespaces

        self._bridge().detach(container_id)
        namespaces.delete(self.namespace_path(container_id))

    def attachments(self, container_id: str) -> tuple[Attachment, ...]:
        """How a container is connected now."""
        return self._bridge().attachments(container_id)

    def reconcile(self, live_ids: Collection[str]) -> None:
        """Remove what belongs to no container in `live_ids`."""
        self._bridge().reconcile(live_ids)

    def _bridge(self) -> NetworkDriver:
        if self._driver is None:
            from wherry.network.addresses import SqliteLeases
            from wherry.network.bridge import BridgeDriver

            self._driver = BridgeDriver(SqliteLeases(self._database.connection()))
        return self._driver


def write_name_files(folder: str, hostname: str, attachment: Attachment | None, *, host_network: bool) -> None:
    """Write resolv.conf, hosts and hostname for the container's /etc."""
    from wherry.network import resolver_files

    addresses = [address.address for address in attachment.addresses] if attachment else []
    host_hosts = _read("/etc/hosts") if host_network else ""
    texts = {
        "resolv.conf": resolver_files.resolv_conf(_read("/etc/resolv.conf"), drop_loopback=not host_network),
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
