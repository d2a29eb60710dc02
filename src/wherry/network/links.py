"""rtnetlink requests for links, addresses and routes, and the few facts read back from their dumps.

The request builders are pure; addresses are text of either family. Numbers are from linux/if_link.h,
linux/if_addr.h and linux/rtnetlink.h.
"""

from __future__ import annotations

import _socket
from _struct import Struct

from wherry import errors
from wherry.errors import WherryError
from wherry.network import netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.network.base import Netns
    from wherry.network.netlink import Netlink

NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWADDR, GETADDR = 20, 22
NEWROUTE, GETROUTE = 24, 26

UP = 0x1

_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _LINKINFO = 1, 3, 4, 5, 10, 18
_NET_NS_PID, _IFALIAS, _AF_SPEC, _NET_NS_FD, _EXT_MASK = 19, 20, 26, 28, 29
_SKIP_STATISTICS = 8
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_VETH_PEER = 1
_BRIDGE_PORT_HAIRPIN = 4
_INET6_ADDR_GEN_MODE = 8
_ADDR_GEN_NONE = 1

_LINK_BODY = Struct("=BxHiII")
_ADDR_BODY = Struct("=BBBBI")
_ROUTE_BODY = Struct("=BBBBBBBBI")

_TABLE_MAIN = 254
_PROTOCOL_BOOT = 3
_SCOPE_UNIVERSE = 0
_UNICAST = 1


def packed(address: str) -> bytes:
    """Return an address as 4 or 16 bytes; OSError when it is none."""
    family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
    return _socket.inet_pton(family, address)


def unpacked(data: bytes) -> str:
    return _socket.inet_ntop(_socket.AF_INET if len(data) == 4 else _socket.AF_INET6, data)


def mac_bytes(mac: str) -> bytes:
    """Return a MAC as 6 bytes; INVALID_ARGUMENT when it is none that an interface can have."""
    parts = mac.split(":")
    try:
        data = bytes(int(part, 16) for part in parts)
    except ValueError:
        data = b""
    if len(data) != 6 or any(len(part) != 2 for part in parts) or data[0] & 1:
        raise WherryError(errors.INVALID_ARGUMENT, f"{mac!r} is no MAC of an interface", hint="write 02:00:00:00:00:01")
    return data


def mac_text(data: bytes) -> str:
    return data.hex(":")


def create_bridge(name: str, *, mac: str, mtu: int) -> bytes:
    """Request a bridge that is down; its address is set so that it does not follow that of its ports."""
    return netlink.message(
        NEWLINK,
        netlink.ACK | netlink.CREATE | netlink.EXCLUSIVE,
        _LINK_BODY.pack(0, 0, 0, 0, 0)
        + netlink.text(_IFNAME, name)
        + netlink.attribute(_ADDRESS, mac_bytes(mac))
        + netlink.u32(_MTU, mtu)
        + netlink.nested(_LINKINFO, netlink.text(_INFO_KIND, "bridge")),
    )


def create_veth(
    name: str,
    *,
    master_index: int,
    mtu: int,
    peer_name: str,
    peer_netns: Netns,
    peer_mac: str,
    peer_index: int = 0,
    index: int = 0,
) -> bytes:
    """Request a pair whose far end appears, already named, in `peer_netns`; the near end is a bridge's port.

    Both ends are down: a half that has no other half yet cannot be up. The kernel honours `peer_index` only
    when `index` is given as well.
    """
    peer = (
        _LINK_BODY.pack(0, 0, peer_index, 0, 0)
        + netlink.text(_IFNAME, peer_name)
        + netlink.attribute(_ADDRESS, mac_bytes(peer_mac))
        + netlink.u32(_MTU, mtu)
        + _namespace(peer_netns)
    )
    return netlink.message(
        NEWLINK,
        netlink.ACK | netlink.CREATE | netlink.EXCLUSIVE,
        _LINK_BODY.pack(0, 0, index, 0, 0)
        + netlink.text(_IFNAME, name)
        + netlink.u32(_MTU, mtu)
        + netlink.u32(_MASTER, master_index)
        + netlink.nested(
            _LINKINFO,
            netlink.text(_INFO_KIND, "veth"),
            netlink.nested(_INFO_DATA, netlink.attribute(_VETH_PEER | 0x8000, peer)),
        ),
    )


def set_bridge_port(name: str, *, alias: str, hairpin: bool) -> bytes:
    """Request a port to be up, without an IPv6 address of its own; `hairpin` lets frames turn round in it."""
    attributes = [
        netlink.text(_IFNAME, name),
        netlink.attribute(_IFALIAS, alias.encode()),
        netlink.nested(_AF_SPEC, netlink.nested(_socket.AF_INET6, netlink.u8(_INET6_ADDR_GEN_MODE, _ADDR_GEN_NONE))),
    ]
    if hairpin:
        attributes.append(
            netlink.nested(
                _LINKINFO,
                netlink.text(_INFO_SLAVE_KIND, "bridge"),
                netlink.nested(_INFO_SLAVE_DATA, netlink.u8(_BRIDGE_PORT_HAIRPIN, 1)),
            )
        )
    return netlink.message(NEWLINK, netlink.ACK, _LINK_BODY.pack(0, 0, 0, UP, UP) + b"".join(attributes))


def set_master(name: str, master_index: int) -> bytes:
    """Request that a link becomes a port of a bridge."""
    return netlink.message(
        NEWLINK,
        netlink.ACK,
        _LINK_BODY.pack(0, 0, 0, 0, 0) + netlink.text(_IFNAME, name) + netlink.u32(_MASTER, master_index),
    )


