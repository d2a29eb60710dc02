"""The frame of every netlink protocol: messages, attributes, acknowledgements and the kernel's own words.

Byte order is the machine's, as the kernel's is; lengths are bytes. Requests are plain bytes, so that they can
be made here and sent elsewhere. See the kernel's Documentation/userspace-api/netlink/intro.rst.
"""

from __future__ import annotations

import _socket
import errno
import os
from _struct import Struct, unpack_from

from wherry import errors
from wherry.errors import WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROUTE = 0
NETFILTER = 12

REQUEST = 0x1
ACK = 0x4
EXCLUSIVE = 0x200
CREATE = 0x400
APPEND = 0x800
DUMP = 0x300

_ERROR = 2
_DONE = 3
_MULTI = 0x2
_DUMP_INTERRUPTED = 0x10
_CAPPED = 0x100
_ACK_ATTRIBUTES = 0x200
_NESTED = 0x8000
_TYPE_MASK = 0x3FFF

_SOL_NETLINK = 270
_CAP_ACK = 10
_EXT_ACK = 11
_GET_STRICT = 12
_SO_SNDBUFFORCE = 32

_BATCH_MESSAGES = 64
_DEFAULT_SEND_BYTES = 128 << 10
_RECEIVE_BYTES = 64 << 10

_HEADER = Struct("=IHHII")
_ATTRIBUTE = Struct("=HH")
_SEQUENCE_OFFSET = 8

_CODES = {
    errno.EPERM: errors.PERMISSION_DENIED,
    errno.EACCES: errors.PERMISSION_DENIED,
    errno.EEXIST: errors.ALREADY_EXISTS,
    errno.EADDRINUSE: errors.ALREADY_EXISTS,
    errno.ENOENT: errors.NOT_FOUND,
    errno.ENODEV: errors.NOT_FOUND,
    errno.ESRCH: errors.NOT_FOUND,
    errno.EADDRNOTAVAIL: errors.NOT_FOUND,
    errno.EBUSY: errors.FAILED_PRECONDITION,
    errno.ENETUNREACH: errors.FAILED_PRECONDITION,
    errno.EOPNOTSUPP: errors.NOT_IMPLEMENTED,
    errno.EPROTONOSUPPORT: errors.NOT_IMPLEMENTED,
    errno.EAFNOSUPPORT: errors.NOT_IMPLEMENTED,
    errno.ENOMEM: errors.RESOURCE_EXHAUSTED,
    errno.ENOBUFS: errors.RESOURCE_EXHAUSTED,
    errno.EINVAL: errors.INVALID_ARGUMENT,
}


class NetlinkError(WherryError):
    """The kernel refused a request: `errno` says why, `index` which request of those sent together."""

    __slots__ = ("errno", "index")

    def __init__(self, number: int, index: int, what: str, detail: str) -> None:
        reason = f"{os.strerror(number)}: {detail}" if detail else os.strerror(number)
        super().__init__(_CODES.get(number, errors.INTERNAL), f"{what}: {reason}")
        self.errno = number
        self.index = index


def attribute(kind: int, payload: bytes) -> bytes:
    """Encode one attribute, padded to four bytes."""
    return _ATTRIBUTE.pack(len(payload) + 4, kind) + payload + bytes(-len(payload) & 3)


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, bytes((value,)))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, _U32.pack(value))


def u32_network(kind: int, value: int) -> bytes:
    """Encode a number in network byte order, as nfnetlink wants it; negative ones as two's complement."""
    return attribute(kind, (value & 0xFFFFFFFF).to_bytes(4, "big"))


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(attributes))


