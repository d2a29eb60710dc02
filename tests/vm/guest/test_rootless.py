"""An ordinary user with a lingering session: delegated limits by both drivers, and none without delegation."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.system.bundle import Bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

USER, UID = "machine", 1000
MIB = 1 << 20
MANAGER = Path(f"/sys/fs/cgroup/user.slice/user-{UID}.slice/user@{UID}.service")
SESSION = MANAGER / "tests.slice/session.scope"
RUNTIME = os.environ["WHERRY_TEST_RUNTIME"]


@pytest.fixture
def home(rootfs_template: Path) -> Iterator[Path]:
    place = Path(f"/home/{USER}/{uuid4().hex[:8]}")
    place.mkdir()
    bundle = Bundle(place, rootfs_template)
    bundle.namespace("user")
    bundle.without_namespace("network")
    bundle.linux["uidMappings"] = [{"containerID": 0, "hostID": UID, "size": 1}]
    bundle.linux["gidMappings"] = [{"containerID": 0, "hostID": UID, "size": 1}]
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if m["type"] in ("proc", "tmpfs")]
    bundle.args("sleep", "1000")
    bundle.save()
    subprocess.run(["chown", "-R", f"{UID}:{UID}", place], check=True)
    yield place
    subprocess.run(["rm", "-rf", place], check=True)


@pytest.fixture
def as_user(home: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs the runtime as the user: inside the session's manager, or in a login's scope as `where` says."""
    made: list[str] = []

    def run(*args: str, where: str = "manager", check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {"XDG_RUNTIME_DIR": f"/run/user/{UID}", "PATH": os.environ["PATH"], "HOME": str(home)}
        words = [f"{name}={value}" for name, value in environment.items()]
        command = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "env", "-i", *words, RUNTIME, *args]
        if where == "manager":
            command = ["sh", "-c", f'echo $$ >{SESSION}/cgroup.procs && exec "$@"', "sh", *command]
        (home / "out").touch()
        with (home / "out").open("w+") as output:
            status = subprocess.run(
                command, check=False, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            ).returncode
        text = (home / "out").read_text()
        assert not check or status == 0, text
        if args[-1] not in made:
            made.append(args[-1])
        return subprocess.CompletedProcess(command, status, text, text)

    SESSION.mkdir(parents=True, exist_ok=True)
    subprocess.run(["chown", "-R", f"{UID}:{UID}", SESSION.parent], check=True)
    yield run
    for container_id in made:
        run("delete", "--force", container_id, check=False)


def limit(home: Path, **resources: Any) -> None:
    config = json.loads((home / "config.json").read_text())
    config["linux"].update(resources.pop("linux", {}))
    config["linux"]["resources"] = resources
    (home / "config.json").write_text(json.dumps(config))


def group_of(as_user: Any, container_id: str) -> str:
    pid = json.loads(as_user("state", container_id).stdout)["pid"]
    return Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::")


def test_cgroupfs_in_a_delegated_tree(home: Path, as_user: Any) -> None:
    limit(home, memory={"limit": 64 * MIB}, pids={"limit": 31}, cpu={"shares": 1024})
    as_user("run", "--detach", "--bundle", str(home), "box")
    group = Path(f"/sys/fs/cgroup{group_of(as_user, 'box')}")
    assert group == SESSION.parent / "box"
    assert (group / "memory.max").read_text() == f"{64 * MIB}\n"
    assert (group / "pids.max").read_text() == "31\n"
    as_user("delete", "--force", "box")
    assert not group.exists()


@pytest.mark.parametrize("where", ["manager", "login"])
def test_a_scope_of_the_users_manager(home: Path, as_user: Any, where: str) -> None:
    limit(home, memory={"limit": 64 * MIB}, pids={"limit": 31}, linux={"cgroupsPath": "user.slice:wt:box"})
    as_user("--systemd-cgroup", "run", "--detach", "--bundle", str(home), "box", where=where)
    group = Path(f"/sys/fs/cgroup{group_of(as_user, 'box')}")
    assert group == MANAGER / "user.slice/wt-box.scope"
    assert (group / "memory.max").read_text() == f"{64 * MIB}\n"
    as_user("delete", "--force", "box")


def test_no_delegation_no_limits(home: Path, as_user: Any) -> None:
    limit(home, linux={"cgroupsPath": "/nowhere/box"})
    as_user("run", "--detach", "--bundle", str(home), "box", where="login")
    assert json.loads(as_user("state", "box").stdout)["status"] == "running"
    as_user("delete", "--force", "box")
    limit(home, memory={"limit": 64 * MIB}, linux={"cgroupsPath": "/nowhere/box"})
    refused = as_user("run", "--detach", "--bundle", str(home), "box", where="login", check=False)
    assert refused.returncode != 0
    assert "linux.resources.memory.limit" in refused.stdout
