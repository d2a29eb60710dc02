"""Which container has which address and port: leases that survive crashes.

A lease is a row that is written before anything is set up and deleted after all is taken down, so whatever a
crash leaves behind can be found through it. Addresses are handed out in turn, not lowest first: one that was
just returned is the last to be given again, and no neighbour's cache points at the wrong container.
"""

from __future__ import annotations

from wherry import errors
from wherry.errors import WherryError
from wherry.network import links, ports
from wherry.network.base import Network, PortMapping, Subnet, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Any, Protocol
else:
    Protocol = object

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS network (name TEXT PRIMARY KEY, driver TEXT NOT NULL, bridge TEXT NOT NULL,"
    " subnets TEXT NOT NULL, mtu INTEGER NOT NULL, internal INTEGER NOT NULL, options TEXT NOT NULL,"
    " cursors TEXT NOT NULL DEFAULT '') STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS network_lease (container_id TEXT NOT NULL, network TEXT NOT NULL"
    " REFERENCES network (name), interface TEXT NOT NULL, mac TEXT NOT NULL,"
    " PRIMARY KEY (container_id, network)) STRICT, WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS network_address (network TEXT NOT NULL, address TEXT NOT NULL,"
    " container_id TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (network, address))"
    " STRICT, WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS network_address_of ON network_address (container_id, network)",
    "CREATE TABLE IF NOT EXISTS network_port (protocol TEXT NOT NULL, host_port INTEGER NOT NULL,"
    " host_ip TEXT NOT NULL, container_port INTEGER NOT NULL, container_id TEXT NOT NULL,"
    " network TEXT NOT NULL, PRIMARY KEY (protocol, host_port, host_ip)) STRICT, WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS network_port_of ON network_port (container_id, network)",
)


class Lease(Value):
    """What one container holds of one network: its addresses, in the order of the network's subnets, and ports."""

    __slots__ = ("addresses", "container_id", "interface", "mac", "network", "ports")

    addresses: tuple[str, ...]
    container_id: str
    interface: str
    mac: str
    network: str
    ports: tuple[PortMapping, ...]

    def __init__(
        self,
        network: str,
        container_id: str,
        interface: str,
        addresses: tuple[str, ...],
        mac: str,
        ports: tuple[PortMapping, ...] = (),
    ) -> None:
        self._set(
            network=network,
            container_id=container_id,
            interface=interface,
            addresses=addresses,
            mac=mac,
            ports=ports,
        )


class LeaseStore(Protocol):
    """Networks and leases, durable once a call returns (or once the caller's own transaction ends)."""

    def transaction(self) -> AbstractContextManager[None]:
        """Hold the only right to write for a `with` block; all of its changes become durable, or none."""

    def networks(self) -> tuple[Network, ...]: ...

    def network(self, name: str) -> Network:
        """Return a network; NOT_FOUND."""

    def save_network(self, network: Network) -> None:
        """Add a network; ALREADY_EXISTS for its name."""

    def remove_network(self, name: str) -> None:
        """Forget a network; may be repeated. FAILED_PRECONDITION while a container is on it."""

    def acquire(
        self,
        network: Network,
        container_id: str,
        *,
        interface: str,
        address: str = "",
        mac: str = "",
        ports: Sequence[PortMapping] = (),
    ) -> Lease:
        """Return the container's lease, made when there is none; `ports` have their host ports.

        ALREADY_EXISTS for an address or a port of another container, RESOURCE_EXHAUSTED for a full subnet.
        """

    def release(self, container_id: str, network: str = "") -> None:
        """Delete the container's leases, on one network or on all; may be repeated."""

    def leases(self, container_id: str = "") -> tuple[Lease, ...]: ...

    def published(self) -> tuple[tuple[str, PortMapping], ...]:
        """Return (container id, mapping) of every published port."""


