"""The systemd driver: scopes, their properties, and what stays when systemd reloads."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.runtimes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from system.bundle import Bundle
    from system.runtimes import Container, Runtime

CGROUP = Path("/sys/fs/cgroup")
MIB = 1 << 20


@pytest.fixture
def scope(runtime: Runtime, bundle: Bundle, token: str) -> str:
    """The container's unit; the runtime uses systemd from here on."""
    runtime.prefix.append("--systemd-cgroup")
    bundle.linux["cgroupsPath"] = f"system.slice:wt:{token}"
    bundle.args("sleep", "1000")
    return f"wt-{token}.scope"


def shown(unit: str, *names: str) -> dict[str, str]:
    command = ["systemctl", "show", unit, *[f"--property={name}" for name in names]]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def gone(unit: str) -> bool:
    return shown(unit, "LoadState")["LoadState"] == "not-found"


def test_a_scope_with_limits(container: Container, bundle: Bundle, scope: str) -> None:
    bundle.linux["resources"].update(
        memory={"limit": 64 * MIB, "swap": 96 * MIB},
        cpu={"shares": 512, "quota": 20000, "period": 50000, "cpus": "0"},
        pids={"limit": 31},
        unified={"memory.high": str(60 * MIB)},
    )
    container.run("--detach")
    group = CGROUP / "system.slice" / scope
    assert (group / "cgroup.procs").read_text().split() == [str(container.pid)]
    expected = {
        "MemoryMax": str(64 * MIB),
        "MemorySwapMax": str(32 * MIB),
        "MemoryHigh": str(60 * MIB),
        "CPUWeight": "59",
        "CPUQuotaPerSecUSec": "400ms",
        "TasksMax": "31",
        "AllowedCPUs": "0",
        "Delegate": "yes",
        "ActiveState": "active",
        "CollectMode": "inactive-or-failed",
    }
    assert shown(scope, *expected) == expected
    for file, value in (("memory.max", str(64 * MIB)), ("pids.max", "31"), ("cpu.max", "20000 50000")):
        assert (group / file).read_text().strip() == value


def test_limits_and_devices_survive_a_reload(container: Container, bundle: Bundle, scope: str) -> None:
    bundle.process["capabilities"] = {name: ["CAP_MKNOD"] for name in ("bounding", "effective", "permitted", "ambient")}
    bundle.linux["resources"].update(memory={"limit": 64 * MIB}, pids={"limit": 31})
    fuse = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "r"}
    bundle.linux["resources"]["devices"] = [{"allow": False, "access": "rwm"}, fuse]
    container.run("--detach")
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    group = CGROUP / "system.slice" / scope
    assert (group / "memory.max").read_text() == f"{64 * MIB}\n"
    assert (group / "pids.max").read_text() == "31\n"
    script = "cd /tmp; mknod fuse c 10 229; mknod mem c 1 1; (: <fuse) && echo readable; (: <mem) || echo denied"
    assert container.exec("sh", "-c", script).stdout.split() == ["readable", "denied"]


def test_the_scope_goes_with_the_container(container: Container, scope: str) -> None:
    container.run("--detach")
    assert not gone(scope)
    container.kill("KILL")
    container.wait("stopped")
    container.delete()
    wait_until(lambda: gone(scope))
    assert not (CGROUP / "system.slice" / scope).exists()


def test_the_placeholder_ends(container: Container, scope: str) -> None:
    container.create()
    group = CGROUP / "system.slice" / scope
    wait_until(lambda: (group / "cgroup.procs").read_text().split() == [str(container.pid)])


def test_a_start_that_fails_leaves_no_scope(container: Container, bundle: Bundle, scope: str) -> None:
    bundle.args("/nonexistent")
    assert container.create(check=False).status != 0
    wait_until(lambda: gone(scope))


def test_an_id_can_be_used_again(container: Container, bundle: Bundle, scope: str) -> None:
    for _ in range(2):
        bundle.args("true")
        container.run()
        wait_until(lambda: gone(scope))


def test_an_existing_unit_is_refused(make_container: Callable[..., Container], bundle: Bundle, scope: str) -> None:
    first, second = make_container(), make_container()
    first.run("--detach")
    refused = second.create(check=False)
    assert refused.status != 0
    assert scope in refused.stderr
    assert first.status == "running"


def test_slices_and_annotations(container: Container, bundle: Bundle, token: str, scope: str) -> None:
    bundle.linux["cgroupsPath"] = f"wt-{token}.slice:wt:{token}"
    bundle.config["annotations"] = {
        "org.systemd.property.TimeoutStopSec": "uint64 77",
        "org.systemd.property.Description": "'from an annotation'",
    }
    container.run("--detach")
    expected = {"TimeoutStopUSec": "1min 17s", "Description": "from an annotation", "Slice": f"wt-{token}.slice"}
    assert shown(scope, *expected) == expected
    container.delete("--force")
    subprocess.run(["systemctl", "stop", f"wt-{token}.slice"], check=True)


def test_pause_and_exec(container: Container, scope: str) -> None:
    container.run("--detach")
    container.runtime("pause", container.id)
    assert container.status == "paused"
    container.runtime("resume", container.id)
    assert container.exec("cat", "/proc/self/cgroup").stdout == f"0::/system.slice/{scope}\n"


def test_update(container: Container, scope: str) -> None:
    container.run("--detach")
    container.runtime("update", "--memory", "32m", "--pids-limit", "17", container.id)
    expected = {"MemoryMax": str(32 * MIB), "TasksMax": "17"}
    assert shown(scope, *expected) == expected
    group = CGROUP / "system.slice" / scope
    assert (group / "memory.max").read_text() == f"{32 * MIB}\n"


@pytest.mark.parametrize("path", ["/plain/path", "a:b", "x:a:b"])
def test_other_paths_are_refused(container: Container, bundle: Bundle, scope: str, path: Any) -> None:
    bundle.linux["cgroupsPath"] = path
    refused = container.create(check=False)
    assert refused.status != 0
    assert "linux.cgroupsPath" in refused.stderr
