"""The engine as an ordinary user, with and without subordinate ids."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..runtimes import mounts_below, wait_until
from .conftest import IMAGE, busybox_tarball

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parents[3]
USERS = {"wherry-test": True, "wherry-bare": False}  # name: has subordinate ids


@pytest.fixture(scope="session")
def installed() -> Iterator[Path]:
    """A copy of the package that every user may execute."""
    place = Path(tempfile.mkdtemp(prefix="wherry-installed-"))
    place.chmod(0o755)
    subprocess.run([sys.executable, str(PROJECT / "tools/relocate.py"), str(place / "wherry")], check=True)
    yield place / "wherry"
    shutil.rmtree(place)


class User:
    """Runs the command as a user with a home and a run directory of its own."""

    def __init__(self, name: str, installed: Path, place: Path) -> None:
        self.name, self.installed, self.place = name, installed, place
        self.environment = {
            "HOME": str(place),
            "USER": name,
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "XDG_RUNTIME_DIR": str(place / "run"),
        }

    def __call__(self, *words: str, check: bool = True, input: str = "") -> subprocess.CompletedProcess[str]:
        variables = [f"{key}={value}" for key, value in self.environment.items()]
        command = [
            "runuser",
            "-u",
            self.name,
            "--",
            "env",
            "-i",
            *variables,
            str(self.installed / "bin/wherry"),
            *words,
        ]
        done = subprocess.run(command, input=input, capture_output=True, text=True, cwd="/", timeout=60, check=False)
        if check:
            assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def out(self, *words: str) -> str:
        return self(*words).stdout.strip()


@pytest.fixture(params=USERS, scope="module")
def user(request: pytest.FixtureRequest, installed: Path) -> Iterator[User]:
    name = request.param
    try:
        pwd.getpwnam(name)
    except KeyError:
        subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", name], check=True)
    granted = "".join(line for line in Path("/etc/subuid").read_text().splitlines(True) if line.startswith(f"{name}:"))
    if USERS[name] and not granted:
        ranges = ["--add-subuids", "400000-465535", "--add-subgids", "400000-465535"]
        subprocess.run(["usermod", *ranges, name], check=True)
    if not USERS[name] and granted:
        first, count = granted.split(":")[1:3]
        span = f"{first}-{int(first) + int(count) - 1}"
        subprocess.run(["usermod", "--del-subuids", span, "--del-subgids", span, name], check=True)
    place = Path(tempfile.mkdtemp(prefix="wherry-user-"))
    place.chmod(0o755)
    (place / "run").mkdir(mode=0o700)
    busybox_tarball(place / "busybox.tar")
    subprocess.run(["chown", "-R", name, str(place)], check=True)
    made = User(name, installed, place)
    made("import", str(place / "busybox.tar"), IMAGE)
    yield made
    made("rm", "-f", "--all")
    made("rmi", IMAGE)
    assert made.out("images", "-q") == ""
    uid = pwd.getpwnam(name).pw_uid
    wait_until(lambda: not subprocess.run(["pgrep", "-U", str(uid)], capture_output=True, check=False).stdout)
    assert not mounts_below(place)
    shutil.rmtree(place)


def test_root_inside_is_the_user_outside(user: User, tmp_path: Path) -> None:
    shared = user.place / "shared"
    shared.mkdir(exist_ok=True)
    os.chown(shared, pwd.getpwnam(user.name).pw_uid, -1)
    out = user.out("run", "--rm", "-v", f"{shared}:/data", IMAGE, "sh", "-c", "id -u; touch /data/file /own; ls /own")
    assert out.splitlines() == ["0", "/own"]
    assert (shared / "file").stat().st_uid == pwd.getpwnam(user.name).pw_uid


def test_other_users_inside(user: User) -> None:
    done = user("run", "--rm", "-u", "1000", IMAGE, "id", "-u", check=False)
    if USERS[user.name]:
        assert done.stdout == "1000\n"
    else:
        assert done.returncode != 0 and "Traceback" not in done.stderr


def test_detached_with_a_published_port(user: User) -> None:
    port = "18090" if USERS[user.name] else "18091"
    user(
        "run",
        "-d",
        "--name",
        "srv",
        "-p",
        f"{port}:8080",
        IMAGE,
        "sh",
        "-c",
        "while :; do echo ahoy | nc -l -p 8080; done",
    )
    fetch = ["busybox", "sh", "-c", f"nc -w 3 127.0.0.1 {port} </dev/null"]
    wait_until(lambda: subprocess.run(fetch, capture_output=True, check=False).stdout == b"ahoy\n")
    assert user.out("exec", "srv", "id", "-u") == "0"
    assert "Up" in user.out("ps")
    assert user("exec", "srv", "sh", "-c", "exit 3", check=False).returncode == 3
    user("stop", "-t", "0", "srv")
    assert user.out("inspect", "-f", "{{.State.Status}}", "srv") == "exited"
    user("start", "srv")
    assert user.out("ps", "--format", "{{.Names}}") == "srv"
    user("kill", "srv")
    assert user.out("wait", "srv") == "137"
    user("rm", "srv")


def test_an_exec_has_the_capabilities_of_root(user: User) -> None:
    user("run", "-d", "--name", "closed", IMAGE, "sleep", "60")
    user("exec", "closed", "mkdir", "-m", "0", "/closed")
    assert user.out("exec", "-w", "/closed", "closed", "pwd") == "/closed"
    user("rm", "-f", "closed")


def test_networks_none_and_host(user: User) -> None:
    assert user.out("run", "--rm", "--network", "none", IMAGE, "ls", "/sys/class/net") == "lo"
    own = os.readlink("/proc/self/ns/net")
    assert user.out("run", "--rm", "--network", "host", IMAGE, "readlink", "/proc/self/ns/net") == own


def test_errors_leave_nothing(user: User) -> None:
    assert user("run", "--rm", IMAGE, "nosuch", check=False).returncode == 127
    assert user.out("ps", "-aq") == ""


def test_restart_keeps_the_network(user: User) -> None:
    script = "ls /sys/class/net | sort | xargs; exit 1"
    user("run", "--name", "again", "--restart", "on-failure:1", IMAGE, "sh", "-c", script, check=False)
    lines = user.out("logs", "again").splitlines()
    assert len(lines) == 2 and lines[0] == lines[1] and len(lines[0].split()) == 2
    user("rm", "again")


@pytest.mark.parametrize("folder", ["relative", "/root", "/proc", "/dev/null"])
def test_a_run_directory_that_cannot_be(user: User, folder: str) -> None:
    before = user.environment
    user.environment = {**before, "XDG_RUNTIME_DIR": folder}
    done = user("run", "--rm", IMAGE, "true", check=False)
    user.environment = before
    assert done.returncode == 125
    assert "XDG_RUNTIME_DIR" in done.stderr and len(done.stderr.splitlines()) == 2


def test_a_wiped_run_directory(user: User) -> None:
    user("run", "-d", "--name", "wiped", "-p", "18095:80", IMAGE, "sleep", "1000")
    subprocess.run(["find", str(user.place / "run"), "-xdev", "-mindepth", "1", "-type", "f", "-delete"], check=True)
    uid = pwd.getpwnam(user.name).pw_uid
    assert user.out("rm", "-f", "wiped") == "wiped"
    wait_until(
        lambda: not subprocess.run(["pgrep", "-U", str(uid), "-f", "."], capture_output=True, check=False).stdout
    )
