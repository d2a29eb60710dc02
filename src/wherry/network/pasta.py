"""Networking without privileges by the program pasta: sockets of the host in place of a TCP/IP stack.

It is told the addresses that slirp4netns uses, instead of copying those of the host as is its wont, so that a
container can reach the host by its addresses. It refuses to work for root, and knows no `exit_fd`: it ends
with `detach`, newer versions also with the container's process.
"""

from __future__ import annotations

import os

from wherry import errors
from wherry.errors import WherryError
from wherry.network import helper_process, slirp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.network.base import Netns, PortMapping
    from wherry.network.helper_process import Record


class PastaDriver(slirp.UserDriver):
    """pasta, of 2023 or later."""

    __slots__ = ()

    name = "pasta"

    def _start(self, record: Record, netns: Netns, mac: str, exit_fd: int) -> int:
        pid_path = self._helpers.path(record.container_id, ".pid")
        arguments = ["--quiet", "--config-net", "--pid", pid_path, "--ns-ifname", record.interface]
        arguments += ["-4", "-a", slirp.ADDRESS, "-n", str(slirp.PREFIX_LENGTH), "-g", slirp.GATEWAY]
        arguments += ["--dns-forward", slirp.NAME_SERVER, "--no-map-gw", "-m", str(slirp.MTU)]
        arguments += ["-T", "none", "-U", "none", *_ports("-t", "tcp", record.ports)]
        arguments += _ports("-u", "udp", record.ports)
        arguments += ["--ns-mac-addr", mac] if mac else []
        if not netns.pid:
            raise WherryError(errors.INVALID_ARGUMENT, "pasta finds a network namespace by a process only")
        log_path = self._helpers.path(record.container_id, ".log")
        pid = helper_process.spawn(self._program, [*arguments, str(netns.pid)], log_path, ())
        # It goes to the background when it is ready; the process started here ends then.
        _, status = os.waitpid(pid, 0)
        if status:
            tail = self._helpers.log_tail(record.container_id) or f"status {os.waitstatus_to_exitcode(status)}"
            raise WherryError(errors.UNAVAILABLE, f"pasta for {record.container_id}: {tail}")
        with open(pid_path, encoding="ascii") as file:
            return int(file.read())

    def _publish(self, record: Record) -> None:
        return  # done by its arguments


def _ports(option: str, protocol: str, ports: tuple[PortMapping, ...]) -> list[str]:
    words: list[str] = []
    for port in ports:
        if port.protocol == protocol:
            address = f"{port.host_ip}/" if port.host_ip else ""
            words += [option, f"{address}{port.host_port}:{port.container_port}"]
    return words or [option, "none"]