class SqliteLeases:
    """Leases in tables named network* of a database that somebody else opens and closes."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        for statement in SCHEMA:
            connection.execute(statement)

    def transaction(self) -> AbstractContextManager[None]:
        return _Transaction(self._connection)

    def networks(self) -> tuple[Network, ...]:
        rows = self._connection.execute(f"SELECT {_NETWORK_COLUMNS} FROM network ORDER BY name")
        return tuple(_network(row) for row in rows.fetchall())

    def network(self, name: str) -> Network:
        query = f"SELECT {_NETWORK_COLUMNS} FROM network WHERE name = ?"
        row = self._connection.execute(query, (name,)).fetchone()
        if row is None:
            raise WherryError(errors.NOT_FOUND, f"no network {name!r}")
        return _network(row)

    def save_network(self, network: Network) -> None:
        with self.transaction():
            query = "SELECT 1 FROM network WHERE name = ?"
            if self._connection.execute(query, (network.name,)).fetchone():
                raise WherryError(errors.ALREADY_EXISTS, f"there is a network {network.name!r} already")
            self._connection.execute(
                f"INSERT INTO network ({_NETWORK_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", _network_row(network)
            )

    def remove_network(self, name: str) -> None:
        with self.transaction():
            query = "SELECT container_id FROM network_lease WHERE network = ? LIMIT 1"
            row = self._connection.execute(query, (name,)).fetchone()
            if row is not None:
                raise WherryError(errors.FAILED_PRECONDITION, f"network {name!r} is in use by container {row[0]}")
            self._connection.execute("DELETE FROM network WHERE name = ?", (name,))

    def acquire(
        self,
        network: Network,
        container_id: str,
        *,
        interface: str,
        address: str = "",
        mac: str = "",
        ports: Sequence[PortMapping] = (),
    ) -> Lease:
        with self.transaction():
            existing = self._leases(container_id, network.name)
            if existing:
                return existing[0]
            addresses = self._take_addresses(network, container_id, address)
            self._take_ports(network.name, container_id, ports)
            lease = Lease(
                network.name, container_id, interface, addresses, mac or mac_for(addresses[0]), _ordered(ports)
            )
            self._connection.execute(
                "INSERT INTO network_lease (container_id, network, interface, mac) VALUES (?, ?, ?, ?)",
                (container_id, network.name, interface, lease.mac),
            )
            return lease

    def release(self, container_id: str, network: str = "") -> None:
        condition, values = _selection(container_id, network)
        with self.transaction():
            for table in ("network_port", "network_address", "network_lease"):
                self._connection.execute(f"DELETE FROM {table} WHERE {condition}", values)

    def leases(self, container_id: str = "") -> tuple[Lease, ...]:
        return self._leases(container_id, "")

    def published(self) -> tuple[tuple[str, PortMapping], ...]:
        rows = self._connection.execute(f"SELECT container_id, {_PORT_COLUMNS} FROM network_port").fetchall()
        return tuple((row[0], PortMapping(*row[1:])) for row in rows)

    def _leases(self, container_id: str, network: str) -> tuple[Lease, ...]:
        condition, values = _selection(container_id, network)
        rows = self._connection.execute(
            "SELECT network, container_id, interface, mac FROM network_lease"
            f" WHERE {condition} ORDER BY container_id, interface, network",
            values,
        ).fetchall()
        return tuple(self._lease(*row) for row in rows)

    def _lease(self, network: str, container_id: str, interface: str, mac: str) -> Lease:
        condition, values = _selection(container_id, network)
        addresses = self._connection.execute(
            f"SELECT address FROM network_address WHERE {condition} ORDER BY position", values
        ).fetchall()
        ports = self._connection.execute(
            f"SELECT {_PORT_COLUMNS} FROM network_port WHERE {condition}",
            values,
        ).fetchall()
        return Lease(
            network,
            container_id,
            interface,
            tuple(row[0] for row in addresses),
            mac,
            _ordered(PortMapping(*row) for row in ports),
        )

    def _take_addresses(self, network: Network, container_id: str, wanted: str) -> tuple[str, ...]:
        row = self._connection.execute("SELECT cursors FROM network WHERE name = ?", (network.name,)).fetchone()
        if row is None:
            raise WherryError(errors.NOT_FOUND, f"no network {network.name!r}")
        cursors = row[0].split()
        taken = []
        for number, subnet in enumerate(network.subnets):
            cursor = cursors[number] if number < len(cursors) else ""
            if wanted and contains(subnet.cidr, wanted):
                address = self._take_wanted(network.name, subnet, wanted)
            else:
                address = self._next_free(network.name, subnet, cursor)
            taken.append(address)
            self._connection.execute(
                "INSERT INTO network_address (network, address, container_id, position) VALUES (?, ?, ?, ?)",
                (network.name, address, container_id, number),
            )
        if wanted and wanted not in taken:
            raise WherryError(errors.INVALID_ARGUMENT, f"address {wanted} is in no subnet of network {network.name!r}")
        self._connection.execute("UPDATE network SET cursors = ? WHERE name = ?", (" ".join(taken), network.name))
        return tuple(taken)

    def _take_wanted(self, network: str, subnet: Subnet, wanted: str) -> str:
        owner = self._owner(network, wanted)
        if owner:
            raise WherryError(errors.ALREADY_EXISTS, f"address {wanted} is in use by container {owner}")
        first, last = host_range(subnet.cidr)
        if wanted == subnet.gateway or not first <= as_number(wanted) <= last:
            raise WherryError(errors.INVALID_ARGUMENT, f"address {wanted} is not for containers")
        return links.unpacked(links.packed(wanted))

    def _next_free(self, network: str, subnet: Subnet, cursor: str) -> str:
        first, last = host_range(subnet.cidr)
        start = as_number(cursor) + 1 if cursor else first
        size = len(links.packed(subnet.gateway))
        for number in _in_turn(first, last, start):
            address = links.unpacked(number.to_bytes(size, "big"))
            if address != subnet.gateway and not self._owner(network, address):
                return address
        raise WherryError(
            errors.RESOURCE_EXHAUSTED,
            f"network {network!r} has no free address in {subnet.cidr}",
            hint="remove containers, or create a network with a larger subnet",
        )

    def _owner(self, network: str, address: str) -> str:
        query = "SELECT container_id FROM network_address WHERE network = ? AND address = ?"
        row = self._connection.execute(query, (network, address)).fetchone()
        return row[0] if row else ""

    def _take_ports(self, network: str, container_id: str, wanted: Sequence[PortMapping]) -> None:
        for port in wanted:
            rows = self._connection.execute(
                f"SELECT container_id, {_PORT_COLUMNS} FROM network_port WHERE protocol = ? AND host_port = ?",
                (port.protocol, port.host_port),
            ).fetchall()
            for row in rows:
                if ports.overlaps(port, PortMapping(*row[1:])):
                    raise ports.published_by(port, row[0])
            self._connection.execute(
                f"INSERT INTO network_port (container_id, network, {_PORT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
                (container_id, network, port.container_port, port.host_port, port.protocol, port.host_ip),
            )


class _Transaction:
    """A transaction of its own, or a savepoint in the one that the caller has open."""

    __slots__ = ("_connection", "_nested")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._nested = False

    def __enter__(self) -> None:
        self._nested = self._connection.in_transaction
        self._connection.execute("SAVEPOINT network" if self._nested else "BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        if not self._nested:
            self._connection.execute("COMMIT" if kind is None else "ROLLBACK")
            return
        if kind is not None:
            self._connection.execute("ROLLBACK TO network")
        self._connection.execute("RELEASE network")


_NETWORK_COLUMNS = "name, driver, bridge, subnets, mtu, internal, options"
_PORT_COLUMNS = "container_port, host_port, protocol, host_ip"


def _network_row(network: Network) -> tuple[Any, ...]:
    subnets = "\n".join(f"{subnet.cidr} {subnet.gateway}" for subnet in network.subnets)
    options = "\n".join(f"{name}={value}" for name, value in network.options)
    return (
        network.name,
        network.driver,
        network.bridge,
        subnets,
        network.mtu,
        int(network.internal),
        options,
    )


def _network(row: tuple[Any, ...]) -> Network:
    name, driver, bridge, subnets, mtu, internal, options = row
    return Network(
        name,
        driver=driver,
        bridge=bridge,
        subnets=tuple(Subnet(*line.split()) for line in subnets.splitlines()),
        mtu=mtu,
        internal=bool(internal),
        options=tuple(_option(line) for line in options.splitlines()),
    )


def _option(line: str) -> tuple[str, str]:
    name, _, value = line.partition("=")
    return name, value


def _ordered(mappings: Iterable[PortMapping]) -> tuple[PortMapping, ...]:
    return tuple(sorted(mappings, key=lambda port: (port.container_port, port.protocol, port.host_port, port.host_ip)))


def _selection(container_id: str, network: str) -> tuple[str, tuple[str, ...]]:
    wanted = {"container_id": container_id, "network": network}
    conditions = [f"{column} = ?" for column, value in wanted.items() if value]
    return " AND ".join(conditions) or "1", tuple(value for value in wanted.values() if value)


def _in_turn(first: int, last: int, start: int) -> Iterator[int]:
    if not first <= start <= last:
        start = first
    yield from range(start, last + 1)
    yield from range(first, start)


def as_number(address: str) -> int:
    return int.from_bytes(links.packed(address), "big")


def split_cidr(cidr: str) -> tuple[int, int, int]:
    """Return a subnet's first address, the length of its prefix and of its addresses, in bits.

    INVALID_ARGUMENT when it is none, or has bits set behind its prefix.
    """
    address, slash, length = cidr.partition("/")
    try:
        number, bits = as_number(address), 8 * len(links.packed(address))
    except OSError:
        raise WherryError(errors.INVALID_ARGUMENT, f"{cidr!r} is no subnet", hint="write 10.1.0.0/16")
    if not slash or not length.isdigit() or int(length) > bits:
        raise WherryError(errors.INVALID_ARGUMENT, f"{cidr!r} is no subnet", hint="write 10.1.0.0/16")
    if number & ((1 << (bits - int(length))) - 1):
        raise WherryError(errors.INVALID_ARGUMENT, f"{cidr!r} has bits set behind its prefix")
    return number, int(length), bits


def host_range(cidr: str) -> tuple[int, int]:
    """Return the first and last address for hosts, without the subnet's own and the broadcast address."""
    first, length, bits = split_cidr(cidr)
    last = first + (1 << (bits - length)) - 1
    if bits - length < 2:
        return first, last
    return first + 1, last - 1


