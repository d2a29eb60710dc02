"""Forgetting UDP flows that the kernel still sends where a published port used to lead.

A translation is chosen for the first packet of a flow and kept while packets come; a client that never stops
sending would never reach a container that started, or was replaced, behind its back. TCP ends by itself.
"""

from __future__ import annotations

import _socket
import errno

from wherry.errors import WherryError
from wherry.network import netlink, sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from wherry.network.netlink import Netlink

_SUBSYSTEM = 1
_NEW, _GET, _DELETE = 0, 1, 2
_UDP = 17


def forget_udp(socket: Netlink, host_ports: Collection[int]) -> int:
    """Delete every IPv4 UDP flow to one of these ports; return how many there were.

    Costs some 10 ms of CPU, because the kernel walks the table of all namespaces, unless this one has no flow.
    """
    if not _has_flows():
        return 0
    dump = _request(_GET, netlink.DUMP)
    requests = []
    for kind, body in socket.dump(dump, what="list flows"):
        if kind & 0xFF == _NEW:
            found = netlink.attributes(body, 4)
            original = found.get(1, b"")
            if _udp_destination_port(original) in host_ports:
                requests.append(_request(_DELETE, netlink.ACK, netlink.nested(1, original)))
    socket.request(requests, what="forget flows", allowed=(errno.ENOENT,))
    return len(requests)


def _has_flows() -> bool:
    try:
        return sysctl.read("net/netfilter/nf_conntrack_count") != "0"
    except WherryError:
        return True  # a kernel that does not count


def _udp_destination_port(tuple_attributes: bytes) -> int:
    protocol = netlink.attributes(netlink.attributes(tuple_attributes).get(2, b""))
    if protocol.get(1) != bytes((_UDP,)):
        return -1
    return int.from_bytes(protocol.get(3, b""), "big")


def _request(kind: int, flags: int, attributes: bytes = b"") -> bytes:
    body = bytes((_socket.AF_INET, 0, 0, 0)) + attributes
    return netlink.message(_SUBSYSTEM << 8 | kind, flags, body)