def message(kind: int, flags: int, body: bytes, sequence: int = 0) -> bytes:
    """Encode a whole request, padded; the socket numbers it when it is sent."""
    length = _HEADER.size + len(body)
    return _HEADER.pack(length, kind, flags | REQUEST, sequence, 0) + body + bytes(-len(body) & 3)


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Decode a row of attributes; of two of one kind the last counts."""
    found: dict[int, bytes] = {}
    for kind, payload in attribute_list(data, offset):
        found[kind] = payload
    return found


def attribute_list(data: bytes, offset: int = 0) -> list[tuple[int, bytes]]:
    """Decode a row of attributes in order; a malformed tail ends it."""
    found = []
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > len(data):
            break
        found.append((kind & _TYPE_MASK, data[offset + 4 : offset + length]))
        offset += (length + 3) & ~3
    return found


def string(payload: bytes) -> str:
    return payload.split(b"\0", 1)[0].decode(errors="replace")


class Netlink:
    """One socket of one netlink protocol, in the network namespace of the thread that makes it.

    The kernel handles a request before the send returns, so acknowledgements are read without waiting.
    """

    __slots__ = ("_sequence", "_socket")

    def __init__(self, protocol: int) -> None:
        kind = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
        self._socket = _socket.socket(_socket.AF_NETLINK, kind, protocol)
        for option in (_CAP_ACK, _EXT_ACK, _GET_STRICT):
            try:
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
            except OSError:
                continue  # only makes errors poorer, or dumps longer
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def request(
        self, messages: Sequence[bytes], *, what: str = "netlink", allowed: Sequence[int] = ()
    ) -> list[tuple[int, bytes]]:
        """Send requests together and return the (kind, body) of every answer.

        The kernel goes on after a refused request; the first refusal whose errno is not in `allowed` is
        raised as NetlinkError.
        """
        answers: list[tuple[int, bytes]] = []
        for start in range(0, len(messages), _BATCH_MESSAGES):
            answers += self._exchange(messages[start : start + _BATCH_MESSAGES], start, what, allowed)
        return answers

    def transaction(self, messages: Sequence[bytes], *, what: str, allowed: Sequence[int] = ()) -> None:
        """Send requests that only make sense as one piece, however long; answers are dropped."""
        self._exchange(messages, 0, what, allowed)

    def dump(self, request: bytes, *, what: str = "netlink") -> list[tuple[int, bytes]]:
        """Return the (kind, body) of every object that a dump request lists."""
        for _ in range(5):
            self._send([request])
            answers, whole = self._read_dump(what)
            if whole:
                return answers
        return answers

    def _exchange(
        self, messages: Sequence[bytes], start: int, what: str, allowed: Sequence[int]
    ) -> list[tuple[int, bytes]]:
        first = self._send(messages)
        answers: list[tuple[int, bytes]] = []
        refused: NetlinkError | None = None
        for kind, flags, sequence, body in self._pending():
            index = sequence - first
            if not 0 <= index < len(messages):
                continue
            if kind != _ERROR:
                answers.append((kind, body))
                continue
            number = -unpack_from("=i", body)[0]
            if number and number not in allowed and refused is None:
                refused = NetlinkError(number, start + index, what, _explanation(flags, body))
        if refused is not None:
            raise refused
        return answers

    def _send(self, messages: Sequence[bytes]) -> int:
        """Number the requests, send them as one datagram, and return the first number."""
        first = self._sequence + 1
        self._sequence += len(messages)
        datagram = bytearray().join(messages)
        offset = 0
        for index, request in enumerate(messages):
            _U32.pack_into(datagram, offset + _SEQUENCE_OFFSET, (first + index) & 0xFFFFFFFF)
            offset += len(request)
        if len(datagram) > _DEFAULT_SEND_BYTES:
            self._socket.setsockopt(_socket.SOL_SOCKET, _SO_SNDBUFFORCE, 2 * len(datagram))
        self._socket.sendto(datagram, (0, 0))
        return first

    def _pending(self) -> Iterable[tuple[int, int, int, bytes]]:
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES, _socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                continue
            yield from _split(data)

    def _read_dump(self, what: str) -> tuple[list[tuple[int, bytes]], bool]:
        answers: list[tuple[int, bytes]] = []
        whole = True
        while True:
            for kind, flags, sequence, body in _split(self._socket.recv(_RECEIVE_BYTES)):
                if sequence != self._sequence & 0xFFFFFFFF:
                    continue
                if flags & _DUMP_INTERRUPTED:
                    whole = False
                if kind in (_ERROR, _DONE):
                    number = -unpack_from("=i", body)[0] if len(body) >= 4 else 0
                    if number:
                        raise NetlinkError(number, 0, what, _explanation(flags, body))
                    return answers, whole
                answers.append((kind, body))


def _split(data: bytes) -> Iterable[tuple[int, int, int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield kind, flags, sequence, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _explanation(flags: int, body: bytes) -> str:
    """Return the sentence of the extended acknowledgement, or nothing."""
    if not flags & _ACK_ATTRIBUTES:
        return ""
    offset = 4 + _HEADER.size
    if not flags & _CAPPED:
        echoed = unpack_from("=I", body, 4)[0]
        offset = 4 + ((echoed + 3) & ~3)
    return string(attributes(body, offset).get(1, b""))


_U32 = Struct("=I")
