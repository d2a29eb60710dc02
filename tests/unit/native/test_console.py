"""CONSOLE: the terminal of a container, over a socket or passed through."""

from __future__ import annotations

import fcntl
import os
import pty
import socket
import stat
import struct
import termios
import threading
from typing import TYPE_CHECKING

from wherry.plan import instructions as i

if TYPE_CHECKING:
    from .harness import Box

DEVPTS = "newinstance,ptmxmode=0666,mode=0620"


def with_devpts(box: Box) -> None:
    box.mount("proc", "/proc")
    box.mount("devpts", "/dev/pts", data=DEVPTS)


class Receiver:
    """The other end of a console socket."""

    def __init__(self, path: str) -> None:
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(path)
        self.server.listen(1)
        self.name = b""
        self.output = b""
        self.size: tuple[int, int] = (0, 0)
        self.thread = threading.Thread(target=self.receive)
        self.thread.start()

    def receive(self) -> None:
        connection, _ = self.server.accept()
        self.name, fds, _, _ = socket.recv_fds(connection, 100, 1)
        connection.close()
        if not fds:
            return
        rows, columns, _, _ = struct.unpack("4H", fcntl.ioctl(fds[0], termios.TIOCGWINSZ, bytes(8)))
        self.size = (rows, columns)
        try:
            while data := os.read(fds[0], 4096):
                self.output += data
        except OSError:
            pass
        os.close(fds[0])

    def finish(self) -> None:
        self.thread.join()
        self.server.close()


def test_terminal_over_a_socket(box: Box) -> None:
    with_devpts(box)
    path = str(box.place / "console")
    receiver = Receiver(path)
    box.mounts.append(("MKNOD", i.ROOT, "/dev/tty", stat.S_IFCHR | 0o666, 5, 0, -1, -1))
    box.host.append(("CONNECT", i.CONSOLE_SOCKET, path))
    box.inside.append(("CONSOLE", i.CONSOLE_SOCKET, 80, 25, 0, 5, i.CONSOLE_BIND))
    box.shell("tty; stat -c %t:%T /dev/console; echo x > /dev/tty; stat -c %g /dev/pts/0; test -t 0 && echo yes")
    assert box.run().status == 0
    receiver.finish()
    assert receiver.name == b"/dev/pts/0"
    assert receiver.size == (25, 80)
    assert receiver.output == b"/dev/pts/0\r\n88:0\r\nx\r\n5\r\nyes\r\n"


def test_false_multiplexer(box: Box) -> None:
    """CVE-2025-52565: what an image puts in place of devpts is not used."""
    (box.rootfs / "dev/pts").mkdir()
    (box.rootfs / "dev/pts/ptmx").write_text("")
    path = str(box.place / "console")
    receiver = Receiver(path)
    box.host.append(("CONNECT", i.CONSOLE_SOCKET, path))
    box.inside.append(("CONSOLE", i.CONSOLE_SOCKET, 0, 0, 0, 0, i.CONSOLE_BIND))
    result = box.run()
    receiver.finish()
    assert result.stderr == "inside[0]: /dev/pts/ptmx is not the multiplexer of a devpts\n"


def test_multiplexer_of_the_host(box: Box) -> None:
    box.bind("/dev/ptmx", "/dev/pts/ptmx")
    box.inside.append(("CONSOLE", i.CONSOLE_SOCKET, 0, 0, 0, 0, 0))
    assert box.run().stderr == "inside[0]: /dev/pts/ptmx is not the multiplexer of a devpts\n"


def test_terminal_passed_through(box: Box) -> None:
    """Without a console socket, `run` in the foreground joins its own terminal and the container's."""
    with_devpts(box)
    box.inside.append(("CONSOLE", i.CONSOLE_SOCKET, 0, 0, 0, 0, 0))
    box.shell("stty size; read line; echo got $line; exit 4")
    master, peer = pty.openpty()
    fcntl.ioctl(peer, termios.TIOCSWINSZ, struct.pack("4H", 33, 99, 0, 0))
    os.write(master, b"words\r")
    before = termios.tcgetattr(peer)
    with (box.place / "plan").open("wb+") as file:
        file.write(box.plan().encode())
        file.flush()
        command = [box.executable, "@run", "--root", str(box.root), "--id", box.id, str(file.fileno())]
        os.set_inheritable(file.fileno(), True)
        actions = [(os.POSIX_SPAWN_DUP2, peer, number) for number in range(3)]
        pid = os.posix_spawn(command[0], command, {}, file_actions=actions)
    output = b""
    while b"got words" not in output:
        output += os.read(master, 4096)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 4
    assert b"33 99" in output
    assert termios.tcgetattr(peer) == before
    os.close(master)
    os.close(peer)
