"""A small D-Bus client: method calls and signals over one blocking unix socket (D-Bus specification 0.40).

Values follow their signature: a variant is (signature, value), a structure a tuple, a dictionary a list of
pairs.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket
from struct import pack, unpack_from

from wherry.errors import UNAVAILABLE, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TIMEOUT_S = 30.0
_CALL, _RETURN, _ERROR, _SIGNAL = 1, 2, 3, 4
_FIXED = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d"}
_ALIGNMENT = {
    **dict.fromkeys("yvg", 1),
    **dict.fromkeys("nq", 2),
    **dict.fromkeys("biuasoh", 4),
    **dict.fromkeys("xtd({", 8),
}
_MESSAGE_LIMIT_BYTES = 1 << 27


class BusError(WherryError):
    """An error reply: `name` is the D-Bus error's name."""

    __slots__ = ("name",)

    def __init__(self, name: str, message: str) -> None:
        super().__init__(UNAVAILABLE, message)
        self.name = name


class Message:
    """What came in. `serial` is that of the call that a reply answers."""

    __slots__ = ("body", "error", "kind", "member", "serial")

    def __init__(self, kind: int, fields: dict[int, Any], body: list[Any]) -> None:
        self.kind = kind
        self.member = fields.get(3, "")
        self.error = fields.get(4, "")
        self.serial = fields.get(5, 0)
        self.body = body


class Bus:
    """A connection. `direct` ones go to a service without a bus daemon between."""

    __slots__ = ("_buffer", "_serial", "_signals", "_socket", "direct")

    def __init__(self, address: str | bytes, *, direct: bool = False, timeout_s: float = TIMEOUT_S) -> None:
        """Connect and authenticate. Raises OSError when nobody listens, WherryError when we are refused."""
        self.direct = direct
        self._serial = 0
        self._signals: list[Message] = []
        self._buffer = b""
        self._socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            self._socket.settimeout(timeout_s)
            self._socket.connect(address)
            self._authenticate()
            if not direct:
                self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def call(
        self, destination: str, path: str, interface: str, member: str, signature: str = "", *values: Any
    ) -> list[Any]:
        """Call a method and return what it returns. Raises BusError for an error reply."""
        self._serial += 1
        fields: list[tuple[int, tuple[str, Any]]] = [(1, ("o", path)), (2, ("s", interface)), (3, ("s", member))]
        if not self.direct:
            fields.append((6, ("s", destination)))
        if signature:
            fields.append((8, ("g", signature)))
        body = encode(signature, values)
        head = encode("yyyyuua(yv)", (ord("l"), _CALL, 0, 1, len(body), self._serial, fields))
        self._send(head + bytes(-len(head) % 8) + body)
        while True:
            message = self._receive()
            if message.kind == _SIGNAL:
                self._signals.append(message)
            elif message.kind in (_RETURN, _ERROR) and message.serial == self._serial:
                break
        if message.kind == _ERROR:
            text = message.body[0] if message.body and isinstance(message.body[0], str) else message.error
            raise BusError(message.error, text)
        return message.body

    def signal(self, member: str) -> list[Any]:
        """The body of the next signal with this name."""
        while True:
            message = self._signals.pop(0) if self._signals else self._receive()
            if message.kind == _SIGNAL and message.member == member:
                return message.body

    def _authenticate(self) -> None:
        """EXTERNAL without an identity: the kernel tells who we are, whatever our user namespace calls us."""
        self._send(b"\0AUTH EXTERNAL\r\n")
        if self._line().startswith(b"DATA"):
            self._send(b"DATA\r\n")
            if self._line().startswith(b"OK"):
                self._send(b"BEGIN\r\n")
                return
        raise WherryError(UNAVAILABLE, "the message bus does not accept us")

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._fill()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _receive(self) -> Message:
        self._need(16)
        order = "<" if self._buffer[:1] == b"l" else ">"
        length, _, fields_length = unpack_from(order + "3I", self._buffer, 4)
        head_length = 16 + fields_length + -fields_length % 8
        if head_length + length > _MESSAGE_LIMIT_BYTES:
            raise WherryError(UNAVAILABLE, "the message bus sent a message that is too large")
        self._need(head_length + length)
        kind = self._buffer[1]
        [(*_, fields)] = [decode("yyyyuua(yv)", self._buffer[: 16 + fields_length], order)]
        named = {code: value for code, (_, value) in fields}
        body = decode(named.get(8, ""), self._buffer[head_length : head_length + length], order)
        self._buffer = self._buffer[head_length + length :]
        return Message(kind, named, body)

    def _need(self, count: int) -> None:
        while len(self._buffer) < count:
            self._fill()

    def _fill(self) -> None:
        try:
            data = self._socket.recv(1 << 16)
        except TimeoutError:
            raise WherryError(UNAVAILABLE, "the message bus does not answer") from None
        if not data:
            raise WherryError(UNAVAILABLE, "the message bus closed the connection")
        self._buffer += data

    def _send(self, data: bytes) -> None:
        self._socket.sendall(data)


