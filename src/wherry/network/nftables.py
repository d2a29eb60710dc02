"""nf_tables requests: tables, chains, sets and rules, sent as one transaction without any process.

Everything here encodes; `Ruleset` in rules.py decides. Numbers are from linux/netfilter/nf_tables.h. Values in
registers and sets keep network byte order where the packet has it; interface names fill 16 bytes.
"""

from __future__ import annotations

from wherry.network import netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wherry.network.netlink import Netlink

INET = 1

_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEWTABLE, _GETTABLE, _DELTABLE = 0, 1, 2
_NEWCHAIN = 3
_NEWRULE = 6
_NEWSET = 9
_NEWSETELEM, _GETSETELEM, _DELSETELEM = 12, 13, 14

SET_INTERVAL, SET_MAP = 0x4, 0x8
_INTERVAL_END = 1
_ELEMENTS_PER_MESSAGE = 400

# The numbers by which the nft program knows the types of keys; a concatenation has six bits for each.
TYPE_ADDRESS, TYPE_PROTOCOL, TYPE_PORT, TYPE_INTERFACE = 7, 12, 13, 41

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)

ACCEPT, DROP, JUMP = 1, 0, -3

# Registers: the verdict, and words of four bytes. FIRST names the same word as WORDS[0], as nft writes it.
FIRST = 1
WORDS = (1, 9, 10, 11)
SECOND_NAME = 2

_NFPROTO_IPV4 = 2
_CT_STATE, _CT_STATUS = 0, 2
CT_ESTABLISHED_RELATED = 0x2 | 0x4
CT_STATUS_DNAT = 0x20

META_NFPROTO, META_L4PROTO, META_IIFNAME, META_OIFNAME = 15, 16, 6, 7
_EQUAL, _NOT_EQUAL = 0, 1


def interface_key(name: str) -> bytes:
    return name.encode().ljust(16, b"\0")


def comment(text: str) -> bytes:
    """Encode user data in the form that the nft program prints as a comment."""
    data = text.encode() + b"\0"
    return bytes((0, len(data))) + data


