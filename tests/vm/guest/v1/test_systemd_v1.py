"""The systemd driver with version 1 controllers: some of the hierarchies are systemd's, some are ours."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.runtimes import cgroups_named, wait_until

from ..test_systemd import gone, scope, shown  # noqa: F401

if TYPE_CHECKING:
    from system.bundle import Bundle
    from system.runtimes import Container

CGROUP = Path("/sys/fs/cgroup")
MIB = 1 << 20


def test_the_machine_is_what_we_came_for() -> None:
    assert (CGROUP / "memory/memory.limit_in_bytes").exists()


def test_limits(container: Container, bundle: Bundle, scope: str) -> None:  # noqa: F811
    bundle.linux["resources"].update(memory={"limit": 64 * MIB}, cpu={"shares": 512, "cpus": "0"}, pids={"limit": 31})
    container.run("--detach")
    expected = {"MemoryLimit": str(64 * MIB), "CPUShares": "512", "TasksMax": "31"}
    assert shown(scope, *expected) == expected
    group = f"system.slice/{scope}"
    assert (CGROUP / "memory" / group / "memory.limit_in_bytes").read_text() == f"{64 * MIB}\n"
    assert (CGROUP / "cpuset" / group / "cpuset.cpus").read_text() == "0\n"
    for line in Path(f"/proc/{container.pid}/cgroup").read_text().splitlines():
        assert line.endswith(f"/{group}"), line
    container.delete("--force")
    wait_until(lambda: gone(scope))
    assert cgroups_named(scope) == []


def test_devices_survive_a_reload(container: Container, bundle: Bundle, scope: str) -> None:  # noqa: F811
    bundle.process["capabilities"] = {name: ["CAP_MKNOD"] for name in ("bounding", "effective", "permitted", "ambient")}
    fuse = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "r"}
    bundle.linux["resources"]["devices"] = [{"allow": False, "access": "rwm"}, fuse]
    container.run("--detach")
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    script = "cd /tmp; mknod fuse c 10 229; mknod mem c 1 1; (: <fuse) && echo readable; (: <mem) || echo denied"
    assert container.exec("sh", "-c", script).stdout.split() == ["readable", "denied"]


@pytest.mark.parametrize("frozen", [False, True])
def test_pause_and_delete(container: Container, scope: str, frozen: bool) -> None:  # noqa: F811
    container.run("--detach")
    container.runtime("pause", container.id)
    assert container.status == "paused"
    if not frozen:
        container.runtime("resume", container.id)
    container.delete("--force")
    wait_until(lambda: gone(scope))
    assert cgroups_named(scope) == []
