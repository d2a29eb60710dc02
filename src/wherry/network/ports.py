"""Published ports: their spelling, the search for free ones, and who holds one that is not free.

A published port is not listened on: the packet filter sends it to the container. So besides the ports that
other published ones take, those that processes listen on are tried by binding.
"""

from __future__ import annotations

import _socket
import errno
import os

from wherry import errors
from wherry.errors import WherryError
from wherry.network.base import PortMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

PROTOCOLS = ("tcp", "udp", "sctp")

_SOCKET_KINDS = {"tcp": _socket.SOCK_STREAM, "udp": _socket.SOCK_DGRAM}
_TCP_LISTEN = "0A"
_MOST_TRIES = 100


def parse_ports(text: str) -> tuple[PortMapping, ...]:
    """Read `[address:][host[-last]:]container[-last][/tcp|udp|sctp]` into one mapping per container port.

    A host range for a single container port means any free port of the range.
    """
    spec, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in PROTOCOLS:
        raise _bad(text, f"{protocol!r} is none of {', '.join(PROTOCOLS)}")
    host_ip, host, container = _split(text, spec)
    first, last = _range(text, container)
    if not host:
        return tuple(PortMapping(port, 0, protocol, host_ip) for port in range(first, last + 1))
    host_first, host_last = _range(text, host)
    if first == last and host_first != host_last:
        return (PortMapping(first, host_first, protocol, host_ip, host_last),)
    if host_last - host_first != last - first:
        raise _bad(text, "the two ranges differ in length")
    offset = host_first - first
    return tuple(PortMapping(port, port + offset, protocol, host_ip) for port in range(first, last + 1))


def overlaps(one: PortMapping, other: PortMapping) -> bool:
    """Tell whether two mappings with known host ports claim the same port."""
    return (
        one.protocol == other.protocol
        and one.host_port == other.host_port
        and (one.host_ip == other.host_ip or _is_any(one.host_ip) or _is_any(other.host_ip))
    )


def reserve(
    wanted: Sequence[PortMapping], taken: Iterable[tuple[str, PortMapping]] = ()
) -> tuple[tuple[PortMapping, ...], list[_socket.socket]]:
    """Choose host ports and prove them free; `taken` are (container id, mapping) of published ports.

    The sockets returned keep the ports from other processes until they are closed; they never accept anything.
    ALREADY_EXISTS names the container or the process that has a port.
    """
    owners: dict[tuple[str, int], list[tuple[str, PortMapping]]] = {}
    for owner, port in taken:
        owners.setdefault((port.protocol, port.host_port), []).append((owner, port))
    chosen: list[PortMapping] = []
    sockets: list[_socket.socket] = []
    try:
        for mapping in wanted:
            port, socket = _claim(mapping, owners)
            chosen.append(port)
            owners.setdefault((port.protocol, port.host_port), []).append(("this container", port))
            if socket is not None:
                sockets.append(socket)
    except BaseException:
        release(sockets)
        raise
    return tuple(chosen), sockets


def release(sockets: Iterable[_socket.socket]) -> None:
    for socket in sockets:
        socket.close()


def _claim(
    mapping: PortMapping, owners: dict[tuple[str, int], list[tuple[str, PortMapping]]]
) -> tuple[PortMapping, _socket.socket | None]:
    refusal: WherryError | None = None
    for candidate in _candidates(mapping):
        port, socket = candidate, None
        try:
            if port.host_port:
                _refuse_published(port, owners)
            port, socket = _bind(candidate)
            _refuse_published(port, owners)
        except WherryError as error:
            if socket is not None:
                socket.close()
            if error.code != errors.ALREADY_EXISTS:
                raise
            refusal = refusal or error
            continue
        return port, socket
    if refusal is not None and not mapping.host_port_last and mapping.host_port:
        raise refusal
    name = f"{mapping.host_port}-{mapping.host_port_last}" if mapping.host_port_last else "any"
    raise WherryError(errors.RESOURCE_EXHAUSTED, f"port {name}/{mapping.protocol}: none is free")


def _candidates(mapping: PortMapping) -> Iterator[PortMapping]:
    if not mapping.host_port:
        numbers: Iterable[int] = (0 for _ in range(_MOST_TRIES))
    else:
        numbers = range(mapping.host_port, max(mapping.host_port, mapping.host_port_last) + 1)
    for number in numbers:
        yield PortMapping(mapping.container_port, number, mapping.protocol, mapping.host_ip)


def _refuse_published(port: PortMapping, owners: dict[tuple[str, int], list[tuple[str, PortMapping]]]) -> None:
    for owner, other in owners.get((port.protocol, port.host_port), ()):
        if overlaps(port, other):
            raise published_by(port, owner)


def published_by(port: PortMapping, owner: str) -> WherryError:
    return WherryError(
        errors.ALREADY_EXISTS,
        f"port {_name(port)} is already published by {owner if ' ' in owner else 'container ' + owner}",
        hint="choose another host port, or remove that container",
    )


