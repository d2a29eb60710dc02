"""Bridge networks: a bridge on the host, a pair of interfaces per container, ports by nftables.

Order is what makes a crash harmless: the lease is written first and deleted last, and everything in the kernel
can be told from the lease or carries the container's id. Nothing here starts a process.
"""

from __future__ import annotations

import errno

from wherry import errors
from wherry.errors import WherryError
from wherry.network import addresses, conntrack, links, namespaces, netlink, ports, sysctl
from wherry.network.base import Address, Attachment, Netns, Network, PortMapping, Subnet
from wherry.network.container_side import compile_container_side
from wherry.network.netlink import Netlink, NetlinkError
from wherry.network.rules import Rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from wherry.network.addresses import Lease, LeaseStore

DEFAULT_NETWORK = "wherry"

_BRIDGE_PREFIX = "wherry"
_ALIAS_PREFIX = "wherry "
_LARGEST_MTU = 1500
_LONGEST_INTERFACE = 15
_MOST_BRIDGES = 1000
_SHORTEST_PREFIX = 8
_CHOICE_TRIES = 5


class BridgeDriver:
    """A NetworkDriver for the network namespace in which it is made."""

    __slots__ = ("_leases", "_route", "_rules", "_tracking")

    def __init__(self, leases: LeaseStore) -> None:
        self._leases = leases
        self._route = Netlink(netlink.ROUTE)
        self._tracking = Netlink(netlink.NETFILTER)
        self._rules = Rules(self._tracking)

    def close(self) -> None:
        self._route.close()
        self._tracking.close()

    def ensure_default(self) -> Network:
        """Return the default network, made on first use with a subnet that no route of the host overlaps."""
        try:
            return self._leases.network(DEFAULT_NETWORK)
        except WherryError as error:
            if error.code != errors.NOT_FOUND:
                raise
        try:
            return self.create_network(DEFAULT_NETWORK, bridge=f"{_BRIDGE_PREFIX}0")
        except WherryError as error:
            if error.code != errors.ALREADY_EXISTS:
                raise
            return self._leases.network(DEFAULT_NETWORK)

    def create_network(
        self,
        name: str,
        *,
        subnet: str = "",
        gateway: str = "",
        mtu: int = 0,
        internal: bool = False,
        bridge: str = "",
        options: tuple[tuple[str, str], ...] = (),
    ) -> Network:
        """Write a network down; the kernel learns of it with its first container.

        ALREADY_EXISTS for the name, FAILED_PRECONDITION for a subnet that overlaps another network's.
        """
        with self._leases.transaction():
            existing = self._leases.networks()
            if any(network.name == name for network in existing):
                raise WherryError(errors.ALREADY_EXISTS, f"there is a network {name!r} already")
            cidr = self._choose_subnet(name, subnet, existing)
            network = Network(
                name,
                bridge=_checked_bridge(bridge) if bridge else self._free_bridge(existing),
                subnets=(Subnet(cidr, _choose_gateway(cidr, gateway)),),
                mtu=mtu or self._host_mtu(),
                internal=internal,
                options=options,
            )
            self._leases.save_network(network)
            return network

    def remove_network(self, name: str) -> None:
        """Remove a network and its bridge; may be repeated. FAILED_PRECONDITION while a container is on it."""
        with self._leases.transaction():
            networks = {network.name: network for network in self._leases.networks()}
            network = networks.pop(name, None)
            if network is None:
                return
            self._leases.remove_network(name)
            if not networks:
                self._rules.remove()
            elif self._rules.installed():
                self._rules.remove_network(network)
            self._delete_link(network.bridge)

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
        """Connect a namespace to the bridge and publish its ports (see base.NetworkDriver)."""
        lease = self._lease(network, container_id, ports, interface, address, mac)
        try:
            bridge_index = self._ensure(network)
            index = self._connect(network, lease, netns, bridge_index, interface_index)
            default_route = default_route and not network.internal
            attachment = _attachment(network, lease, index, default_route=default_route)
            if inside:
                configure(attachment, netns)
            self._publish(lease)
        except BaseException:
            self.detach(container_id, network.name)
            raise
        return attachment

    def detach(self, container_id: str, network: str = "", *, netns_gone: bool = False) -> None:
        """Undo attach; without `netns_gone` this waits some 20 ms for the kernel to dissolve the link."""
        leases = [lease for lease in self._leases.leases(container_id) if network in ("", lease.network)]
        if not leases:
            return
        if not netns_gone:
            for lease in leases:
                self._delete_link(host_interface(lease))
        with self._leases.transaction():
            for lease in leases:
                self._rules.unpublish(lease)
            self._leases.release(container_id, network)
        for lease in leases:
            self._forget_flows(lease)

    def attachments(self, container_id: str = "") -> tuple[Attachment, ...]:
        """Return what is leased, without asking the kernel."""
        networks = {network.name: network for network in self._leases.networks()}
        return tuple(
            _attachment(networks[lease.network], lease, 0, default_route=not networks[lease.network].internal)
            for lease in self._leases.leases(container_id)
        )

    def reconcile(self, live_ids: Collection[str]) -> tuple[str, ...]:
        """Remove links, ports and leases of containers that are not named."""
        removed = []
        for lease in self._leases.leases():
            if lease.container_id not in live_ids:
                self.detach(lease.container_id, lease.network)
                removed.append(f"lease of {', '.join(lease.addresses)} by {lease.container_id}")
        with self._leases.transaction():
            removed += self._rules.withdraw_strangers(live_ids)
        for link in links.links(self._route):
            owner = link.alias.removeprefix(_ALIAS_PREFIX)
            if link.kind == "veth" and owner != link.alias and owner not in live_ids:
                self._delete_link(link.name)
                removed.append(f"interface {link.name} of {owner}")
        return tuple(removed)

    def restore(self) -> None:
        """Put back all bridges, their ports and the packet filter, after something else swept them away."""
        requests = []
        for network in self._leases.networks():
            index = self._ensure_bridge(network)
            requests += [
                links.set_master(host_interface(lease), index)
                for lease in self._leases.leases()
                if lease.network == network.name
            ]
        self._route.request(requests, what="restore bridges", allowed=(errno.ENODEV,))
        self._install_rules()
        sysctl.ensure("net/ipv4/ip_forward", "1")

    def _lease(
        self,
        network: Network,
        container_id: str,
        wanted: Sequence[PortMapping],
        interface: str,
        address: str,
        mac: str,
    ) -> Lease:
        """Write the lease down; one left by an earlier attach is given up first."""
        self.detach(container_id, network.name)
        if mac:
            links.mac_bytes(mac)
        for port in wanted:
            if ":" in port.host_ip:
                raise WherryError(errors.NOT_IMPLEMENTED, f"port {port}: no port is published on an IPv6 address yet")
        tries = _CHOICE_TRIES if any(not port.host_port or port.host_port_last for port in wanted) else 1
        while True:
            tries -= 1
            chosen, sockets = ports.reserve(wanted, self._leases.published()) if wanted else ((), [])
            try:
                return self._leases.acquire(
                    network, container_id, interface=interface, address=address, mac=mac, ports=chosen
                )
            except WherryError as error:
                # Another container may have taken a port between its choice here and the lease.
                if error.code != errors.ALREADY_EXISTS or not tries:
                    raise
            finally:
                ports.release(sockets)

    def _ensure(self, network: Network) -> int:
        """Make sure that the bridge, the packet filter and forwarding are there; return the bridge's index."""
        index = self._ensure_bridge(network)
        if not self._rules.installed():
            self._install_rules()
        sysctl.ensure("net/ipv4/ip_forward", "1")
        return index

    def _ensure_bridge(self, network: Network) -> int:
        link = self._link(network.bridge)
        if link is None:
            request = links.create_bridge(
                network.bridge, mac=addresses.mac_for(network.subnets[0].gateway), mtu=network.mtu
            )
            what = f"create bridge {network.bridge}"
            self._route.request([request], what=what, allowed=(errno.EEXIST,))
            link = self._link(network.bridge)
        if link is None or link.kind != "bridge":
            raise WherryError(errors.FAILED_PRECONDITION, f"interface {network.bridge} of the host is not a bridge")
        if not link.up:
            self._fill_bridge(network, link.index)
        return link.index

    def _fill_bridge(self, network: Network, index: int) -> None:
        """Give a bridge its addresses and settings; it is up only when it is complete."""
        requests = []
        for subnet in network.subnets:
            _, length, _ = addresses.split_cidr(subnet.cidr)
            requests.append(links.add_address(index, subnet.gateway, length))
        self._route.request(requests, what=f"address of {network.bridge}", allowed=(errno.EEXIST,))
        # Lets connections to a port published on the host's loopback go out; rules.py guards the way in.
        sysctl.ensure(f"net/ipv4/conf/{network.bridge}/route_localnet", "1")
        with self._leases.transaction():
            if self._rules.installed():
                self._rules.add_network(network)
            else:
                self._rules.replace(self._leases.networks(), self._leases.leases())
        self._route.request([links.set_up(index)], what=f"start bridge {network.bridge}")

    def _install_rules(self) -> None:
        # Leases are only written under the same lock, so none can be missed.
        with self._leases.transaction():
            self._rules.replace(self._leases.networks(), self._leases.leases())

    def _connect(self, network: Network, lease: Lease, netns: Netns, bridge_index: int, interface_index: int) -> int:
        """Make the pair of interfaces and return the index of the one in the container."""
        name = host_interface(lease)
        create = links.create_veth(
            name,
            master_index=bridge_index,
            mtu=network.mtu,
            peer_name=lease.interface,
            peer_netns=netns,
            peer_mac=lease.mac,
            peer_index=interface_index,
            index=_host_index(lease) if interface_index else 0,
        )
        requests = [
            create,
            links.set_bridge_port(name, alias=_ALIAS_PREFIX + lease.container_id, hairpin=bool(lease.ports)),
            links.get_link(name),
        ]
        what = f"connect {lease.container_id} to {network.bridge}"
        try:
            answers = self._route.request(requests, what=what)
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise
            self._delete_link(name)
            answers = self._route.request(requests, what=what)
        return links.Link(answers[-1][1]).peer_index

    def _publish(self, lease: Lease) -> None:
        self._rules.publish(lease)
        self._forget_flows(lease)

    def _forget_flows(self, lease: Lease) -> None:
        udp = {port.host_port for port in lease.ports if port.protocol == "udp"}
        if udp:
            conntrack.forget_udp(self._tracking, udp)

    def _link(self, name: str) -> links.Link | None:
        answers = self._route.request([links.get_link(name)], what=name, allowed=(errno.ENODEV,))
        return links.Link(answers[0][1]) if answers else None

    def _delete_link(self, name: str) -> None:
        self._route.request([links.delete_link(name)], what=f"delete {name}", allowed=(errno.ENODEV,))

    def _choose_subnet(self, name: str, wanted: str, existing: Sequence[Network]) -> str:
        others = [(subnet.cidr, network.name) for network in existing for subnet in network.subnets]
        if wanted:
            _, length, bits = addresses.split_cidr(wanted)
            if bits != 32:
                raise WherryError(errors.NOT_IMPLEMENTED, f"subnet {wanted}: only IPv4 is supported yet")
            if length < _SHORTEST_PREFIX:
                raise WherryError(errors.INVALID_ARGUMENT, f"subnet {wanted} is too large")
            for cidr, owner in others:
                if addresses.overlap(wanted, cidr):
                    raise WherryError(
                        errors.FAILED_PRECONDITION, f"subnet {wanted} overlaps {cidr} of network {owner!r}"
                    )
            return wanted
        taken = [cidr for cidr, _ in others]
        taken += [_prefix(address, length) for address, length, _ in links.routes(self._route) if length]
        taken += [_prefix(address, length) for _, address, length in links.addresses(self._route)]
        return addresses.free_subnet(_candidates(name), taken)

    def _free_bridge(self, existing: Sequence[Network]) -> str:
        taken = {network.bridge for network in existing} | {f"{_BRIDGE_PREFIX}0"}
        for number in range(_MOST_BRIDGES):
            name = f"{_BRIDGE_PREFIX}{number}"
            if name not in taken and self._link(name) is None:
                return name
        raise WherryError(errors.RESOURCE_EXHAUSTED, "no name for another bridge is left")

    def _host_mtu(self) -> int:
        """Return the MTU of the host's way out, at most that of Ethernet: a VPN's or a cloud's is smaller."""
        out = {index for _, length, index in links.routes(self._route) if length == 0}
        sizes = [link.mtu for link in links.links(self._route) if link.index in out]
        return min([_LARGEST_MTU, *sizes])


