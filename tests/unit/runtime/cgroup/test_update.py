from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.unit.runtime.own_groups import OwnGroups
from wherry.errors import WherryError
from wherry.plan.encode import Plan
from wherry.plan.instructions import DELETE, META
from wherry.runtime.cgroup.container import Groups, container_groups
from wherry.runtime.cgroup.layout import Hierarchy, Layout
from wherry.runtime.cgroup.update import merge, update_resources, write_settings
from wherry.runtime.cgroup.update_flags import FLAGS, parse_bytes, resources_from_flags, resources_from_json

MIB = 1 << 20


@pytest.fixture
def own():
    groups = OwnGroups()
    yield groups
    groups.close()


def v1(own, controller):
    path = own.path(controller)
    if own.groups.version(controller) != 1:
        pytest.skip(f"{controller} is not a version 1 controller here")
    return path


def test_pids(own):
    path = own.path("pids")
    now = update_resources(own.groups, {}, {"pids": {"limit": 7}})
    assert (path / "pids.max").read_text() == "7\n"
    now = update_resources(own.groups, now, {"pids": {"limit": 0}})
    assert (path / "pids.max").read_text() == "0\n"
    update_resources(own.groups, now, {"pids": {"limit": -1}})
    assert (path / "pids.max").read_text() == "max\n"


def test_memory_and_swap_in_whatever_order_the_kernel_wants(own):
    path = v1(own, "memory")
    now = update_resources(own.groups, {}, {"memory": {"limit": 64 * MIB, "swap": 64 * MIB}})
    now = update_resources(own.groups, now, {"memory": {"limit": 96 * MIB, "swap": 128 * MIB}})
    now = update_resources(own.groups, now, {"memory": {"limit": 32 * MIB, "swap": 48 * MIB}})
    assert (path / "memory.limit_in_bytes").read_text() == f"{32 * MIB}\n"
    assert (path / "memory.memsw.limit_in_bytes").read_text() == f"{48 * MIB}\n"
    now = update_resources(own.groups, now, {"memory": {"limit": -1}})
    assert int((path / "memory.limit_in_bytes").read_text()) > 1 << 60
    assert int((path / "memory.memsw.limit_in_bytes").read_text()) > 1 << 60
    assert now["memory"] == {"limit": -1, "swap": -1}


def test_quota_and_period(own):
    path = v1(own, "cpu")
    now = update_resources(own.groups, {}, {"cpu": {"quota": 50000, "period": 100000, "burst": 20000}})
    now = update_resources(own.groups, now, {"cpu": {"quota": 10000, "burst": 0}})
    assert (path / "cpu.cfs_quota_us").read_text() == "10000\n"
    assert (path / "cpu.cfs_burst_us").read_text() == "0\n"
    update_resources(own.groups, now, {"cpu": {"shares": 100}})
    assert (path / "cpu.cfs_quota_us").read_text() == "10000\n"
    assert (path / "cpu.shares").read_text() == "100\n"


def test_a_refused_value_leaves_everything_as_it_was(own):
    cpuset, pids = v1(own, "cpuset"), own.path("pids")
    held = (cpuset / "cpuset.cpus").read_text()
    now = update_resources(own.groups, {}, {"pids": {"limit": 9}})
    with pytest.raises(WherryError, match=r"cpuset\.mems") as caught:
        update_resources(own.groups, now, {"pids": {"limit": 3}, "cpu": {"cpus": "0", "mems": "4095"}})
    assert caught.value.path == "resources.cpu.mems"
    assert (pids / "pids.max").read_text() == "9\n"
    assert (cpuset / "cpuset.cpus").read_text() == held


def test_device_lines_are_taken_back(own):
    path = v1(own, "blkio")
    file = path / "blkio.throttle.read_bps_device"
    disks = [line.split() for line in Path("/proc/diskstats").read_text().splitlines()]
    numbers = [f"{major}:{minor}" for major, minor, name, *_ in disks if os.path.isdir(f"/sys/block/{name}")]
    if not numbers:
        pytest.skip("no block device here")
    line = f"{numbers[0]} 4096"
    undo: list[tuple[str, str]] = []
    write_settings([(str(file), line, "", False)], undo)
    assert file.read_text() == line + "\n"
    write_settings([(path, value, "", False) for path, value in undo], [])
    assert file.read_text() == ""