def contains(cidr: str, address: str) -> bool:
    first, length, bits = split_cidr(cidr)
    try:
        data = links.packed(address)
    except OSError:
        raise WherryError(errors.INVALID_ARGUMENT, f"{address!r} is no IP address")
    return 8 * len(data) == bits and int.from_bytes(data, "big") >> (bits - length) == first >> (bits - length)


def overlap(one: str, other: str) -> bool:
    """Tell whether two subnets share an address."""
    first, length, bits = split_cidr(one)
    other_first, other_length, other_bits = split_cidr(other)
    if bits != other_bits:
        return False
    shift = bits - min(length, other_length)
    return first >> shift == other_first >> shift


def mac_for(address: str) -> str:
    """Derive a locally administered MAC, so that a reused address needs no new entry in neighbours' caches."""
    return links.mac_text(b"\x02\x57" + links.packed(address)[-4:])


def free_subnet(candidates: Iterable[str], taken: Iterable[str]) -> str:
    """Return the first candidate that overlaps nothing that is taken; RESOURCE_EXHAUSTED."""
    occupied = tuple(taken)
    for candidate in candidates:
        if not any(overlap(candidate, other) for other in occupied):
            return candidate
    raise WherryError(
        errors.RESOURCE_EXHAUSTED,
        "every subnet tried overlaps a route of the host",
        hint="create the network with a subnet of your choice",
    )
