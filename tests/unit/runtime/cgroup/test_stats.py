from __future__ import annotations

import os
import sys

import pytest

from tests.unit.runtime.own_groups import OwnGroups
from wherry.oci.json_text import dumps
from wherry.runtime.cgroup.container import Groups
from wherry.runtime.cgroup.layout import Hierarchy, Layout
from wherry.runtime.cgroup.oom import OomWatch
from wherry.runtime.cgroup.stats import UNLIMITED, network_interfaces, read_stats
from wherry.runtime.cgroup.update import update_resources

MIB = 1 << 20


@pytest.fixture
def own():
    groups = OwnGroups()
    yield groups
    groups.close()


def test_usage_of_a_real_group(own):
    own.path("pids")
    process = own.run(sys.executable, "-c", "x = bytearray(8 << 20)\nwhile True: pass")
    while not (stats := read_stats(own.groups, process.pid))["cpu"]["usage"]["total"]:
        pass
    assert stats["pids"]["current"] >= 1
    assert stats["pids"]["limit"] == 0
    assert stats["cpuset"]["cpus"]
    assert stats["memory"]["usage"]["limit"] == UNLIMITED
    assert stats["memory"]["usage"]["usage"] > 0
    assert stats["memory"]["raw"]
    assert set(stats["cpu"]["throttling"]) == {"periods", "throttledPeriods", "throttledTime"}
    assert dumps(stats)


def test_limits_show(own):
    own.path("memory")
    update_resources(own.groups, {}, {"memory": {"limit": 64 * MIB}, "pids": {"limit": 12}})
    stats = read_stats(own.groups)
    assert stats["memory"]["usage"]["limit"] == 64 * MIB
    assert stats["pids"]["limit"] == 12


def test_groups_that_are_gone_give_an_empty_document():
    layout = Layout([Hierarchy(1, ("memory",), "/nowhere/memory"), Hierarchy(1, ("blkio",), "/nowhere/blkio")])
    stats = read_stats(Groups(layout, ["/nowhere/memory/x", "/nowhere/blkio/x"]))
    assert stats["pids"] == {}
    assert stats["memory"]["usage"]["usage"] == 0
    assert dumps(read_stats(Groups(Layout([]), [])))


def fake(tmp_path, files):
    group = tmp_path / "box"
    group.mkdir()
    for name, text in files.items():
        (group / name).write_text(text)
    controllers = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")
    return Groups(Layout([], Hierarchy(2, controllers, str(tmp_path))), [str(group)])


def test_the_files_of_version_2(tmp_path):
    groups = fake(
        tmp_path,
        {
            "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 1\nnr_throttled 2\nthrottled_usec 3\n",
            "cpu.pressure": "some avg10=1.50 avg60=0.00 avg300=0.00 total=77\n",
            "cpuset.cpus.effective": "0-1,4\n",
            "cpuset.mems.effective": "0\n",
            "memory.current": "100\n",
            "memory.max": "max\n",
            "memory.peak": "150\n",
            "memory.events": "low 0\nmax 5\noom_kill 1\n",
            "memory.stat": "anon 60\nfile 40\n",
            "memory.swap.current": "7\n",
            "memory.swap.max": "1000\n",
            "pids.current": "3\n",
            "pids.max": "max\n",
            "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n7:0 \n",
            "hugetlb.2MB.current": "4096\n",
            "hugetlb.2MB.rsvd.current": "0\n",
            "hugetlb.2MB.events": "max 9\n",
        },
    )
    stats = read_stats(groups)
    assert stats["cpu"]["usage"] == {"total": 30000, "kernel": 10000, "user": 20000}
    assert stats["cpu"]["throttling"] == {"periods": 1, "throttledPeriods": 2, "throttledTime": 3000}
    assert stats["cpu"]["psi"]["some"] == {"avg10": 1.5, "avg60": 0.0, "avg300": 0.0, "total": 77}
    assert stats["cpuset"] == {"cpus": [0, 1, 4], "mems": [0]}
    assert stats["memory"]["cache"] == 40
    assert stats["memory"]["usage"] == {"limit": UNLIMITED, "usage": 100, "max": 150, "failcnt": 5}
    assert stats["memory"]["swap"]["usage"] == 107
    assert stats["pids"] == {"current": 3, "limit": 0}
    assert stats["blkio"]["ioServiceBytesRecursive"] == [
        {"major": 8, "minor": 0, "op": "Read", "value": 1},
        {"major": 8, "minor": 0, "op": "Write", "value": 2},
    ]
    assert stats["hugetlb"] == {"2MB": {"usage": 4096, "max": 0, "failcnt": 9}}


def test_network_interfaces_are_those_of_the_process():
    names = {entry["Name"] for entry in network_interfaces(os.getpid())}
    assert names == set(os.listdir("/sys/class/net")) - {"lo", "bonding_masters"}


def test_out_of_memory_is_noticed(own):
    own.path("memory")
    update_resources(own.groups, {}, {"memory": {"limit": 8 * MIB, "swap": 8 * MIB}})
    with OomWatch(own.groups) as watch:
        assert watch.wait(0) in ("", "gone")
        process = own.run(sys.executable, "-c", "x = bytearray(64 << 20)")
        assert watch.wait(60) == "oom"
        assert process.wait(timeout=60) != 0


def test_the_end_of_the_group_is_noticed(own):
    own.path("memory")
    with OomWatch(own.groups) as watch:
        own.close()
        assert watch.wait(60) == "gone"