def test_check_before_update(own):
    path = own.path("memory")
    process = own.run(sys.executable, "-c", "import time; x = bytearray(20 << 20); time.sleep(100)")
    usage = path / ("memory.usage_in_bytes" if own.groups.version("memory") == 1 else "memory.current")
    while process.poll() is None and int(usage.read_text()) < 20 * MIB:
        pass
    with pytest.raises(WherryError, match="in use"):
        update_resources(own.groups, {}, {"memory": {"limit": MIB, "checkBeforeUpdate": True}})


def test_a_container_without_groups():
    with pytest.raises(WherryError, match="no control group"):
        update_resources(Groups(Layout([]), []), {}, {"pids": {"limit": 1}})


def test_merge():
    old = {"memory": {"limit": 5, "swap": 9}, "cpu": {"shares": 7, "cpus": "0"}, "pids": {"limit": 3}}
    changes = {
        "memory": {"limit": 0, "swap": None, "reservation": 2},
        "cpu": {"shares": 0, "idle": 0, "cpus": ""},
        "pids": {"limit": 0},
        "blockIO": None,
        "devices": [{"allow": True}],
        "unified": {"memory.high": "1"},
    }
    assert merge(old, changes) == {
        "memory": {"limit": 5, "swap": 9, "reservation": 2},
        "cpu": {"shares": 7, "idle": 0, "cpus": "0"},
        "pids": {"limit": 0},
        "unified": {"memory.high": "1"},
    }
    assert merge(old, {"memory": {"limit": -1}})["memory"] == {"limit": -1, "swap": -1}
    assert merge({}, {"pids": {"limit": 1}}) == {"pids": {"limit": 1}}


def test_groups_of_a_plan():
    layout = Layout(
        [Hierarchy(1, ("memory",), "/sys/fs/cgroup/memory"), Hierarchy(1, ("pids",), "/sys/fs/cgroup/pids")],
        Hierarchy(2, ("hugetlb",), "/sys/fs/cgroup/unified"),
    )
    plan = Plan()
    for name in ("unified", "memory"):
        plan.program(DELETE).emit("CGROUP_REMOVE", f"/sys/fs/cgroup/{name}/a/b", 1)
    plan.program(META).emit("META", "cgroup", "/sys/fs/cgroup/unified/a/b")
    plan.program(META).emit("META", "scope", "wherry-x.scope user")
    groups = container_groups(plan, layout)
    assert groups.directory("memory") == "/sys/fs/cgroup/memory/a/b"
    assert groups.directory("hugetlb") == groups.directory("cgroup") == "/sys/fs/cgroup/unified/a/b"
    assert groups.directory("pids") == groups.directory("rdma") == ""
    assert (groups.version("memory"), groups.version("hugetlb"), groups.version("rdma")) == (1, 2, 0)
    assert (groups.scope, groups.user) == ("wherry-x.scope", True)


def test_flags():
    values = {"--memory": "64m", "--cpu-quota": "-1", "--cpuset-cpus": "0-1", "--l3-cache-schema": "L3:0=f"}
    assert resources_from_flags(values) == {
        "memory": {"limit": 64 * MIB},
        "cpu": {"quota": -1, "cpus": "0-1"},
        "intelRdt": {"l3CacheSchema": "L3:0=f"},
    }
    assert len({flag for flag, *_ in FLAGS}) == len(FLAGS)
    with pytest.raises(WherryError) as caught:
        resources_from_flags({"--cpu-share": "many"})
    assert caught.value.path == "--cpu-share"


def test_json():
    assert resources_from_json(b'{"pids":{"limit":5}}') == {"pids": {"limit": 5}}
    for text in ("[]", "{", ""):
        with pytest.raises(WherryError):
            resources_from_json(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("512b", 512),
        ("1k", 1024),
        ("1.5GiB", 3 << 29),
        ("2 MB", 2 * MIB),
        ("-1", -1),
        ("1T", 1 << 40),
    ],
)
def test_sizes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "m", "-2", "1x", "1..5m", "b", "1.m"])
def test_bad_sizes(text):
    with pytest.raises(WherryError):
        parse_bytes(text)