def comment_text(userdata: bytes) -> str:
    offset = 0
    while offset + 2 <= len(userdata):
        kind, length = userdata[offset], userdata[offset + 1]
        if kind == 0:
            return netlink.string(userdata[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return ""


def _request(kind: int, flags: int, *attributes: bytes) -> bytes:
    body = bytes((INET, 0, 0, 0)) + b"".join(attributes)
    return netlink.message(_SUBSYSTEM << 8 | kind, flags, body)


def add_table(table: str, note: str = "") -> bytes:
    userdata = netlink.attribute(6, comment(note)) if note else b""
    return _request(_NEWTABLE, netlink.CREATE, netlink.text(1, table), netlink.u32(2, 0), userdata)


def delete_table(table: str) -> bytes:
    return _request(_DELTABLE, 0, netlink.text(1, table))


def add_chain(table: str, chain: str) -> bytes:
    return _request(_NEWCHAIN, netlink.CREATE, netlink.text(1, table), netlink.text(3, chain))


def add_base_chain(table: str, chain: str, kind: str, hook: int, priority: int) -> bytes:
    """Encode a chain that the kernel enters at a hook; what falls off its end is accepted."""
    return _request(
        _NEWCHAIN,
        netlink.CREATE,
        netlink.text(1, table),
        netlink.text(3, chain),
        netlink.text(7, kind),
        netlink.u32_network(5, ACCEPT),
        netlink.nested(4, netlink.u32_network(1, hook), netlink.u32_network(2, priority)),
    )


class SetType:
    """The shape of a set: the types and byte lengths of its key's parts, and of what a map yields."""

    __slots__ = ("flags", "key", "name", "value")

    def __init__(
        self,
        name: str,
        key: Sequence[tuple[int, int]],
        value: Sequence[tuple[int, int]] = (),
        *,
        interval: bool = False,
    ) -> None:
        self.name = name
        self.key = key
        self.value = value
        self.flags = (SET_INTERVAL if interval else 0) | (SET_MAP if value else 0)


def _joined(parts: Sequence[tuple[int, int]]) -> tuple[int, int]:
    kind = length = 0
    for part_kind, part_length in parts:
        kind = kind << 6 | part_kind
        length += (part_length + 3) & ~3
    return kind, length


def add_set(table: str, shape: SetType, identifier: int) -> bytes:
    """Encode a named set; `identifier` is unique within the transaction."""
    key_type, key_length = _joined(shape.key)
    attributes = [
        netlink.text(1, table),
        netlink.text(2, shape.name),
        netlink.u32_network(3, shape.flags),
        netlink.u32_network(4, key_type),
        netlink.u32_network(5, key_length),
        netlink.u32_network(10, identifier),
    ]
    # How nft is to print the key: numbers of the host's byte order (names of interfaces) or of the network's.
    order = 1 if shape.key[0][0] == TYPE_INTERFACE else 2
    userdata = bytes((0, 4, order if len(shape.key) == 1 else 0, 0, 0, 0))
    if shape.value:
        value_type, value_length = _joined(shape.value)
        attributes += [netlink.u32_network(6, value_type), netlink.u32_network(7, value_length)]
        userdata += bytes((1, 4, 0, 0, 0, 0))
    attributes.append(netlink.attribute(13, userdata))
    return _request(_NEWSET, netlink.CREATE, *attributes)


class Element:
    """One member of a set: its key, what a map yields for it, and a note that tells whose it is."""

    __slots__ = ("ends_interval", "key", "note", "value")

    def __init__(self, key: bytes, value: bytes = b"", note: str = "", *, ends_interval: bool = False) -> None:
        self.key = key
        self.value = value
        self.note = note
        self.ends_interval = ends_interval

    def encode(self) -> bytes:
        parts = netlink.u32_network(3, _INTERVAL_END) if self.ends_interval else b""
        parts += _data(1, self.key)
        if self.value:
            parts += _data(2, self.value)
        if self.note:
            parts += netlink.attribute(6, comment(self.note))
        return parts


def _data(kind: int, value: bytes) -> bytes:
    return netlink.nested(kind, netlink.attribute(1, value))


def add_elements(table: str, set_name: str, elements: Sequence[Element]) -> list[bytes]:
    return _elements(_NEWSETELEM, netlink.CREATE, table, set_name, elements)


def delete_elements(table: str, set_name: str, elements: Sequence[Element]) -> list[bytes]:
    return _elements(_DELSETELEM, 0, table, set_name, elements)


def _elements(kind: int, flags: int, table: str, set_name: str, elements: Sequence[Element]) -> list[bytes]:
    requests = []
    for start in range(0, len(elements), _ELEMENTS_PER_MESSAGE):
        part = elements[start : start + _ELEMENTS_PER_MESSAGE]
        members = [netlink.nested(1, element.encode()) for element in part]
        requests.append(
            _request(kind, flags, netlink.text(1, table), netlink.text(2, set_name), netlink.nested(3, *members))
        )
    return requests


def add_rule(table: str, chain: str, *expressions: bytes) -> bytes:
    return _request(
        _NEWRULE,
        netlink.CREATE | netlink.APPEND,
        netlink.text(1, table),
        netlink.text(2, chain),
        netlink.nested(4, *expressions),
    )


def _expression(name: str, *attributes: bytes) -> bytes:
    return netlink.nested(1, netlink.text(1, name), netlink.nested(2, *attributes))


def load_meta(key: int, register: int = FIRST) -> bytes:
    return _expression("meta", netlink.u32_network(2, key), netlink.u32_network(1, register))


def load_payload(base: int, offset: int, length: int, register: int = FIRST) -> bytes:
    """Load bytes of the packet; `base` 1 is the network header, 2 the transport header."""
    return _expression(
        "payload",
        netlink.u32_network(1, register),
        netlink.u32_network(2, base),
        netlink.u32_network(3, offset),
        netlink.u32_network(4, length),
    )


def compare(value: bytes, *, equal: bool = True, register: int = FIRST) -> bytes:
    operation = _EQUAL if equal else _NOT_EQUAL
    return _expression("cmp", netlink.u32_network(1, register), netlink.u32_network(2, operation), _data(3, value))


def in_set(name: str, *, inverted: bool = False) -> bytes:
    flags = netlink.u32_network(5, 1) if inverted else b""
    return _expression("lookup", netlink.text(1, name), netlink.u32_network(2, FIRST), flags)


def look_up(name: str) -> bytes:
    """Replace the key in the registers by what the map yields, or leave the rule."""
    return _expression("lookup", netlink.text(1, name), netlink.u32_network(2, FIRST), netlink.u32_network(3, FIRST))


def verdict(code: int, chain: str = "") -> bytes:
    target = netlink.text(2, chain) if chain else b""
    data = netlink.nested(2, netlink.nested(2, netlink.u32_network(1, code), target))
    return _expression("immediate", netlink.u32_network(1, 0), data)


def is_ipv4() -> bytes:
    return load_meta(META_NFPROTO) + compare(bytes((_NFPROTO_IPV4,)))


def goes_to_this_host() -> bytes:
    """Match packets whose destination is one of the host's own addresses, loopback included."""
    destination, address_type, local = 2, 3, 2
    load = _expression(
        "fib",
        netlink.u32_network(3, destination),
        netlink.u32_network(2, address_type),
        netlink.u32_network(1, FIRST),
    )
    return load + compare(netlink.u32(0, local)[4:])


def has_ct_state(bits: int) -> bytes:
    return _ct_bits(_CT_STATE, bits)


def has_ct_status(bits: int) -> bytes:
    return _ct_bits(_CT_STATUS, bits)


def _ct_bits(key: int, bits: int) -> bytes:
    mask = _expression(
        "bitwise",
        netlink.u32_network(1, FIRST),
        netlink.u32_network(2, FIRST),
        netlink.u32_network(3, 4),
        _data(4, netlink.u32(0, bits)[4:]),
        _data(5, bytes(4)),
    )
    load = _expression("ct", netlink.u32_network(2, key), netlink.u32_network(1, FIRST))
    return load + mask + compare(bytes(4), equal=False)


def destination_nat() -> bytes:
    """Send the packet to the IPv4 address in the first word and the port in the second."""
    return _expression(
        "nat",
        netlink.u32_network(1, 1),
        netlink.u32_network(2, _NFPROTO_IPV4),
        netlink.u32_network(3, WORDS[0]),
        netlink.u32_network(5, WORDS[1]),
    )


def masquerade() -> bytes:
    return _expression("masq")


def commit(socket: Netlink, requests: Iterable[bytes], *, what: str) -> None:
    """Apply all requests or none."""
    begin = netlink.message(_BATCH_BEGIN, 0, bytes((0, 0, 0, _SUBSYSTEM)))
    end = netlink.message(_BATCH_END, 0, bytes((0, 0, 0, _SUBSYSTEM)))
    socket.transaction([begin, *requests, end], what=what)


def table_note(socket: Netlink, table: str) -> str | None:
    """Return the comment of a table, None when the table does not exist."""
    answers = socket.request([_request(_GETTABLE, 0, netlink.text(1, table))], what="nftables", allowed=(2,))
    for _, body in answers:
        return comment_text(netlink.attributes(body, 4).get(6, b""))
    return None


def elements(socket: Netlink, table: str, set_name: str) -> list[Element]:
    """List the members of a set; NOT_FOUND without it."""
    request = _request(_GETSETELEM, netlink.DUMP, netlink.text(1, table), netlink.text(2, set_name))
    found = []
    for _, body in socket.dump(request, what=f"nftables set {set_name}"):
        members = netlink.attributes(body, 4).get(3, b"")
        found += [_decode(member) for _, member in netlink.attribute_list(members)]
    return found


def _decode(member: bytes) -> Element:
    parts = netlink.attributes(member)
    key, value = (netlink.attributes(parts.get(kind, b"")).get(1, b"") for kind in (1, 2))
    ends = bool(parts.get(3, bytes(4))[-1] & _INTERVAL_END)
    return Element(key, value, comment_text(parts.get(6, b"")), ends_interval=ends)
