"""Networking without privileges by the program slirp4netns: a TCP/IP stack in a process per container.

The container sees 10.0.2.100 behind 10.0.2.2 and asks 10.0.2.3 for names. A port is forwarded by a request on
the helper's socket, one JSON object each way.
"""

from __future__ import annotations

import _socket
import os

from wherry import errors
from wherry.errors import WherryError
from wherry.network import helper_process, ports
from wherry.network.base import Address, Attachment, Netns, Network, PortMapping
from wherry.network.helper_process import Helpers, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

USER_NETWORK = Network("user", driver="user")

ADDRESS = "10.0.2.100"
PREFIX_LENGTH = 24
GATEWAY = "10.0.2.2"
NAME_SERVER = "10.0.2.3"
MTU = 65520

_REPLY_TIMEOUT_S = 5


class UserDriver:
    """A NetworkDriver whose traffic goes through a process; `state_folder` is private to the user.

    The base of both programs: `_start` runs one and returns its process id.
    """

    __slots__ = ("_helpers", "_program")

    name = ""

    def __init__(self, state_folder: str, program: str) -> None:
        self._helpers = Helpers(state_folder)
        self._program = program

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
        exit_fd: int = -1,
    ) -> Attachment:
        """Start the helper for a namespace and publish its ports (see base.NetworkDriver).

        `exit_fd` is the reading end of a pipe: the helper ends when the last writer closes it, that is, when
        the container's monitor dies. The helper sets up the container's side itself, so `inside`,
        `default_route` and `interface_index` change nothing; a chosen address cannot be had.
        """
        if address:
            raise WherryError(errors.NOT_IMPLEMENTED, f"network {network.name!r} gives no chosen addresses")
        self.detach(container_id)
        chosen, sockets = _reserve(ports, self._helpers.all())
        record = Record(container_id, self.name, network.name, interface, chosen)
        self._helpers.save(record)
        try:
            for socket in sockets:
                socket.close()
            record.pid = self._start(record, netns, mac, exit_fd)
            record.start_time = helper_process.start_time(record.pid)
            self._helpers.save(record)
            self._publish(record)
        except BaseException:
            self.detach(container_id)
            raise
        return _attachment(record)

    def detach(self, container_id: str, network: str = "", *, netns_gone: bool = False) -> None:
        self._helpers.stop(container_id)

    def detach_lost(self, container_id: str) -> None:
        """End the helper of a container whose record is lost: the folder was wiped."""
        self._helpers.stop_lost(container_id, self.name)

    def attachments(self, container_id: str = "") -> tuple[Attachment, ...]:
        return tuple(_attachment(record) for record in self._helpers.all() if container_id in ("", record.container_id))

    def reconcile(self, live_ids: Collection[str]) -> tuple[str, ...]:
        """End the helpers of containers that are not named."""
        stale = [record for record in self._helpers.all() if record.container_id not in live_ids]
        for record in stale:
            self.detach(record.container_id)
        return tuple(f"{record.program} of {record.container_id}" for record in stale)

    def _start(self, record: Record, netns: Netns, mac: str, exit_fd: int) -> int:
        raise NotImplementedError

    def _publish(self, record: Record) -> None:
        raise NotImplementedError


class SlirpDriver(UserDriver):
    """slirp4netns, version 0.4 or later."""

    __slots__ = ()

    name = "slirp4netns"

    def _start(self, record: Record, netns: Netns, mac: str, exit_fd: int) -> int:
        folder_fd = os.open(self._helpers.folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        ready_fd, write_fd = os.pipe()
        try:
            arguments = ["--configure", f"--mtu={MTU}", "--disable-host-loopback", "--enable-seccomp"]
            arguments += [f"--api-socket={_socket_path(folder_fd, record)}", f"--ready-fd={write_fd}"]
            arguments += [f"--exit-fd={exit_fd}"] if exit_fd >= 0 else []
            arguments += [f"--macaddress={mac}"] if mac else []
            kept_fds = [folder_fd, write_fd, *([exit_fd] if exit_fd >= 0 else [])]
            if netns.pid:
                target = [str(netns.pid)]
            else:
                target, kept_fds = ["--netns-type=path", f"/proc/self/fd/{netns.fd}"], [*kept_fds, netns.fd]
            log_path = self._helpers.path(record.container_id, ".log")
            pid = helper_process.spawn(self._program, [*arguments, *target, record.interface], log_path, kept_fds)
            os.close(write_fd)
            write_fd = -1
            if not helper_process.wait_ready(ready_fd, pid):
                helper_process.end(pid, helper_process.start_time(pid))
                raise self._failure(record)
            return pid
        finally:
            os.close(folder_fd)
            os.close(ready_fd)
            if write_fd >= 0:
                os.close(write_fd)

    def _failure(self, record: Record) -> WherryError:
        tail = self._helpers.log_tail(record.container_id) or "no answer"
        return WherryError(errors.UNAVAILABLE, f"{self.name} for {record.container_id}: {tail}")

    def _publish(self, record: Record) -> None:
        folder_fd = os.open(self._helpers.folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for port in record.ports:
                _add_forward(_socket_path(folder_fd, record), port)
        finally:
            os.close(folder_fd)


def _socket_path(folder_fd: int, record: Record) -> str:
    """By the folder's descriptor: a socket's path may have 107 bytes only."""
    return f"/proc/self/fd/{folder_fd}/{record.container_id}.sock"


def _add_forward(socket_path: str, port: PortMapping) -> None:
    """Ask the helper to listen; ALREADY_EXISTS when it cannot."""
    arguments = (
        f'"proto":"{port.protocol}","host_addr":"{port.host_ip or "0.0.0.0"}","host_port":{port.host_port},'
        f'"guest_addr":"{ADDRESS}","guest_port":{port.container_port}'
    )
    request = f'{{"execute":"add_hostfwd","arguments":{{{arguments}}}}}'
    reply = _exchange(socket_path, request.encode())
    if b'"error"' in reply or not reply:
        text = reply.decode(errors="replace").strip() or "no reply"
        raise WherryError(errors.ALREADY_EXISTS, f"port {port}: slirp4netns refused it: {text}")


def _exchange(socket_path: str, request: bytes) -> bytes:
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        socket.settimeout(_REPLY_TIMEOUT_S)
        socket.connect(socket_path)
        socket.sendall(request)
        socket.shutdown(_socket.SHUT_WR)
        reply = b""
        while part := socket.recv(4096):
            reply += part
        return reply
    except OSError as error:
        raise WherryError(errors.UNAVAILABLE, f"slirp4netns does not answer: {error}", path=socket_path)
    finally:
        socket.close()


def _reserve(
    wanted: Sequence[PortMapping], others: Iterator[Record]
) -> tuple[tuple[PortMapping, ...], list[_socket.socket]]:
    if not wanted:
        return (), []
    if any(port.protocol not in ("tcp", "udp") for port in wanted):
        raise WherryError(errors.NOT_IMPLEMENTED, "without privileges only tcp and udp ports can be published")
    taken = [(other.container_id, port) for other in others for port in other.ports]
    return ports.reserve(wanted, taken)


def _attachment(record: Record) -> Attachment:
    return Attachment(
        record.network,
        record.container_id,
        interface=record.interface,
        addresses=(Address(ADDRESS, PREFIX_LENGTH, GATEWAY),),
        mtu=MTU,
        ports=record.ports,
        dns_servers=(NAME_SERVER,),
        helper_pid=record.pid,
    )