def _bind(port: PortMapping) -> tuple[PortMapping, _socket.socket | None]:
    """Bind the port, or a free one for 0; sctp has no free choice and is not tried."""
    kind = _SOCKET_KINDS.get(port.protocol)
    if kind is None:
        if not port.host_port:
            raise WherryError(errors.INVALID_ARGUMENT, f"a host port is needed with {port.protocol}")
        return port, None
    host_ip = port.host_ip or "0.0.0.0"
    family = _socket.AF_INET6 if ":" in host_ip else _socket.AF_INET
    socket = _socket.socket(family, kind | _socket.SOCK_CLOEXEC)
    try:
        if port.protocol == "tcp":
            # Connections of an earlier listener that wait for their last packets are no reason to refuse.
            socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        socket.bind((host_ip, port.host_port))
    except OSError as error:
        socket.close()
        raise _bind_error(port, error)
    number = socket.getsockname()[1]
    return PortMapping(port.container_port, number, port.protocol, port.host_ip), socket


def _bind_error(port: PortMapping, error: OSError) -> WherryError:
    if error.errno == errno.EADDRINUSE:
        owner = listener(port)
        return WherryError(
            errors.ALREADY_EXISTS,
            f"port {_name(port)} is in use by {owner or 'another process'}",
            hint="choose another host port, or end that process",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return WherryError(errors.INVALID_ARGUMENT, f"port {_name(port)}: the host has no such address")
    if error.errno in (errno.EACCES, errno.EPERM):
        hint = "choose a port from 1024 up, or lower the sysctl net.ipv4.ip_unprivileged_port_start"
        return WherryError(errors.PERMISSION_DENIED, f"port {_name(port)}: {error.strerror}", hint=hint)
    return WherryError(errors.INTERNAL, f"port {_name(port)}: {error.strerror or error}")


def listener(port: PortMapping) -> str:
    """Return `name (pid N)` of the process that has the port, "" when it cannot be seen."""
    inodes = set(_socket_inodes(port))
    if not inodes:
        return ""
    for pid in os.listdir("/proc"):
        if pid.isdigit() and _holds(pid, inodes):
            return f"{_read(f'/proc/{pid}/comm').strip()} (pid {pid})"
    return ""


def _socket_inodes(port: PortMapping) -> Iterator[str]:
    for table in (port.protocol, port.protocol + "6"):
        for line in _read(f"/proc/net/{table}").splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) != port.host_port:
                continue
            if port.protocol != "tcp" or fields[3] == _TCP_LISTEN:
                yield f"socket:[{fields[9]}]"


def _holds(pid: str, inodes: set[str]) -> bool:
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for name in names:
        try:
            if os.readlink(f"/proc/{pid}/fd/{name}") in inodes:
                return True
        except OSError:
            continue
    return False


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _name(port: PortMapping) -> str:
    prefix = "" if _is_any(port.host_ip) else f"{port.host_ip}:"
    return f"{prefix}{port.host_port}/{port.protocol}"


def _is_any(host_ip: str) -> bool:
    return host_ip in ("", "0.0.0.0", "::")


def _split(text: str, spec: str) -> tuple[str, str, str]:
    """Return the host's address, the host's ports and the container's ports."""
    rest, _, container = spec.rpartition(":")
    if rest.startswith("["):
        host_ip, bracket, host = rest[1:].partition("]")
        if not bracket or (host and not host.startswith(":")):
            raise _bad(text, "the address in brackets is not followed by a port")
        return _checked_address(text, host_ip), host[1:], container
    if rest.count(":") > 1:
        raise _bad(text, "put an IPv6 address in brackets")
    host_ip, colon, host = rest.rpartition(":")
    if not colon and "." in rest:
        raise _bad(text, "a port is missing behind the address")
    return _checked_address(text, host_ip), host, container


def _checked_address(text: str, address: str) -> str:
    if not address:
        return ""
    try:
        _socket.inet_pton(_socket.AF_INET6 if ":" in address else _socket.AF_INET, address)
    except OSError:
        raise _bad(text, f"{address!r} is no IP address")
    return address


def _range(text: str, ports: str) -> tuple[int, int]:
    first, dash, last = ports.partition("-")
    numbers = (first, last if dash else first)
    if not all(number.isascii() and number.isdigit() and 0 < int(number) < 65536 for number in numbers):
        raise _bad(text, f"{ports!r} is no port between 1 and 65535")
    if int(numbers[0]) > int(numbers[1]):
        raise _bad(text, f"the range {ports} runs backwards")
    return int(numbers[0]), int(numbers[1])


def _bad(text: str, reason: str) -> WherryError:
    return WherryError(
        errors.INVALID_ARGUMENT,
        f"port {text!r}: {reason}",
        hint="write [ADDRESS:][HOST_PORT:]CONTAINER_PORT[/PROTOCOL]",
    )
