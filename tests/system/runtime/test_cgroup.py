"""Limits as the container sees them, and control groups through a container's life, on this machine's layout."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..runtimes import cgroups_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..bundle import Bundle
    from ..runtimes import Container

MIB = 1 << 20
HIERARCHIES = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup " in line]


def v1(controller: str) -> Path:
    """The mount point of a version 1 controller."""
    for fields in HIERARCHIES:
        if controller in fields[-1].split(","):
            return Path(fields[4])
    pytest.skip(f"no version 1 {controller} controller here")


@pytest.fixture
def group(bundle: Bundle, token: str) -> str:
    """The container's group, the same in every hierarchy."""
    bundle.linux["cgroupsPath"] = f"/{token}"
    return token


def limited(bundle: Bundle, **resources: Any) -> None:
    bundle.linux["resources"].update(resources)


def read(controller: str, group: str, file: str) -> str:
    return (v1(controller) / group / file).read_text().strip()


UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers").exists()


def groups_of(pid: int | str) -> dict[str, str]:
    """A process's group by controllers, in the hierarchies that are in sight."""
    lines = [line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    return {controllers: path for controllers, path in lines if not (UNIFIED and controllers)}


def remove(group: str) -> None:
    """Remove the empty parents that a nested path leaves."""
    for top in cgroups_named(group):
        for below in sorted(top.rglob("*/"), reverse=True):
            below.rmdir()
        top.rmdir()


@pytest.mark.parametrize(
    ("resources", "controller", "file", "value"),
    [
        ({"memory": {"limit": 64 * MIB}}, "memory", "memory.limit_in_bytes", str(64 * MIB)),
        ({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}, "memory", "memory.memsw.limit_in_bytes", str(96 * MIB)),
        ({"memory": {"reservation": 32 * MIB}}, "memory", "memory.soft_limit_in_bytes", str(32 * MIB)),
        ({"memory": {"swappiness": 7}}, "memory", "memory.swappiness", "7"),
        ({"cpu": {"shares": 333}}, "cpu", "cpu.shares", "333"),
        ({"cpu": {"quota": 20000, "period": 50000}}, "cpu", "cpu.cfs_quota_us", "20000"),
        ({"cpu": {"quota": 20000, "period": 50000}}, "cpu", "cpu.cfs_period_us", "50000"),
        ({"cpu": {"cpus": "0", "mems": "0"}}, "cpuset", "cpuset.cpus", "0"),
        ({"pids": {"limit": 13}}, "pids", "pids.max", "13"),
    ],
)
def test_limits(
    container: Container, bundle: Bundle, group: str, resources: Any, controller: str, file: str, value: str
) -> None:
    v1(controller)
    limited(bundle, **resources)
    container.create()
    assert read(controller, group, file) == value
    assert str(container.pid) in read(controller, group, "cgroup.procs").split()
    container.delete("--force")
    assert cgroups_named(group) == []


def test_block_io_weight(container: Container, bundle: Bundle, group: str) -> None:
    if not (v1("blkio") / "blkio.bfq.io_service_bytes").exists():
        pytest.skip("the kernel has no BFQ scheduler")
    limited(bundle, blockIO={"weight": 200})
    container.create()
    assert read("blkio", group, "blkio.bfq.weight") == "200"


@pytest.mark.parametrize(
    ("cpu", "file", "value"),
    [({"quota": 20000, "burst": 10000}, "cpu.cfs_burst_us", "10000"), ({"idle": 1}, "cpu.idle", "1")],
)
def test_limits_that_older_peers_do_not_know(
    container: Container, bundle: Bundle, group: str, only: Callable[..., None], cpu: Any, file: str, value: str
) -> None:
    only("wherry-runtime")
    v1("cpu")
    limited(bundle, cpu=cpu)
    container.create()
    assert read("cpu", group, file) == value


def test_the_container_sees_its_limits(container: Container, bundle: Bundle, group: str) -> None:
    v1("memory")
    limited(bundle, memory={"limit": 64 * MIB}, pids={"limit": 77})
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro", "nosuid", "noexec", "nodev")
    bundle.namespace("cgroup")
    shown = container.output(
        "cd /sys/fs/cgroup && cat memory/memory.limit_in_bytes pids/pids.max && cat /proc/self/cgroup"
    )
    first, second, *groups = shown.split()
    assert (first, second) == (str(64 * MIB), "77")
    assert {line.split(":")[2] for line in groups} == {"/"}


def test_without_a_cgroup_namespace_the_own_groups_are_bound(container: Container, bundle: Bundle, group: str) -> None:
    v1("pids")
    limited(bundle, pids={"limit": 78})
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro", "nosuid", "noexec", "nodev")
    shown = container.output("cat /sys/fs/cgroup/pids/pids.max; grep pids /proc/self/cgroup")
    assert shown.split()[0] == "78"
    assert shown.rstrip().endswith(f"/{group}")


def test_no_more_processes_than_the_limit(container: Container, bundle: Bundle, group: str) -> None:
    v1("pids")
    limited(bundle, pids={"limit": 1})
    bundle.shell("true & echo started")
    container.run(check=False)
    assert "started" not in container.stdout
    assert "can't fork" in container.stderr


def test_a_pids_limit_of_zero_still_lets_the_container_start(container: Container, bundle: Bundle, group: str) -> None:
    v1("pids")
    limited(bundle, pids={"limit": 0})
    bundle.args("cat", "/proc/self/stat")
    assert container.run().stdout


def test_memory_is_bounded(container: Container, bundle: Bundle, group: str) -> None:
    v1("memory")
    limited(bundle, memory={"limit": 16 * MIB, "swap": 16 * MIB})
    bundle.shell("head -c 100m /dev/zero | tail -c 90m >/dev/null; echo status $?")
    container.run(check=False)
    assert "status 0" not in container.stdout


def test_devices(container: Container, bundle: Bundle, group: str) -> None:
    v1("devices")
    if " fuse\n" not in Path("/proc/misc").read_text():
        pytest.skip("the kernel has no fuse device")
    bundle.process["capabilities"] = {name: ["CAP_MKNOD"] for name in ("bounding", "effective", "permitted", "ambient")}
    fuse = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "r"}
    limited(bundle, devices=[{"allow": False, "access": "rwm"}, fuse])
    bundle.shell(
        "cd /tmp; mknod fuse c 10 229; mknod mem c 1 1; mknod zero c 1 5;"
        "head -c 1 zero | wc -c; (: <fuse) && echo readable; (: >fuse) || echo unwritable; (: <mem) || echo denied"
    )
    assert container.run().stdout.split() == ["1", "readable", "unwritable", "denied"]


