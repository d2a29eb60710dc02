"""The packet filter of all bridge networks: one nftables table, whose sets alone change with the containers.

    guard        nothing that comes from a bridge may claim to go to 127.0.0.0/8, which the bridges' setting
                 `route_localnet` (needed for ports published on the host's loopback) would let through
    prerouting   packets to an address of the host look their port up in the maps and go to the container
    output       the same for what the host itself sends
    postrouting  containers leave under the host's address; so do connections from the host's loopback, and
                 from a container to a published port, or the answer would not come back the same way
    forward      to a container: answers, published ports and neighbours on the same bridge, nothing else;
                 from a container: everything, unless its network is internal

Chains of other programs are left alone; a packet must pass theirs as well.
"""

from __future__ import annotations

from wherry.network import links, netlink, nftables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from wherry.network.addresses import Lease
    from wherry.network.base import Network, PortMapping
    from wherry.network.netlink import Netlink

TABLE = "wherry"
VERSION = "ruleset 1"

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}

_INTERFACE = (nftables.TYPE_INTERFACE, 16)
_ADDRESS = (nftables.TYPE_ADDRESS, 4)
_PROTOCOL = (nftables.TYPE_PROTOCOL, 1)
_PORT = (nftables.TYPE_PORT, 2)

_PORTS = "ports"
_PORTS_BY_ADDRESS = "ports_by_address"

_SETS = (
    nftables.SetType("bridges", (_INTERFACE,)),
    nftables.SetType("same_bridge", (_INTERFACE, _INTERFACE)),
    nftables.SetType("internal_bridges", (_INTERFACE,)),
    nftables.SetType("subnets", (_ADDRESS,), interval=True),
    nftables.SetType(_PORTS, (_PROTOCOL, _PORT), (_ADDRESS, _PORT)),
    nftables.SetType(_PORTS_BY_ADDRESS, (_ADDRESS, _PROTOCOL, _PORT), (_ADDRESS, _PORT)),
)

_Members = dict[str, list[nftables.Element]]


class Rules:
    """The table as it is in the kernel of the namespace that `socket` belongs to."""

    __slots__ = ("_socket",)

    def __init__(self, socket: Netlink) -> None:
        self._socket = socket

    def installed(self) -> bool:
        """Tell whether the table is there in the form this version writes."""
        return nftables.table_note(self._socket, TABLE) == VERSION

    def replace(self, networks: Iterable[Network], leases: Iterable[Lease]) -> None:
        """Build the whole table anew; connections that exist are not cut."""
        members: _Members = {}
        for network in networks:
            _merge(members, _network_members(network))
        for lease in leases:
            _merge(members, _port_members(lease))
        nftables.commit(self._socket, _whole_table(members), what="install packet filter")

    def remove(self) -> None:
        """Take the table away; may be repeated."""
        requests = [nftables.add_table(TABLE), nftables.delete_table(TABLE)]
        nftables.commit(self._socket, requests, what="remove packet filter")

    def add_network(self, network: Network) -> None:
        nftables.commit(self._socket, _additions(_network_members(network)), what=f"add network {network.name}")

    def remove_network(self, network: Network) -> None:
        self._delete(_network_members(network), what=f"remove network {network.name}")

    def publish(self, lease: Lease) -> None:
        """Open the ports of a lease; FAILED_PRECONDITION when one leads elsewhere already."""
        members = _port_members(lease)
        if members:
            nftables.commit(self._socket, _additions(members), what=f"publish ports of {lease.container_id}")

    def unpublish(self, lease: Lease) -> None:
        self._delete(_port_members(lease), what=f"unpublish ports of {lease.container_id}")

    def withdraw_strangers(self, live_ids: Collection[str]) -> list[str]:
        """Delete the ports of every container that is not named; return one line for each."""
        removed = []
        for name in (_PORTS, _PORTS_BY_ADDRESS):
            stale = [item for item in self._elements(name) if item.note not in live_ids]
            if stale:
                requests = nftables.delete_elements(TABLE, name, stale)
                nftables.commit(self._socket, requests, what="remove leftover ports")
                removed += [f"port {_key_text(item.key)} of {item.note}" for item in stale]
        return removed

    def _elements(self, name: str) -> list[nftables.Element]:
        try:
            return nftables.elements(self._socket, TABLE, name)
        except netlink.NetlinkError as error:
            if error.errno == 2:
                return []
            raise

    def _delete(self, members: _Members, *, what: str) -> None:
        """Delete members; when some are gone already, those that are left."""
        if not members:
            return
        try:
            nftables.commit(self._socket, _deletions(members), what=what)
        except netlink.NetlinkError as error:
            if error.errno != 2:
                raise
        else:
            return
        left: _Members = {}
        for name, wanted in members.items():
            keys = {(item.key, item.ends_interval) for item in wanted}
            found = [item for item in self._elements(name) if (item.key, item.ends_interval) in keys]
            if found:
                left[name] = found
        if left:
            nftables.commit(self._socket, _deletions(left), what=what)


def _merge(members: _Members, more: _Members) -> None:
    for name, items in more.items():
        members.setdefault(name, []).extend(items)


def _additions(members: _Members) -> list[bytes]:
    return [request for name, items in members.items() for request in nftables.add_elements(TABLE, name, items)]


def _deletions(members: _Members) -> list[bytes]:
    return [request for name, items in members.items() for request in nftables.delete_elements(TABLE, name, items)]


def _network_members(network: Network) -> _Members:
    key = nftables.interface_key(network.bridge)
    members = {
        "bridges": [nftables.Element(key)],
        "same_bridge": [nftables.Element(key + key)],
        "subnets": [item for subnet in network.subnets for item in _interval(subnet.cidr)],
    }
    if network.internal:
        members["internal_bridges"] = [nftables.Element(key)]
    return members