def open_bus(*, user: bool) -> Bus:
    """The system bus or the user's; else systemd's own socket. Raises WherryError when there is none."""
    tried = []
    for address, direct in _addresses(user):
        try:
            return Bus(address, direct=direct)
        except OSError as error:
            tried.append(f"{os.fsdecode(address)}: {error.strerror or error}")
    raise WherryError(
        UNAVAILABLE,
        f"cannot reach systemd{' of this user' if user else ''}: {'; '.join(tried) or 'XDG_RUNTIME_DIR is not set'}",
        hint="use the cgroupfs manager, or run where systemd is",
    )


def _addresses(user: bool) -> list[tuple[str | bytes, bool]]:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    listed = os.environ.get("DBUS_SESSION_BUS_ADDRESS" if user else "DBUS_SYSTEM_BUS_ADDRESS", "")
    found: list[tuple[str | bytes, bool]] = [(address, False) for address in parse_addresses(listed)]
    if not user:
        found += [("/run/dbus/system_bus_socket", False), ("/run/systemd/private", True)]
    elif runtime:
        found += [(f"{runtime}/bus", False), (f"{runtime}/systemd/private", True)]
    return found


def parse_addresses(text: str) -> list[str | bytes]:
    """The unix sockets of a list of D-Bus addresses; an abstract one begins with NUL."""
    found: list[str | bytes] = []
    for address in text.split(";"):
        transport, _, rest = address.partition(":")
        if transport == "unix":
            for pair in rest.split(","):
                key, _, value = pair.partition("=")
                plain = _unescape(value)
                if key == "path":
                    found.append(plain)
                elif key == "abstract":
                    found.append(b"\0" + os.fsencode(plain))
    return found


def _unescape(text: str) -> str:
    first, *rest = text.split("%")
    return os.fsdecode(first.encode() + b"".join([bytes.fromhex(part[:2]) + part[2:].encode() for part in rest]))


def encode(signature: str, values: Any) -> bytes:
    """`values`, one for each complete type in the signature, in little endian."""
    out = bytearray()
    at = 0
    for value in values:
        at = _put(out, signature, at, value)
    return bytes(out)


def _put(out: bytearray, signature: str, at: int, value: Any) -> int:
    """Append a value; returns where the next type begins."""
    kind = signature[at]
    out += bytes(-len(out) % _ALIGNMENT[kind])
    if kind in _FIXED:
        out += pack("<" + _FIXED[kind], value)
    elif kind in "so":
        data = value.encode("utf-8", "surrogateescape")
        out += pack("<I", len(data)) + data + b"\0"
    elif kind == "g":
        out += bytes([len(value)]) + value.encode() + b"\0"
    elif kind == "v":
        _put(out, "g", 0, value[0])
        _put(out, value[0], 0, value[1])
    elif kind == "a":
        _put_array(out, signature, at + 1, value)
    elif kind in "({":
        inner = at + 1
        for item in value:
            inner = _put(out, signature, inner, item)
    return type_end(signature, at)


def _put_array(out: bytearray, signature: str, at: int, values: Any) -> None:
    length_at = len(out)
    out += bytes(4)
    out += bytes(-len(out) % _ALIGNMENT[signature[at]])
    start = len(out)
    for value in values:
        _put(out, signature, at, value)
    out[length_at : length_at + 4] = pack("<I", len(out) - start)


def type_end(signature: str, at: int) -> int:
    """The end of the complete type that begins at `at`."""
    depth = 0
    while True:
        kind = signature[at]
        at += 1
        if kind in "({":
            depth += 1
        elif kind in ")}":
            depth -= 1
        if depth == 0 and kind != "a":
            return at


def decode(signature: str, data: bytes, order: str = "<") -> list[Any]:
    """The values in `data`."""
    values = []
    at = position = 0
    while at < len(signature):
        value, position = _take(signature, at, data, position, order)
        values.append(value)
        at = type_end(signature, at)
    return values


def _take(signature: str, at: int, data: bytes, position: int, order: str) -> tuple[Any, int]:
    kind = signature[at]
    position += -position % _ALIGNMENT[kind]
    if kind in _FIXED:
        [value] = unpack_from(order + _FIXED[kind], data, position)
        return (bool(value) if kind == "b" else value), position + (1 if kind == "y" else _ALIGNMENT[kind])
    if kind in "sog":
        size = 1 if kind == "g" else 4
        [length] = unpack_from("B" if kind == "g" else order + "I", data, position)
        start = position + size
        return data[start : start + length].decode("utf-8", "surrogateescape"), start + length + 1
    if kind == "v":
        inner, position = _take("g", 0, data, position, order)
        value, position = _take(inner, 0, data, position, order)
        return (inner, value), position
    if kind == "a":
        return _take_array(signature, at + 1, data, position, order)
    return _take_structure(signature, at, data, position, order)


def _take_array(signature: str, at: int, data: bytes, position: int, order: str) -> tuple[Any, int]:
    [length] = unpack_from(order + "I", data, position)
    position += 4
    position += -position % _ALIGNMENT[signature[at]]
    end = position + length
    values = []
    while position < end:
        value, position = _take(signature, at, data, position, order)
        values.append(value)
    return values, end


def _take_structure(signature: str, at: int, data: bytes, position: int, order: str) -> tuple[Any, int]:
    values = []
    at += 1
    while signature[at] not in ")}":
        value, position = _take(signature, at, data, position, order)
        values.append(value)
        at = type_end(signature, at)
    return tuple(values), position