def set_up(index: int) -> bytes:
    return netlink.message(NEWLINK, netlink.ACK, _LINK_BODY.pack(0, 0, index, UP, UP))


def rename(index: int, name: str) -> bytes:
    return netlink.message(NEWLINK, netlink.ACK, _LINK_BODY.pack(0, 0, index, 0, 0) + netlink.text(_IFNAME, name))


def delete_link(name: str) -> bytes:
    return netlink.message(DELLINK, netlink.ACK, _LINK_BODY.pack(0, 0, 0, 0, 0) + netlink.text(_IFNAME, name))


def get_link(name: str) -> bytes:
    attributes = netlink.text(_IFNAME, name) + netlink.u32(_EXT_MASK, _SKIP_STATISTICS)
    return netlink.message(GETLINK, 0, _LINK_BODY.pack(0, 0, 0, 0, 0) + attributes)


def add_address(index: int, address: str, prefix_length: int) -> bytes:
    """Request an address; IPv4 ones get the broadcast address of their subnet."""
    data = packed(address)
    family = _socket.AF_INET if len(data) == 4 else _socket.AF_INET6
    attributes = netlink.attribute(2, data) + netlink.attribute(1, data)
    if len(data) == 4 and prefix_length < 31:
        last = int.from_bytes(data, "big") | (0xFFFFFFFF >> prefix_length)
        attributes += netlink.attribute(4, last.to_bytes(4, "big"))
    return netlink.message(
        NEWADDR,
        netlink.ACK | netlink.CREATE | netlink.EXCLUSIVE,
        _ADDR_BODY.pack(family, prefix_length, 0, _SCOPE_UNIVERSE, index) + attributes,
    )


def add_default_route(gateway: str, *, metric: int = 0) -> bytes:
    """Request the default route of the gateway's family; the interface follows from the gateway."""
    data = packed(gateway)
    family = _socket.AF_INET if len(data) == 4 else _socket.AF_INET6
    attributes = netlink.attribute(5, data)
    if metric:
        attributes += netlink.u32(6, metric)
    body = _ROUTE_BODY.pack(family, 0, 0, 0, _TABLE_MAIN, _PROTOCOL_BOOT, _SCOPE_UNIVERSE, _UNICAST, 0)
    return netlink.message(NEWROUTE, netlink.ACK | netlink.CREATE, body + attributes)


class Link:
    """One network interface; `peer_index` is the other end of a pair, 0 without one."""

    __slots__ = ("alias", "index", "kind", "mac", "master", "mtu", "name", "peer_index", "up")

    index: int

    def __init__(self, body: bytes) -> None:
        _, _, self.index, flags, _ = _LINK_BODY.unpack_from(body)
        found = netlink.attributes(body, _LINK_BODY.size)
        info = netlink.attributes(found.get(_LINKINFO, b""))
        self.up = bool(flags & UP)
        self.name = netlink.string(found.get(_IFNAME, b""))
        self.alias = netlink.string(found.get(_IFALIAS, b""))
        self.kind = netlink.string(info.get(_INFO_KIND, b""))
        self.mac = mac_text(found.get(_ADDRESS, b""))
        self.master = _number(found.get(_MASTER))
        self.mtu = _number(found.get(_MTU))
        self.peer_index = _number(found.get(_LINK))


def links(socket: Netlink) -> list[Link]:
    body = _LINK_BODY.pack(0, 0, 0, 0, 0) + netlink.u32(_EXT_MASK, _SKIP_STATISTICS)
    request = netlink.message(GETLINK, netlink.DUMP, body)
    return [Link(body) for kind, body in socket.dump(request, what="list links") if kind == NEWLINK]


def addresses(socket: Netlink) -> list[tuple[int, str, int]]:
    """Return (interface index, address, prefix length) of every address of this namespace."""
    request = netlink.message(GETADDR, netlink.DUMP, _ADDR_BODY.pack(0, 0, 0, 0, 0))
    result = []
    for kind, body in socket.dump(request, what="list addresses"):
        if kind == NEWADDR:
            _, prefix_length, _, _, index = _ADDR_BODY.unpack_from(body)
            found = netlink.attributes(body, _ADDR_BODY.size)
            data = found.get(2) or found.get(1, b"")
            if len(data) in (4, 16):
                result.append((index, unpacked(data), prefix_length))
    return result


def routes(socket: Netlink) -> list[tuple[str, int, int]]:
    """Return (destination, prefix length, interface index) of every IPv4 unicast route; default is length 0."""
    request = netlink.message(GETROUTE, netlink.DUMP, _ROUTE_BODY.pack(_socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0))
    result = []
    for kind, body in socket.dump(request, what="list routes"):
        if kind != NEWROUTE:
            continue
        _, prefix_length, _, _, _, _, _, route_type, _ = _ROUTE_BODY.unpack_from(body)
        if route_type == _UNICAST:
            found = netlink.attributes(body, _ROUTE_BODY.size)
            destination = unpacked(found.get(1, bytes(4)))
            result.append((destination, prefix_length, _number(found.get(4))))
    return result


def _namespace(netns: Netns) -> bytes:
    if netns.fd >= 0:
        return netlink.u32(_NET_NS_FD, netns.fd)
    return netlink.u32(_NET_NS_PID, netns.pid)


def _number(payload: bytes | None) -> int:
    return int.from_bytes(payload, "little" if _LITTLE else "big") if payload else 0


_LITTLE = netlink.u32(0, 1)[4] == 1