def test_a_container_that_may_use_every_device(container: Container, bundle: Bundle, group: str) -> None:
    root = (v1("devices") / "devices.list").read_text()
    limited(bundle, devices=[{"allow": True, "access": "rwm"}])
    container.create()
    assert read("devices", group, "devices.list") == root.strip()


def test_a_group_with_processes_is_refused(
    make_container: Callable[..., Container], bundle: Bundle, group: str, only: Callable[..., None]
) -> None:
    only("wherry-runtime")  # older ones warn
    bundle.args("sleep", "100")
    first, second = make_container(), make_container()
    first.create()
    refused = second.create(check=False)
    assert refused.status != 0
    assert "not empty" in refused.stderr
    assert first.status == "created"
    assert cgroups_named(group)


def test_a_frozen_group_is_refused(container: Container, group: str) -> None:
    freezer = v1("freezer") / group
    freezer.mkdir()
    (freezer / "freezer.state").write_text("FROZEN")
    refused = container.create(check=False)
    assert refused.status != 0
    assert "frozen" in refused.stderr
    assert freezer.exists()
    freezer.rmdir()


def test_nested_paths_initialise_cpusets(container: Container, bundle: Bundle, group: str) -> None:
    cpuset = v1("cpuset")
    bundle.linux["cgroupsPath"] = f"/{group}/a/b"
    container.create()
    for path in (f"{group}/a", f"{group}/a/b"):
        assert (cpuset / path / "cpuset.cpus").read_text().strip()
        assert (cpuset / path / "cpuset.mems").read_text().strip()
    container.delete("--force")
    remove(group)


