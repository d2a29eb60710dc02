from __future__ import annotations

import pytest

from wherry.errors import WherryError
from wherry.plan.instructions import WRITE_IF_PRESENT
from wherry.runtime.cgroup.layout import CONTROLLERS, Hierarchy, Layout
from wherry.runtime.cgroup.resources import device_rules, resource_settings
from wherry.runtime.cgroup.v1 import device_settings
from wherry.runtime.cgroup.v2 import cpu_weight, io_weight

V1_CONTROLLERS = ("cpu", "cpuset", "memory", "blkio", "pids", "hugetlb", "net_cls", "net_prio", "rdma", "devices")
V1 = Layout([Hierarchy(1, (name,), f"/nowhere/{name}") for name in V1_CONTROLLERS])
V2 = Layout([], Hierarchy(2, CONTROLLERS, "/sys/fs/cgroup"))
HYBRID = Layout([Hierarchy(1, ("memory",), "/nowhere/memory")], Hierarchy(2, ("hugetlb",), "/nowhere/unified"))


def files(resources, layout):
    return [(file, value) for _, file, value, _, _ in resource_settings(resources, layout)]


@pytest.mark.parametrize(
    ("resources", "v1", "v2"),
    [
        (
            {"memory": {"limit": 1000, "reservation": 500, "swap": 1500, "kernel": 7, "useHierarchy": True}},
            [
                ("memory.limit_in_bytes", "1000"),
                ("memory.memsw.limit_in_bytes", "1500"),
                ("memory.soft_limit_in_bytes", "500"),
            ],
            [("memory.max", "1000"), ("memory.swap.max", "500"), ("memory.low", "500")],
        ),
        (
            {"memory": {"limit": -1}},
            [("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "-1")],
            [("memory.max", "max"), ("memory.swap.max", "max")],
        ),
        (
            {"memory": {"limit": 1000, "swap": 1000}},
            [("memory.limit_in_bytes", "1000"), ("memory.memsw.limit_in_bytes", "1000")],
            [("memory.max", "1000"), ("memory.swap.max", "0")],
        ),
        ({"memory": {"limit": 0, "swap": 0}}, [], []),
        (
            {"cpu": {"shares": 1024, "quota": 20000, "burst": 10, "idle": 1, "cpus": "0-1", "mems": "0"}},
            [
                ("cpu.shares", "1024"),
                ("cpu.cfs_quota_us", "20000"),
                ("cpu.cfs_burst_us", "10"),
                ("cpu.idle", "1"),
                ("cpuset.cpus", "0-1"),
                ("cpuset.mems", "0"),
            ],
            [
                ("cpu.weight", "100"),
                ("cpu.max", "20000 100000"),
                ("cpu.max.burst", "10"),
                ("cpu.idle", "1"),
                ("cpuset.cpus", "0-1"),
                ("cpuset.mems", "0"),
            ],
        ),
        (
            {"cpu": {"quota": -1, "period": 50000}},
            [("cpu.cfs_period_us", "50000"), ("cpu.cfs_quota_us", "-1")],
            [("cpu.max", "max 50000")],
        ),
        (
            {
                "blockIO": {
                    "weight": 10,
                    "weightDevice": [{"major": 8, "minor": 0, "weight": 500}],
                    "throttleReadBpsDevice": [{"major": 8, "minor": 16, "rate": 600}],
                    "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 300}],
                }
            },
            [
                ("blkio.weight", "10"),
                ("blkio.weight_device", "8:0 500"),
                ("blkio.throttle.read_bps_device", "8:16 600"),
                ("blkio.throttle.write_iops_device", "8:16 300"),
            ],
            [
                ("io.bfq.weight", "10"),
                ("io.weight", "1"),
                ("io.bfq.weight", "8:0 500"),
                ("io.weight", "8:0 4950"),
                ("io.max", "8:16 rbps=600"),
                ("io.max", "8:16 wiops=300"),
            ],
        ),
        (
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]},
            [("hugetlb.2MB.limit_in_bytes", "4194304"), ("hugetlb.2MB.rsvd.limit_in_bytes", "4194304")],
            [("hugetlb.2MB.max", "4194304"), ("hugetlb.2MB.rsvd.max", "4194304")],
        ),
        ({"pids": {"limit": 0}}, [("pids.max", "0")], [("pids.max", "0")]),
        ({"pids": {"limit": -1}}, [("pids.max", "max")], [("pids.max", "max")]),
        ({"pids": {}}, [], []),
        (
            {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}}},
            [("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000")],
            [("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000")],
        ),
    ],
)
def test_settings(resources, v1, v2):
    assert files(resources, V1) == v1
    assert files(resources, V2) == v2


def test_only_version_1():
    resources = {
        "cpu": {"realtimePeriod": 100, "realtimeRuntime": 50},
        "memory": {"swappiness": 10, "disableOOMKiller": True},
        "network": {"classID": 7, "priorities": [{"name": "eth0", "priority": 5}]},
    }
    assert files(resources, V1) == [
        ("memory.swappiness", "10"),
        ("memory.oom_control", "1"),
        ("cpu.rt_period_us", "100"),
        ("cpu.rt_runtime_us", "50"),
        ("net_cls.classid", "7"),
        ("net_prio.ifpriomap", "eth0 5"),
    ]
    for section, members in resources.items():
        for name, value in members.items():
            with pytest.raises(WherryError, match=name) as caught:
                resource_settings({section: {name: value}}, V2)
            assert "cgroup v2" in str(caught.value)