def configure(attachment: Attachment, netns: Netns) -> None:
    """Bring the container's side up from here, by entering its namespace for the time of one socket call."""
    with namespaces.Inside(netns):
        socket = Netlink(netlink.ROUTE)
    try:
        socket.request(compile_container_side(attachment), what=f"configure {attachment.interface}")
    finally:
        socket.close()


def host_interface(lease: Lease) -> str:
    """Return the name of the host's end, which the address makes unique on the host."""
    return "wv" + links.packed(lease.addresses[0])[-4:].hex()


def _host_index(lease: Lease) -> int:
    """Return an index for the host's end, far from those the kernel gives in turn."""
    return 0x40000000 | int.from_bytes(links.packed(lease.addresses[0])[-3:], "big")


def _attachment(network: Network, lease: Lease, index: int, *, default_route: bool) -> Attachment:
    return Attachment(
        network.name,
        lease.container_id,
        interface=lease.interface,
        interface_index=index,
        host_interface=host_interface(lease),
        addresses=tuple(
            Address(address, addresses.split_cidr(subnet.cidr)[1], subnet.gateway)
            for address, subnet in zip(lease.addresses, network.subnets, strict=True)
        ),
        mac=lease.mac,
        mtu=network.mtu,
        ports=lease.ports,
        default_route=default_route,
    )


