"""linux.cgroupsPath and linux.resources on a host with version 1 hierarchies."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ..runtimes import Container, wait_until

OURS = "wherry-runtime"
ROOT = Path("/sys/fs/cgroup")
MEBI = 1 << 20

pytestmark = pytest.mark.skipif(not (ROOT / "memory/memory.limit_in_bytes").exists(), reason="no version 1 hierarchies")


def group(container: Container, controller: str) -> Path:
    """The container's directory in a hierarchy, as its process sees it."""
    for line in Path(f"/proc/{container.pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return ROOT / controller / path.lstrip("/")
    raise AssertionError(f"{controller} is not mounted")


def created(container: Container, **resources: Any) -> Container:
    container.bundle.linux["resources"] |= resources
    container.bundle.args("sleep", "1000")
    container.create()
    return container


FILES = [
    ({"cpu": {"shares": 513}}, "cpu/cpu.shares", "513"),
    ({"cpu": {"quota": 20000, "period": 50000}}, "cpu/cpu.cfs_quota_us", "20000"),
    ({"cpu": {"quota": 20000, "period": 50000}}, "cpu/cpu.cfs_period_us", "50000"),
    ({"cpu": {"quota": -1}}, "cpu/cpu.cfs_quota_us", "-1"),
    ({"cpu": {"cpus": "0"}}, "cpuset/cpuset.cpus", "0"),
    ({"cpu": {"mems": "0"}}, "cpuset/cpuset.mems", "0"),
    ({"memory": {"limit": 64 * MEBI}}, "memory/memory.limit_in_bytes", str(64 * MEBI)),
    ({"memory": {"limit": -1}}, "memory/memory.limit_in_bytes", str((1 << 63) - 4096)),
    ({"memory": {"reservation": 32 * MEBI}}, "memory/memory.soft_limit_in_bytes", str(32 * MEBI)),
    ({"memory": {"swappiness": 17}}, "memory/memory.swappiness", "17"),
    ({"memory": {"disableOOMKiller": True}}, "memory/memory.oom_control", "oom_kill_disable 1"),
    ({"pids": {"limit": 42}}, "pids/pids.max", "42"),
    ({"pids": {"limit": -1}}, "pids/pids.max", "max"),
]
NEWER = [
    ({"cpu": {"burst": 5000, "quota": 20000, "period": 50000}}, "cpu/cpu.cfs_burst_us", "5000"),
    ({"cpu": {"idle": 1}}, "cpu/cpu.idle", "1"),
    ({"pids": {"limit": 0}}, "pids/pids.max", "0"),
]


@pytest.mark.parametrize(("resources", "file", "value"), FILES, ids=[row[1] + "=" + row[2] for row in FILES])
def test_limits(container: Container, resources: dict[str, Any], file: str, value: str, only) -> None:
    if "-1" in str(resources) and "memory" not in resources:
        only(OURS, "runc")  # crun 1.8 writes a 64-bit number
    controller, name = file.split("/")
    created(container, **resources)
    assert value in (group(container, controller) / name).read_text().splitlines()


@pytest.mark.parametrize(("resources", "file", "value"), NEWER, ids=[row[1] for row in NEWER])
def test_limits_that_are_newer(container: Container, resources: dict[str, Any], file: str, value: str, only) -> None:
    only(OURS)
    controller, name = file.split("/")
    created(container, **resources)
    assert value in (group(container, controller) / name).read_text().splitlines()


def test_real_time(container: Container) -> None:
    created(container, cpu={"realtimeRuntime": 10_000, "realtimePeriod": 500_000})
    assert (group(container, "cpu") / "cpu.rt_runtime_us").read_text() == "10000\n"
    assert (group(container, "cpu") / "cpu.rt_period_us").read_text() == "500000\n"


def test_swap(container: Container) -> None:
    """On version 1 the limit of memory and swap together; hosts that do not account swap have no such file."""
    if not (ROOT / "memory/memory.memsw.limit_in_bytes").exists():
        container.bundle.linux["resources"]["memory"] = {"limit": 64 * MEBI, "swap": 64 * MEBI}
        container.bundle.args("sleep", "1000")
        if container.runtime.dialect == OURS:
            result = container.create(check=False)
            assert result.status == 0 or "swap" in result.stderr
        return
    created(container, memory={"limit": 64 * MEBI, "swap": 128 * MEBI})
    assert (group(container, "memory") / "memory.memsw.limit_in_bytes").read_text() == f"{128 * MEBI}\n"


def test_kernel_memory_is_passed_over(container: Container) -> None:
    created(container, memory={"limit": 64 * MEBI, "kernel": 16 * MEBI, "kernelTCP": 16 * MEBI})


def test_a_memory_limit_kills(container: Container) -> None:
    container.bundle.linux["resources"]["memory"] = {"limit": 16 * MEBI}
    container.bundle.shell("head -c 64m /dev/zero | tail -c 60m | wc -c; tail /dev/zero")
    assert container.run(check=False).status == 137


def test_a_pids_limit_holds(container: Container) -> None:
    container.bundle.linux["resources"]["pids"] = {"limit": 3}
    container.bundle.shell("sleep 9 & sleep 9 & sleep 9 & sleep 9 & sleep 9 & echo all")
    assert "all" not in container.run(check=False).stdout


@pytest.fixture
def disk() -> tuple[int, int, str]:
    """A block device with its numbers."""
    for name in sorted(os.listdir("/sys/block")):
        major, minor = (int(n) for n in Path("/sys/block", name, "dev").read_text().split(":"))
        return major, minor, name
    raise AssertionError("no block device")


@pytest.mark.parametrize(
    ("key", "file"),
    [
        ("throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
        ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
        ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
        ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"),
    ],
)
def test_throttles(container: Container, key: str, file: str, disk: tuple[int, int, str]) -> None:
    major, minor, _ = disk
    created(container, blockIO={key: [{"major": major, "minor": minor, "rate": 123456}]})
    assert (group(container, "blkio") / file).read_text() == f"{major}:{minor} 123456\n"


def test_block_weight(container: Container, only) -> None:
    only(OURS, "runc")
    created(container, blockIO={"weight": 200})
    names = [name for name in ("blkio.bfq.weight", "blkio.weight") if (group(container, "blkio") / name).exists()]
    assert names, "this kernel has no scheduler with weights"
    assert "200" in (group(container, "blkio") / names[0]).read_text()


def test_huge_pages_of_the_unified_hierarchy(container: Container, only) -> None:
    """A controller that no version 1 hierarchy holds may stand in the version 2 one of a hybrid host."""
    only(OURS)
    if "hugetlb" not in (ROOT / "unified/cgroup.controllers").read_text():
        pytest.skip("no hugetlb controller")
    created(container, hugepageLimits=[{"pageSize": "2MB", "limit": 4 * MEBI}])
    line = next(line for line in Path(f"/proc/{container.pid}/cgroup").read_text().splitlines() if line[:3] == "0::")
    assert (ROOT / "unified" / line[4:] / "hugetlb.2MB.max").read_text() == f"{4 * MEBI}\n"


@pytest.mark.parametrize(
    "resources",
    [
        {"network": {"classID": 5}},
        {"network": {"priorities": [{"name": "lo", "priority": 5}]}},
        {"rdma": {"mlx5_1": {"hcaHandles": 3}}},
    ],
)
def test_controllers_that_the_host_does_not_have(container: Container, resources: dict[str, Any], only) -> None:
    only(OURS)
    names = {"network": "net_", "rdma": "rdma"}
    for key in resources:
        assert not any(names[key] in name for name in os.listdir(ROOT)), "this host has it: test the file instead"
    container.bundle.linux["resources"] |= resources
    result = container.create(check=False)
    assert result.status == 1
    assert f"linux.resources.{next(iter(resources))}" in result.stderr


def test_files_by_their_names_need_version_2(container: Container, only) -> None:
    only(OURS)
    container.bundle.linux["resources"]["unified"] = {"memory.high": "1G"}
    result = container.create(check=False)
    assert result.status == 1
    assert "linux.resources.unified" in result.stderr


def test_a_value_the_kernel_refuses(container: Container, only) -> None:
    only(OURS, "runc")
    container.bundle.linux["resources"]["cpu"] = {"cpus": "4000"}
    result = container.create(check=False)
    assert result.status == 1
    assert "cpus" in result.stderr
    assert not container.exists
    assert container.cgroups() == []


# Paths


def test_an_absolute_path_is_below_the_mount_point(container: Container, token: str) -> None:
    container.bundle.linux["cgroupsPath"] = f"/{token}-group/sub"
    created(container)
    for controller in ("memory", "pids", "cpu", "devices", "freezer"):
        assert group(container, controller) == ROOT / controller / f"{token}-group/sub"
    container.kill("KILL")
    container.wait()
    container.delete()
    for controller in os.listdir(ROOT):
        assert not (ROOT / controller / f"{token}-group/sub").exists()
        if (ROOT / controller / f"{token}-group").exists():  # a parent that was made may stay
            (ROOT / controller / f"{token}-group").rmdir()


def test_a_relative_path(container: Container, token: str) -> None:
    container.bundle.linux["cgroupsPath"] = f"{token}-relative"
    created(container)
    assert f"{token}-relative" in str(group(container, "memory"))


def test_no_path_gives_one_with_the_containers_name(container: Container) -> None:
    created(container)
    assert container.id in str(group(container, "memory"))


def test_every_hierarchy_is_joined(container: Container) -> None:
    created(container)
    lines = Path(f"/proc/{container.pid}/cgroup").read_text().splitlines()
    outside = [line for line in lines if container.id not in line and not line.startswith("0::")]
    assert outside == []


def test_children_are_members(container: Container) -> None:
    container.bundle.shell("sleep 1000 & sleep 1000")
    container.create()
    container.start()
    wait_until(lambda: len((group(container, "pids") / "cgroup.procs").read_text().split()) == 2)


def test_a_group_with_processes_is_refused(container: Container, token: str, only) -> None:
    only(OURS)
    path = ROOT / "memory" / f"{token}-busy"
    path.mkdir()
    with subprocess.Popen(["sleep", "1000"]) as process:
        (path / "cgroup.procs").write_text(str(process.pid))
        container.bundle.linux["cgroupsPath"] = f"/{token}-busy"
        result = container.create(check=False)
        assert result.status == 1
        assert "not empty" in result.stderr
        assert process.poll() is None, "the other process lives"
        process.kill()
    path.rmdir()


def test_a_frozen_group_is_refused(container: Container, token: str, only) -> None:
    only(OURS)
    path = ROOT / "freezer" / f"{token}-frozen"
    path.mkdir()
    (path / "freezer.state").write_text("FROZEN")
    container.bundle.linux["cgroupsPath"] = f"/{token}-frozen"
    result = container.create(check=False)
    assert result.status == 1
    assert "frozen" in result.stderr
    (path / "freezer.state").write_text("THAWED")
    path.rmdir()


def test_an_empty_group_that_exists_is_used(container: Container, token: str) -> None:
    for controller in ("memory", "pids"):
        (ROOT / controller / f"{token}-there").mkdir()
    container.bundle.linux["cgroupsPath"] = f"/{token}-there"
    created(container, pids={"limit": 42})
    assert (ROOT / "pids" / f"{token}-there/pids.max").read_text() == "42\n"


def test_a_path_that_climbs(container: Container, token: str, only) -> None:
    only(OURS, "runc")  # crun 1.8 makes the directory in /tmp
    container.bundle.linux["cgroupsPath"] = f"/{token}/../../../../../../tmp/{token}-out"
    container.create(check=False)
    assert not Path(f"/tmp/{token}-out").exists()


# Updates


@pytest.mark.parametrize(
    ("flags", "file", "value"),
    [
        (["--pids-limit", "50"], "pids/pids.max", "50"),
        (["--memory", str(80 * MEBI)], "memory/memory.limit_in_bytes", str(80 * MEBI)),
        (["--memory-reservation", str(20 * MEBI)], "memory/memory.soft_limit_in_bytes", str(20 * MEBI)),
        (["--cpu-share", "700"], "cpu/cpu.shares", "700"),
        (["--cpu-quota", "30000"], "cpu/cpu.cfs_quota_us", "30000"),
        (["--cpu-period", "80000"], "cpu/cpu.cfs_period_us", "80000"),
        (["--cpuset-cpus", "0"], "cpuset/cpuset.cpus", "0"),
        (["--cpuset-mems", "0"], "cpuset/cpuset.mems", "0"),
    ],
)
def test_update_by_flags(container: Container, flags: list[str], file: str, value: str) -> None:
    controller, name = file.split("/")
    created(container)
    container.runtime("update", *flags, container.id)
    assert (group(container, controller) / name).read_text() == f"{value}\n"


@pytest.mark.parametrize("source", ["file", "-"])
def test_update_by_a_document(container: Container, place: Path, source: str) -> None:
    text = '{"pids": {"limit": 61}, "memory": {"limit": 83886080}, "cpu": {"shares": 200}}'
    (place / "resources.json").write_text(text)
    created(container)
    path = str(place / "resources.json") if source == "file" else "-"
    container.runtime("update", "--resources", path, container.id, input=text)
    assert (group(container, "pids") / "pids.max").read_text() == "61\n"
    assert (group(container, "memory") / "memory.limit_in_bytes").read_text() == "83886080\n"
    assert (group(container, "cpu") / "cpu.shares").read_text() == "200\n"


def test_update_leaves_the_rest(container: Container) -> None:
    created(container, pids={"limit": 42}, memory={"limit": 64 * MEBI})
    container.runtime("update", "--pids-limit", "50", container.id)
    assert (group(container, "memory") / "memory.limit_in_bytes").read_text() == f"{64 * MEBI}\n"


def test_a_refused_update_changes_nothing(container: Container, only) -> None:
    only(OURS)
    created(container, pids={"limit": 42}, cpu={"cpus": "0"})
    result = container.runtime("update", "--pids-limit", "50", "--cpuset-cpus", "4000", container.id, check=False)
    assert result.status == 1
    assert (group(container, "pids") / "pids.max").read_text() == "42\n"


def test_update_of_a_stopped_container(container: Container, only) -> None:
    only(OURS, "runc")
    container.bundle.args("sleep", "1000")
    container.create()
    container.kill("KILL")
    container.wait()
    result = container.runtime("update", "--pids-limit", "50", container.id, check=False)
    assert result.status == 1