def _interval(cidr: str) -> list[nftables.Element]:
    address, _, length = cidr.partition("/")
    first = int.from_bytes(links.packed(address), "big")
    end = (first + (1 << (32 - int(length)))) & 0xFFFFFFFF
    return [
        nftables.Element(first.to_bytes(4, "big")),
        nftables.Element(end.to_bytes(4, "big"), ends_interval=True),
    ]


def _port_members(lease: Lease) -> _Members:
    members: _Members = {}
    target = next((item for item in lease.addresses if ":" not in item), "")
    for port in lease.ports:
        key = _padded(bytes((PROTOCOLS[port.protocol],))) + _padded(port.host_port.to_bytes(2, "big"))
        value = links.packed(target) + _padded(port.container_port.to_bytes(2, "big"))
        name = _PORTS
        if not _any_address(port):
            name, key = _PORTS_BY_ADDRESS, links.packed(port.host_ip) + key
        members.setdefault(name, []).append(nftables.Element(key, value, lease.container_id))
    return members


def _any_address(port: PortMapping) -> bool:
    return port.host_ip in ("", "0.0.0.0")


def _padded(data: bytes) -> bytes:
    return data.ljust(4, b"\0")


def _key_text(key: bytes) -> str:
    number = int.from_bytes(key[-4:-2], "big")
    protocol = next((name for name, value in PROTOCOLS.items() if value == key[-8]), "?")
    return f"{number}/{protocol}"


def _whole_table(members: _Members) -> list[bytes]:
    requests = [
        nftables.add_table(TABLE),
        nftables.delete_table(TABLE),
        nftables.add_table(TABLE, VERSION),
    ]
    requests += [nftables.add_set(TABLE, shape, number) for number, shape in enumerate(_SETS, 1)]
    requests += _chains()
    requests += [nftables.add_rule(TABLE, chain, *expressions) for chain, expressions in _rules()]
    return requests + _additions(members)


def _chains() -> list[bytes]:
    base = (
        ("guard", "filter", nftables.PREROUTING, -300),
        ("prerouting", "nat", nftables.PREROUTING, -100),
        ("output", "nat", nftables.OUTPUT, -100),
        ("postrouting", "nat", nftables.POSTROUTING, 100),
        ("forward", "filter", nftables.FORWARD, 0),
    )
    requests = [nftables.add_chain(TABLE, chain) for chain in ("publish", "inward")]
    return requests + [nftables.add_base_chain(TABLE, *chain) for chain in base]


def _rules() -> Sequence[tuple[str, tuple[bytes, ...]]]:
    source = nftables.load_payload(1, 12, 4)
    enters = nftables.load_meta(nftables.META_IIFNAME)
    leaves = nftables.load_meta(nftables.META_OIFNAME)
    both = enters + nftables.load_meta(nftables.META_OIFNAME, nftables.SECOND_NAME)
    ours = nftables.in_set("bridges")
    accept = nftables.verdict(nftables.ACCEPT)
    drop = nftables.verdict(nftables.DROP)
    to_host = (nftables.is_ipv4(), nftables.goes_to_this_host(), nftables.verdict(nftables.JUMP, "publish"))
    loopback = nftables.compare(b"\x7f")
    translated = nftables.has_ct_status(nftables.CT_STATUS_DNAT)
    return (
        ("guard", (enters, ours, nftables.is_ipv4(), nftables.load_payload(1, 16, 1), loopback, drop)),
        ("publish", (*_port_key(with_address=True), nftables.look_up(_PORTS_BY_ADDRESS), _to_container())),
        ("publish", (*_port_key(with_address=False), nftables.look_up(_PORTS), _to_container())),
        ("prerouting", to_host),
        ("output", to_host),
        (
            "postrouting",
            (nftables.is_ipv4(), nftables.load_payload(1, 12, 1), loopback, leaves, ours, nftables.masquerade()),
        ),
        (
            "postrouting",
            (
                nftables.is_ipv4(),
                source,
                nftables.in_set("subnets"),
                leaves,
                ours,
                translated,
                nftables.masquerade(),
            ),
        ),
        (
            "postrouting",
            (
                nftables.is_ipv4(),
                source,
                nftables.in_set("subnets"),
                leaves,
                nftables.in_set("bridges", inverted=True),
                nftables.masquerade(),
            ),
        ),
        (
            "forward",
            (
                enters,
                nftables.in_set("internal_bridges"),
                both,
                nftables.in_set("same_bridge", inverted=True),
                drop,
            ),
        ),
        ("forward", (leaves, ours, nftables.verdict(nftables.JUMP, "inward"))),
        ("forward", (enters, ours, accept)),
        ("inward", (nftables.has_ct_state(nftables.CT_ESTABLISHED_RELATED), accept)),
        ("inward", (translated, accept)),
        ("inward", (both, nftables.in_set("same_bridge"), accept)),
        ("inward", (drop,)),
    )


def _port_key(*, with_address: bool) -> tuple[bytes, ...]:
    """Load the key of a map into consecutive words: the destination's address, protocol, port."""
    protocol, port = nftables.WORDS[:2]
    address: tuple[bytes, ...] = (nftables.is_ipv4(),)
    if with_address:
        protocol, port = nftables.WORDS[1:3]
        address += (nftables.load_payload(1, 16, 4),)
    return (
        *address,
        nftables.load_meta(nftables.META_L4PROTO, protocol),
        nftables.load_payload(2, 2, 2, port),
    )


def _to_container() -> bytes:
    return nftables.destination_nat()