def _candidates(name: str) -> Iterator[str]:
    """Yield subnets to try, away from those that other engines hand out first (172.17, 10.88, 10.89, 10.42)."""
    if name == DEFAULT_NETWORK:
        yield from (f"10.{second}.0.0/16" for second in (87, *range(86, 59, -1), *range(187, 160, -1)))
    yield from (f"10.{second}.{third}.0/24" for second in (86, 85, 84, 186) for third in range(256))
    yield from (f"192.168.{third}.0/24" for third in range(255, 199, -1))


def _choose_gateway(cidr: str, wanted: str) -> str:
    first, last = addresses.host_range(cidr)
    if not wanted:
        size = 4 if ":" not in cidr else 16
        return links.unpacked(first.to_bytes(size, "big"))
    if not addresses.contains(cidr, wanted) or not first <= addresses.as_number(wanted) <= last:
        raise WherryError(errors.INVALID_ARGUMENT, f"gateway {wanted} is no host address of {cidr}")
    return wanted


def _checked_bridge(name: str) -> str:
    plain = name.replace("-", "").replace("_", "")
    if not (plain.isascii() and plain.isalnum() and len(name) <= _LONGEST_INTERFACE):
        raise WherryError(
            errors.INVALID_ARGUMENT,
            f"bridge name {name!r}",
            hint=f"use at most {_LONGEST_INTERFACE} letters, digits, '-' and '_'",
        )
    return name


def _prefix(address: str, length: int) -> str:
    """Return the subnet that an address with a prefix length is in."""
    data = links.packed(address)
    shift = 8 * len(data) - length
    first = int.from_bytes(data, "big") >> shift << shift
    return f"{links.unpacked(first.to_bytes(len(data), 'big'))}/{length}"