def test_relative_path_is_below_our_own_group(container: Container, bundle: Bundle, token: str) -> None:
    bundle.linux["cgroupsPath"] = f"{token}/inner"
    container.create()
    own = groups_of("self")
    for controllers, path in groups_of(container.pid).items():
        base = os.path.dirname(own[controllers]) if UNIFIED else own[controllers]
        assert path == f"{base.rstrip('/')}/{token}/inner"
    container.delete("--force")
    remove(token)


def test_pause_and_delete_of_a_frozen_container(container: Container, bundle: Bundle, group: str) -> None:
    bundle.args("sleep", "100")
    container.run("--detach")
    container.runtime("pause", container.id)
    assert container.status == "paused"
    container.delete("--force")
    assert cgroups_named(group) == []


def test_processes_in_groups_below_are_killed_and_removed(container: Container, bundle: Bundle, group: str) -> None:
    v1("pids")
    bundle.args("sleep", "100")
    container.run("--detach")
    for line in Path(f"/proc/{container.pid}/cgroup").read_text().split():
        if line.endswith(group) and ":pids:" in line:
            child = v1("pids") / group / "child"
            child.mkdir()
            (child / "cgroup.procs").write_text(str(container.pid))
    container.delete("--force")
    assert cgroups_named(group) == []


def test_exec_joins_every_group(container: Container, bundle: Bundle, group: str) -> None:
    bundle.args("sleep", "100")
    container.run("--detach")
    shown = container.exec("cat", "/proc/self/cgroup").stdout
    assert shown == Path(f"/proc/{container.pid}/cgroup").read_text()
    assert set(groups_of(container.pid).values()) == {f"/{group}"}


def test_a_missing_controller_is_named(container: Container, bundle: Bundle, group: str) -> None:
    known = Path("/proc/self/mountinfo").read_text()
    if "rdma" in known:
        pytest.skip("this machine has the rdma controller")
    limited(bundle, rdma={"mlx5_0": {"hcaHandles": 3}})
    refused = container.create(check=False)
    assert refused.status != 0
    assert "rdma" in refused.stderr
    assert cgroups_named(group) == []


def test_a_value_that_the_kernel_refuses_is_named_by_its_place(
    container: Container, bundle: Bundle, group: str, only: Callable[..., None]
) -> None:
    only("wherry-runtime")
    v1("cpuset")
    limited(bundle, cpu={"cpus": "4095"})
    refused = container.create(check=False)
    assert refused.status != 0
    assert "linux.resources.cpu.cpus" in refused.stderr
    assert not container.exists
    assert cgroups_named(group) == []


def test_update(container: Container, bundle: Bundle, group: str) -> None:
    v1("memory")
    bundle.args("sleep", "100")
    container.run("--detach")
    container.runtime("update", "--memory", "64m", "--pids-limit", "9", container.id)
    assert read("memory", group, "memory.limit_in_bytes") == str(64 * MIB)
    assert read("pids", group, "pids.max") == "9"
    document = json.dumps({"memory": {"limit": 32 * MIB}, "cpu": {"shares": 55}})
    container.runtime("update", "--resources", "-", container.id, input=document)
    assert read("memory", group, "memory.limit_in_bytes") == str(32 * MIB)
    assert read("cpu", group, "cpu.shares") == "55"
    assert read("pids", group, "pids.max") == "9"


def test_stats(container: Container, bundle: Bundle, group: str, only: Callable[..., None]) -> None:
    only("wherry-runtime", "runc")
    v1("memory")
    limited(bundle, memory={"limit": 64 * MIB}, pids={"limit": 9})
    bundle.args("sleep", "100")
    container.run("--detach")
    event = json.loads(container.runtime("events", "--stats", container.id).stdout)
    assert (event["type"], event["id"]) == ("stats", container.id)
    assert event["data"]["memory"]["usage"]["limit"] == 64 * MIB
    assert event["data"]["pids"] == {"current": 1, "limit": 9}
