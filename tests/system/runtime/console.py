"""The receiving side of `--console-socket`, and terminals of our own."""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path


class ConsoleSocket:
    """Listens at `path`; `accept` gives the terminal that a runtime sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.payload = b""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._socket.settimeout(20)

    def accept(self) -> Terminal:
        connection, _ = self._socket.accept()
        with connection:
            self.payload, fds, _, _ = socket.recv_fds(connection, 4096, 4)
        assert len(fds) == 1, "exactly one descriptor is sent"
        return Terminal(fds[0])

    def close(self) -> None:
        self._socket.close()


class Terminal:
    """The master side of a terminal."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def write(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def read_until(self, text: str, timeout_s: float = 20) -> str:
        """What was written up to and including `text`, or up to the end when the other side is closed."""
        got = ""
        while text not in got:
            ready, _, _ = select.select([self.fd], [], [], timeout_s)
            assert ready, f"{text!r} did not come, only {got!r}"
            try:
                part = os.read(self.fd, 4096)
            except OSError:  # EIO: nobody has the other side open any more
                break
            if not part:
                break
            got += part.decode(errors="replace")
        return got

    def read_all(self) -> str:
        return self.read_until("\0never\0")

    def close(self) -> None:
        os.close(self.fd)