def test_unified_is_verbatim_and_last_with_a_write_for_each_line():
    resources = {"unified": {"io.max": "8:0 rbps=1\n8:16 rbps=2", "memory.max": "7"}, "memory": {"limit": 5}}
    assert files(resources, V2) == [
        ("memory.max", "5"),
        ("io.max", "8:0 rbps=1"),
        ("io.max", "8:16 rbps=2"),
        ("memory.max", "7"),
    ]


@pytest.mark.parametrize("key", ["../memory.max", "memory/max", "memory", ".max", "memory.", "perf.max"])
def test_unified_refuses_paths_and_controllers_that_are_missing(key):
    with pytest.raises(WherryError) as caught:
        resource_settings({"unified": {key: "1"}}, V2)
    assert key in str(caught.value)


def test_unified_needs_version_2():
    with pytest.raises(WherryError, match="cgroup v2"):
        resource_settings({"unified": {"memory.max": "1"}}, V1)


def test_a_hybrid_layout_uses_each_controller_where_it_is():
    resources = {
        "memory": {"limit": 5},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
        "unified": {"hugetlb.1GB.max": "0"},
    }
    assert files(resources, HYBRID) == [
        ("memory.limit_in_bytes", "5"),
        ("hugetlb.2MB.max", "0"),
        ("hugetlb.2MB.rsvd.max", "0"),
        ("hugetlb.1GB.max", "0"),
    ]


def test_a_missing_controller_is_an_error_only_for_a_limit():
    layout = Layout([Hierarchy(1, ("memory",), "/nowhere")])
    assert files({"pids": {"limit": -1}, "cpu": {"shares": 0, "quota": -1}}, layout) == []
    with pytest.raises(WherryError, match="'pids' is not available") as caught:
        resource_settings({"pids": {"limit": 5}}, layout)
    assert caught.value.path == "linux.resources.pids.limit"


@pytest.mark.parametrize(
    ("resources", "path"),
    [
        ({"memory": {"limit": "1g"}}, "linux.resources.memory.limit"),
        ({"memory": {"limit": 10, "swap": 5}}, "linux.resources.memory.swap"),
        ({"memory": {"swappiness": 101}}, "linux.resources.memory.swappiness"),
        ({"cpu": {"quota": 10, "burst": 20}}, "linux.resources.cpu.burst"),
        ({"cpu": {"shares": -1}}, "linux.resources.cpu.shares"),
        ({"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]}, "linux.resources.hugepageLimits[0].pageSize"),
        ({"hugepageLimits": [{"pageSize": "2MB"}]}, "linux.resources.hugepageLimits[0].limit"),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8}]}},
            "linux.resources.blockIO.throttleReadBpsDevice[0].minor",
        ),
        ({"rdma": {"mlx": {}}}, "linux.resources.rdma.mlx"),
        ({"network": {"priorities": [{"name": "a b", "priority": 1}]}}, "linux.resources.network.priorities[0].name"),
    ],
)
def test_mistakes_name_their_place(resources, path):
    with pytest.raises(WherryError) as caught:
        resource_settings(resources, V1)
    assert caught.value.path == path


def test_swap_alone_needs_a_memory_limit_with_version_2():
    with pytest.raises(WherryError, match="only together"):
        resource_settings({"memory": {"swap": 100}}, V2)


def test_optional_settings_are_marked():
    settings = resource_settings({"pids": {"limit": -1}, "memory": {"limit": 1}}, V2)
    assert [setting[4] for setting in settings] == [0, WRITE_IF_PRESENT]


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(0, 1), (2, 1), (3, 2), (102, 17), (512, 59), (1024, 100), (2048, 174), (262144, 10000), (1 << 40, 10000)],
)
def test_cpu_weight(shares, weight):
    assert cpu_weight(shares) == weight


def test_cpu_weight_grows_with_shares():
    weights = [cpu_weight(shares) for shares in range(2, 262145, 7)]
    assert weights == sorted(weights)


def test_io_weight():
    assert (io_weight(10), io_weight(500), io_weight(1000)) == (1, 4950, 10000)


def test_devices_of_version_1():
    rules = device_rules(
        {"devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 10, "access": "r"}]}
    )
    settings = [(file, value) for _, file, value, _, _ in device_settings(rules)]
    assert settings[:3] == [("devices.deny", "a"), ("devices.deny", "a"), ("devices.allow", "c 10:* r")]
    assert ("devices.allow", "c 1:3 rwm") in settings
    assert ("devices.allow", "b *:* m") in settings


def test_a_rule_for_all_types_with_numbers_does_not_become_a_rule_for_all():
    rules = device_rules({"devices": [{"allow": True, "type": "a", "major": 7, "minor": 1, "access": "r"}]})
    values = [value for _, file, value, _, _ in device_settings(rules) if file == "devices.allow"]
    assert values[:2] == ["c 7:1 r", "b 7:1 r"]
    assert "a" not in values


def test_no_filter_for_a_container_that_may_use_everything():
    deny, allow = {"allow": False, "access": "rwm"}, {"allow": True, "access": "rwm"}
    assert device_rules({"devices": [deny, allow]}) is None
    assert device_rules({"devices": [allow, deny]}) is not None
    assert device_rules({"devices": [allow, {"allow": False, "type": "c", "major": 10, "access": "r"}]}) is not None
    assert device_rules({}) is not None
