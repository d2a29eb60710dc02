"""Values and the interface that every kind of container network shares.

Addresses and subnets are text in their usual spelling; a network holds several subnets, and an attachment
several addresses, so that one of each family can stand side by side.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Protocol
else:
    Protocol = object


class Value:
    """A frozen value: compared, hashed and printed by its fields."""

    __slots__: tuple[str, ...] = ()

    def _set(self, **fields: object) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def _fields(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._fields() == self._fields()

    def __hash__(self) -> int:
        return hash((type(self), self._fields()))

    def __repr__(self) -> str:
        body = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({body})"


class PortMapping(Value):
    """One published port.

    `host_port` 0 stands for any free one; with `host_port_last` it stands for the first free one of that
    range, ends included. `host_ip` "" is every address of the host, loopback among them.
    """

    __slots__ = ("container_port", "host_ip", "host_port", "host_port_last", "protocol")

    container_port: int
    host_ip: str
    host_port: int
    host_port_last: int
    protocol: str

    def __init__(
        self,
        container_port: int,
        host_port: int = 0,
        protocol: str = "tcp",
        host_ip: str = "",
        host_port_last: int = 0,
    ) -> None:
        self._set(
            container_port=container_port,
            host_port=host_port,
            protocol=protocol,
            host_ip=host_ip,
            host_port_last=host_port_last,
        )

    def __str__(self) -> str:
        host = f"{self.host_ip or '0.0.0.0'}:{self.host_port}"
        return f"{host}->{self.container_port}/{self.protocol}"


class Subnet(Value):
    """A range of addresses (`10.87.0.0/16`) and the address that the host has in it."""

    __slots__ = ("cidr", "gateway")

    cidr: str
    gateway: str

    def __init__(self, cidr: str, gateway: str) -> None:
        self._set(cidr=cidr, gateway=gateway)


class Network(Value):
    """A network as its creator wished it; `options` are (name, value) pairs that only its driver reads."""

    __slots__ = ("bridge", "driver", "internal", "mtu", "name", "options", "subnets")

    bridge: str
    driver: str
    internal: bool
    mtu: int
    name: str
    options: tuple[tuple[str, str], ...]
    subnets: tuple[Subnet, ...]

    def __init__(
        self,
        name: str,
        *,
        driver: str = "bridge",
        bridge: str = "",
        subnets: tuple[Subnet, ...] = (),
        mtu: int = 1500,
        internal: bool = False,
        options: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self._set(
            name=name,
            driver=driver,
            bridge=bridge,
            subnets=subnets,
            mtu=mtu,
            internal=internal,
            options=options,
        )


class Address(Value):
    """An address of a container, the length of its subnet's prefix, and its way out ("" is none)."""

    __slots__ = ("address", "gateway", "prefix_length")

    address: str
    gateway: str
    prefix_length: int

    def __init__(self, address: str, prefix_length: int, gateway: str = "") -> None:
        self._set(address=address, prefix_length=prefix_length, gateway=gateway)


class Netns(Value):
    """A network namespace, by an open descriptor or by the id of a process inside it."""

    __slots__ = ("fd", "pid")

    fd: int
    pid: int

    def __init__(self, *, fd: int = -1, pid: int = 0) -> None:
        if (fd < 0) == (pid <= 0):
            raise ValueError("a network namespace is named by a descriptor or by a process, not both")
        self._set(fd=fd, pid=pid)


class Attachment(Value):
    """What a container got from one network.

    `interface_index` is the interface's number inside the container, 0 when it is not known (an attachment
    read back from the store). `helper_pid` is a process that carries the traffic, 0 when the kernel does.
    """

    __slots__ = (
        "addresses",
        "container_id",
        "default_route",
        "dns_servers",
        "helper_pid",
        "host_interface",
        "interface",
        "interface_index",
        "mac",
        "mtu",
        "network",
        "ports",
    )

    addresses: tuple[Address, ...]
    container_id: str
    default_route: bool
    dns_servers: tuple[str, ...]
    helper_pid: int
    host_interface: str
    interface: str
    interface_index: int
    mac: str
    mtu: int
    network: str
    ports: tuple[PortMapping, ...]

    def __init__(
        self,
        network: str,
        container_id: str,
        *,
        interface: str = "eth0",
        interface_index: int = 0,
        host_interface: str = "",
        addresses: tuple[Address, ...] = (),
        mac: str = "",
        mtu: int = 1500,
        ports: tuple[PortMapping, ...] = (),
        dns_servers: tuple[str, ...] = (),
        helper_pid: int = 0,
        default_route: bool = True,
    ) -> None:
        self._set(
            network=network,
            container_id=container_id,
            interface=interface,
            interface_index=interface_index,
            host_interface=host_interface,
            addresses=addresses,
            mac=mac,
            mtu=mtu,
            ports=ports,
            dns_servers=dns_servers,
            helper_pid=helper_pid,
            default_route=default_route,
        )


class NetworkDriver(Protocol):
    """How containers join and leave networks of one kind. Every method may be repeated."""

    def attach(
        self,
        network: Network,
        container_id: str,
        netns: Netns,
        *,
        ports: Sequence[PortMapping] = (),
        interface: str = "eth0",
        address: str = "",
        mac: str = "",
        inside: bool = True,
        default_route: bool = True,
        interface_index: int = 0,
    ) -> Attachment:
        """Connect the namespace and publish `ports`; a second call with the same id starts afresh.

        `inside` false leaves the container's own side to the caller. Raises ALREADY_EXISTS for a port or an
        address that is in use, RESOURCE_EXHAUSTED when the subnet is full, NOT_FOUND when the namespace is
        gone; nothing is left behind.
        """

    def detach(self, container_id: str, network: str = "", *, netns_gone: bool = False) -> None:
        """Undo attach, on one network or on all; `netns_gone` says that the kernel removes the link itself."""

    def attachments(self, container_id: str = "") -> tuple[Attachment, ...]:
        """Return what one container, or every container, holds."""

    def reconcile(self, live_ids: Collection[str]) -> tuple[str, ...]:
        """Remove all that belongs to none of `live_ids`; return one line for each thing removed."""
