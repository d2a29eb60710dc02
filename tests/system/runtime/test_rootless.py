"""The runtime as an ordinary user: with a full range of ids, with a single one, and without any range."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..bundle import Bundle
from ..runtimes import Result, Runtime, children, process_state, reap, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = "wherry-runtime"
FIRST, COUNT = 500_000, 65536
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USERS = {"wherry-ids": True, "wherry-noids": False}  # name: has a range of subordinate ids


class User:
    """Runs verbs as a user with a session directory, the runtime's default root below it."""

    def __init__(self, name: str, executable: str, place: Path, bundle: Bundle) -> None:
        self.entry = pwd.getpwnam(name)
        self.name, self.executable, self.bundle = name, executable, bundle
        self.session = place / "session"
        self.session.mkdir(mode=0o700)
        self.scratch = place / "streams"
        self.calls = 0
        for path in (self.session, bundle.path):
            subprocess.run(["chown", "-hR", f"{self.entry.pw_uid}:{self.entry.pw_gid}", path], check=True)

    def __call__(self, *words: str | Path, check: bool = True) -> Result:
        self.bundle.save()
        self.calls += 1
        out, err = (self.scratch / f"{self.calls}.{kind}" for kind in ("out", "err"))
        command = [
            "runuser",
            "-u",
            self.name,
            "--",
            "env",
            "-i",
            f"XDG_RUNTIME_DIR={self.session}",
            f"HOME={self.session}",
        ]
        command += [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            self.executable,
            *map(str, words),
        ]
        with out.open("wb") as stdout, err.open("wb") as stderr:
            status = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd="/", timeout=60, check=False
            ).returncode
        result = Result(command, status, out.read_text(), err.read_text())
        assert not check or status == 0, f"failed: {result}"
        return result

    def state(self, name: str) -> dict[str, Any]:
        return json.loads(self("state", name).stdout)


def ensure(name: str, ids: bool) -> None:
    """Make the user, with or without subordinate ids."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", name], check=True)
    for file in (Path("/etc/subuid"), Path("/etc/subgid")):
        lines = [line for line in file.read_text().splitlines() if not line.startswith(f"{name}:")]
        if ids:
            lines.append(f"{name}:{FIRST}:{COUNT}")
        new = file.with_name(f"{file.name}.{name}")
        new.write_text("".join(f"{line}\n" for line in lines))
        new.chmod(0o644)
        new.rename(file)


def maps(user: pwd.struct_passwd, full: bool) -> dict[str, Any]:
    ranges = [(0, user.pw_uid, 1)] + ([(1, FIRST, COUNT)] if full else [])
    made = [{"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in ranges]
    groups = [(0, user.pw_gid, 1)] + ([(1, FIRST, COUNT)] if full else [])
    also = [{"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in groups]
    return {"uidMappings": made, "gidMappings": also}


def prepare(bundle: Bundle, user: User, full: bool) -> None:
    """What `spec --rootless` changes: a user namespace, no group for terminals, the host's /sys bound where needed."""
    bundle.namespace("user")
    bundle.linux.update(maps(user.entry, full))
    bundle.linux.pop("resources")
    if not full:
        for mount in bundle.mounts:
            mount["options"] = [option for option in mount["options"] if option != "gid=5"]


@pytest.fixture(
    params=[("wherry-ids", True), ("wherry-ids", False), ("wherry-noids", False)], ids=["full", "single", "bare"]
)
def user(request: pytest.FixtureRequest, runtime: Runtime, place: Path, bundle: Bundle, only) -> Iterator[User]:
    only(OURS, "runc")  # Debian's crun takes this host for one with version 2
    name, full = request.param
    ensure(name, USERS[name])
    executable = runtime.executable
    if runtime.dialect == OURS:
        executable = str(request.getfixturevalue("installed") / "bin/wherry-runtime")
    made = User(name, executable, place, bundle)
    made.full = full  # type: ignore[attr-defined]
    prepare(bundle, made, full)
    yield made
    for line in json.loads(made("list", "--format", "json", check=False).stdout or "[]") or []:
        made("delete", "--force", line["id"], check=False)
    reap()
    wait_until(lambda: not [pid for pid in children() if process_state(pid) not in ("", "Z")])


def run(user: User, token: str, script: str, check: bool = True) -> Result:
    user.bundle.shell(script)
    return user("run", "--bundle", user.bundle.path, token, check=check)


def test_root_inside_is_the_user_outside(user: User, token: str) -> None:
    result = run(user, token, "id -u; touch /made; stat -c %u /made")
    assert result.stdout.split() == ["0", "0"]
    assert (user.bundle.rootfs / "made").stat().st_uid == user.entry.pw_uid


