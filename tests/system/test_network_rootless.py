"""Containers of a user without privileges get a network, and ports, by a helper process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import wherry
from wherry.network import namespaces
from wherry.network.base import Netns
from wherry.network.helper_process import Helpers, is_alive
from wherry.network.pasta import PastaDriver
from wherry.network.ports import parse_ports
from wherry.network.rootless import find_program
from wherry.network.slirp import USER_NETWORK, SlirpDriver

from .network_lab import HOST_ADDRESS, OUTSIDE_ADDRESS, TIMEOUT_S, Box, Host, Lab, ProcessBox, run, talk, talk_udp

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = 64321
ATTACH = """
import sys
from wherry.network.base import Netns
from wherry.network.pasta import PastaDriver
from wherry.network.ports import parse_ports
from wherry.network.rootless import find_program
from wherry.network.slirp import USER_NETWORK, SlirpDriver
driver = {"pasta": PastaDriver, "slirp4netns": SlirpDriver}[sys.argv[1]](sys.argv[2], find_program(sys.argv[1]))
if sys.argv[3] == "attach":
    ports = tuple(port for text in sys.argv[5:] for port in parse_ports(text))
    driver.attach(USER_NETWORK, "one", Netns(pid=int(sys.argv[4])), ports=ports)
else:
    driver.detach("one")
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path) as lab:
        lab.machine = lab.outside()
        run("ip", "route", "add", "default", "via", OUTSIDE_ADDRESS)
        yield lab


@pytest.fixture
def user_folder(token: str) -> Iterator[Path]:
    """A folder of the user, reached through folders that everybody may enter."""
    folder = Path("/tmp") / token
    folder.mkdir(mode=0o700)
    os.chown(folder, USER, USER)
    yield folder
    shutil.rmtree(folder)


class UserBox(ProcessBox):
    """A container of the user: namespaces kept by a sleeping process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--net", "sleep", "600"], user=USER, group=USER, extra_groups=()
        )
        self.pid = self.process.pid
        wait_until(lambda: os.readlink(f"/proc/{self.pid}/exe").endswith("sleep"))
        super().__init__(Netns(pid=self.pid))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def wait_until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def as_user(program: str, folder: Path, *arguments: str) -> None:
    source = str(next(iter(wherry.__path__))).rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-S", "-c", ATTACH, program, str(folder / "net"), *arguments],
        env={"PYTHONPATH": source, "PATH": os.environ["PATH"]},
        user=USER,
        group=USER,
        extra_groups=(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("program", ["slirp4netns", "pasta"])
def test_user_container_reaches_out_and_is_reached(lab: Lab, user_folder: Path, program: str) -> None:
    if not find_program(program):
        pytest.skip(f"{program} is not installed")
    box = UserBox()
    helpers = Helpers(str(user_folder / "net"))
    try:
        as_user(program, user_folder, "attach", str(box.pid), "18080:80", "18053:53/udp")
        record = helpers.find("one")
        assert record is not None and is_alive(record)
        assert os.stat(f"/proc/{record.pid}").st_uid == USER
        assert talk(Host(), ("127.0.0.1", 18080), box, 80)
        # On the host's loopback UDP gets no answer: neither program lets a container send there.
        assert talk_udp(lab.machine, (HOST_ADDRESS, 18053), box, 53) == OUTSIDE_ADDRESS
        assert talk(box, (OUTSIDE_ADDRESS, 7000), lab.machine, 7000) == HOST_ADDRESS
        assert "inet 10.0.2.100/24" in in_box(box, "ip", "address", "show", "eth0")
        assert "default via 10.0.2.2" in in_box(box, "ip", "route")
        as_user(program, user_folder, "detach")
        assert not is_alive(record)
        assert os.listdir(user_folder / "net") == []
        as_user(program, user_folder, "detach")
    finally:
        as_user(program, user_folder, "detach")
        box.close()


def in_box(box: Box, *command: str) -> str:
    with namespaces.Inside(box.netns):
        return run(*command)


def test_helper_of_root_ends_with_the_pipe_of_the_monitor(lab: Lab, tmp_path: Path) -> None:
    driver = SlirpDriver(str(tmp_path / "s"), find_program("slirp4netns"))
    box = lab.box()
    exit_fd, monitor_fd = os.pipe()
    attachment = driver.attach(
        USER_NETWORK, "one", box.netns, ports=parse_ports("18081:80"), exit_fd=exit_fd, mac="02:00:00:00:00:09"
    )
    os.close(exit_fd)
    assert talk(Host(), ("127.0.0.1", 18081), box, 80)
    assert "02:00:00:00:00:09" in box.run("ip", "-o", "link", "show", "eth0")
    assert driver.attachments() == (attachment,)
    os.close(monitor_fd)
    os.waitpid(attachment.helper_pid, 0)
    driver.detach("one")
    assert driver.attachments() == ()


def test_helper_that_nobody_recorded_is_found(lab: Lab, tmp_path: Path) -> None:
    driver = SlirpDriver(str(tmp_path / "s"), find_program("slirp4netns"))
    attachment = driver.attach(USER_NETWORK, "one", lab.box().netns)
    helpers = Helpers(str(tmp_path / "s"))
    record = helpers.find("one")
    assert record is not None
    record.pid = record.start_time = 0
    helpers.save(record)
    assert driver.reconcile(["two"]) == ("slirp4netns of one",)
    with pytest.raises(ProcessLookupError):
        os.kill(attachment.helper_pid, 0)


def test_failed_start_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 18082))
        holder.listen()
        driver = SlirpDriver(str(tmp_path / "s"), find_program("slirp4netns"))
        with pytest.raises(wherry.errors.WherryError, match="18082/tcp is in use by"):
            driver.attach(USER_NETWORK, "one", lab.box().netns, ports=parse_ports("18082:80"))
    gone = PastaDriver(str(tmp_path / "s"), "/nonexistent/pasta")
    with pytest.raises(wherry.errors.WherryError, match="cannot start"):
        gone.attach(USER_NETWORK, "one", Netns(pid=os.getpid()))
    dead = SlirpDriver(str(tmp_path / "s"), find_program("slirp4netns"))
    with pytest.raises(wherry.errors.WherryError, match="slirp4netns for one: "):
        dead.attach(USER_NETWORK, "one", Netns(pid=2**22 - 1))
    assert os.listdir(tmp_path / "s") == []