def test_maps(user: User, token: str) -> None:
    rows = [tuple(map(int, line.split())) for line in run(user, token, "cat /proc/self/uid_map").stdout.splitlines()]
    wanted = [tuple(entry.values()) for entry in user.bundle.linux["uidMappings"]]
    assert rows == wanted


def test_set_groups_is_denied_only_for_a_single_id(user: User, token: str) -> None:
    word = run(user, token, "cat /proc/self/setgroups").stdout.strip()
    assert word == ("allow" if user.full else "deny")  # type: ignore[attr-defined]


def test_the_life_of_a_container(user: User, token: str) -> None:
    user.bundle.args("sleep", "1000")
    user("create", "--bundle", user.bundle.path, token)
    assert user.state(token)["status"] == "created"
    user("start", token)
    assert user.state(token)["status"] == "running"
    assert user("exec", token, "id", "-u").stdout == "0\n"
    assert token in user("list").stdout
    user("kill", token, "KILL")
    wait_until(lambda: user.state(token)["status"] == "stopped")
    user("delete", token)
    assert user("state", token, check=False).status == 1


def test_the_state_is_in_the_session(user: User, token: str) -> None:
    user.bundle.args("sleep", "1000")
    user("create", "--bundle", user.bundle.path, token)
    assert list(user.session.glob(f"**/{token}"))
    assert oct(next(iter(user.session.glob(f"**/{token}"))).parent.stat().st_mode & 0o77) == "0o0"


def test_every_usual_mount_and_device(user: User, token: str) -> None:
    script = "cut -d' ' -f5 /proc/self/mountinfo; head -c1 /dev/zero | wc -c; stat -c %t:%T /dev/null"
    words = run(user, token, script).stdout.split()
    assert {"/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "1", "1:3"} <= set(words)


def test_another_user_inside(user: User, token: str) -> None:
    user.bundle.process["user"] = {"uid": 1000, "gid": 1000}
    result = run(user, token, "id -u", check=False)
    if user.full:  # type: ignore[attr-defined]
        assert result.stdout == "1000\n"
    else:
        assert result.status != 0
        if Path(user.executable).name == OURS:
            assert "process.user" in result.stderr


def test_additional_groups_need_a_range(user: User, token: str, only) -> None:
    only(OURS)
    user.bundle.process["user"]["additionalGids"] = [10]
    result = run(user, token, "id -G", check=False)
    if user.full:  # type: ignore[attr-defined]
        assert "10" in result.stdout.split()
    else:
        assert "additionalGids" in result.stderr  # a warning at least


def test_a_range_that_the_user_does_not_have(user: User, token: str) -> None:
    for key in ("uidMappings", "gidMappings"):
        user.bundle.linux[key] = [{"containerID": 0, "hostID": 700_000, "size": COUNT}]
    result = run(user, token, "true", check=False)
    assert result.status == 1
    assert result.stderr
    assert user("state", token, check=False).status == 1


def test_no_user_namespace(user: User, token: str, only) -> None:
    only(OURS)
    user.bundle.without_namespace("user")
    for key in ("uidMappings", "gidMappings"):
        del user.bundle.linux[key]
    result = run(user, token, "true", check=False)
    assert result.status == 1
    assert "linux.namespaces" in result.stderr.splitlines()[-1]


def test_the_hosts_network_and_its_sys(user: User, token: str, only) -> None:
    """sysfs cannot be mounted for a network namespace of somebody else: the host's is bound."""
    only(OURS)  # runc leaves that to who writes the document
    user.bundle.without_namespace("network")
    assert run(user, token, "ls -d /sys/class").stdout == "/sys/class\n"


def test_control_groups_cannot_be_changed(user: User, token: str, only) -> None:
    """CVE-2023-25809."""
    only(OURS)
    user.bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "ro")
    script = f"for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/{token}x 2>/dev/null && echo made $d; done; true"
    result = run(user, token, script, check=False)
    assert "made" not in result.stdout
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{token}x"))


def test_a_limit_that_cannot_be_set_is_an_error(user: User, token: str, only) -> None:
    only(OURS)
    user.bundle.linux["resources"] = {"pids": {"limit": 10}}
    result = run(user, token, "true", check=False)
    assert result.status == 1
    assert "linux.resources" in result.stderr


def test_a_host_directory_of_somebody_else(user: User, token: str, place: Path) -> None:
    """Root inside has no more rights than the user."""
    (place / "closed").mkdir(mode=0o700)
    (place / "closed/file").write_text("secret")
    user.bundle.mount("/closed", "bind", str(place / "closed"), "bind")
    assert "secret" not in run(user, token, "cat /closed/file", check=False).stdout
    assert os.stat(place / "closed").st_uid == 0
