from __future__ import annotations

import pytest

from wherry.errors import WherryError
from wherry.runtime.cgroup.layout import CONTROLLERS, Hierarchy, Layout
from wherry.runtime.cgroup.resources import device_rules, resource_settings
from wherry.runtime.cgroup.systemd import device_properties, scope_properties, unit_name
from wherry.runtime.cgroup.systemd_properties import (
    INFINITY,
    annotated_property,
    cpu_mask,
    quota_per_second,
    resource_properties,
)

V1 = Layout([Hierarchy(1, (name,), f"/nowhere/{name}") for name in ("cpu", "cpuset", "memory", "blkio", "pids")])
V2 = Layout([], Hierarchy(2, CONTROLLERS, "/sys/fs/cgroup"))


@pytest.mark.parametrize(
    ("path", "rootless", "expected"),
    [
        ("", False, ("system.slice", "wherry-box.scope")),
        ("", True, ("user.slice", "wherry-box.scope")),
        ("machine.slice:libpod:abc", False, ("machine.slice", "libpod-abc.scope")),
        ("::abc", False, ("system.slice", "abc.scope")),
        ("kubepods-pod1.slice:cri:", False, ("kubepods-pod1.slice", "cri-box.scope")),
        ("-.slice:a:b", False, ("-.slice", "a-b.scope")),
    ],
)
def test_unit_names(path, rootless, expected):
    assert unit_name(path, "box", rootless=rootless) == expected


@pytest.mark.parametrize(
    "path", ["/abs", "a:b", "x:a:b", "a/b.slice:c:d", "-a.slice:c:d", "a--b.slice:c:d", "a-.slice:c:d"]
)
def test_other_paths_are_refused(path):
    with pytest.raises(WherryError) as caught:
        unit_name(path, "box", rootless=False)
    assert caught.value.path == "linux.cgroupsPath"


def properties(resources, layout=V2):
    return resource_properties(resource_settings(resources, layout))


def test_limits_as_properties():
    resources = {
        "memory": {"limit": 5, "reservation": 3, "swap": 9},
        "cpu": {"shares": 1024, "quota": 15000, "period": 40000, "cpus": "0,2-3", "mems": "0"},
        "pids": {"limit": 7},
        "blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}]},
        "unified": {"memory.high": "4", "memory.max": "6", "cgroup.max.depth": "1"},
    }
    assert properties(resources) == {
        "MemoryMax": ("t", 6),
        "MemorySwapMax": ("t", 4),
        "MemoryLow": ("t", 3),
        "MemoryHigh": ("t", 4),
        "CPUWeight": ("t", 100),
        "CPUQuotaPerSecUSec": ("t", 380000),
        "CPUQuotaPeriodUSec": ("t", 40000),
        "AllowedCPUs": ("ay", [13]),
        "AllowedMemoryNodes": ("ay", [1]),
        "IOWeight": ("t", 4950),
        "IOReadBandwidthMax": ("a(st)", [("/dev/block/8:0", 600)]),
        "TasksMax": ("t", 7),
    }


def test_limits_of_version_1_as_properties():
    resources = {"memory": {"limit": 5}, "cpu": {"shares": 7, "quota": 50000}, "blockIO": {"weight": 10}}
    assert properties(resources, V1) == {
        "MemoryLimit": ("t", 5),
        "CPUShares": ("t", 7),
        "CPUQuotaPerSecUSec": ("t", 500000),
        "CPUQuotaPeriodUSec": ("t", 100000),
        "BlockIOWeight": ("t", 10),
    }


def test_no_limits_as_properties():
    resources = {"memory": {"limit": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}}
    assert properties(resources) == {
        "MemoryMax": ("t", INFINITY),
        "MemorySwapMax": ("t", INFINITY),
        "CPUQuotaPerSecUSec": ("t", INFINITY),
        "CPUQuotaPeriodUSec": ("t", 100000),
        "TasksMax": ("t", INFINITY),
    }
    assert properties({"pids": {"limit": 0}}) == {}
    assert properties({"cpu": {"shares": 5, "idle": 1}}) == {"CPUWeight": ("t", 0)}


def test_quota_is_rounded_up_to_what_systemd_keeps():
    assert quota_per_second(1, 100000) == 10000
    assert quota_per_second(50000, 100000) == 500000
    assert quota_per_second(200001, 100000) == 2010000


@pytest.mark.parametrize(("text", "mask"), [("0", [1]), ("0-8", [255, 1]), ("1,\n", [2]), ("16", [0, 0, 1])])
def test_masks(text, mask):
    assert cpu_mask(text, "x") == mask


@pytest.mark.parametrize("text", ["a", "1-", "-1", "0-99999999"])
def test_bad_masks(text):
    with pytest.raises(WherryError):
        cpu_mask(text, "x")


def test_scope_properties_with_annotations():
    config = {
        "annotations": {
            "org.systemd.property.TimeoutStopSec": "uint64 30",
            "org.systemd.property.CollectMode": "'inactive'",
            "org.systemd.property.After": "['a.service', 'b.service']",
            "org.systemd.property.MemoryMax": "uint64 9",
            "other": "x",
        }
    }
    found = dict(scope_properties(config, "box", "a.slice", V2, resource_settings({"memory": {"limit": 5}}, V2)))
    assert found["Slice"] == ("s", "a.slice")
    assert found["Delegate"] == ("b", True)
    assert found["TimeoutStopUSec"] == ("t", 30_000_000)
    assert found["CollectMode"] == ("s", "inactive")
    assert found["After"] == ("as", ["a.service", "b.service"])
    assert found["MemoryMax"] == ("t", 9)
    assert "IOAccounting" in found
    assert "BlockIOAccounting" in dict(scope_properties({}, "box", "a.slice", V1, []))


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", ("b", True)), ("-5", ("i", -5)), ("byte 7", ("y", 7)), ('"x"', ("s", "x")), ("[]", ("as", []))],
)
def test_values(text, value):
    assert annotated_property("X", text, "x") == ("X", value)


@pytest.mark.parametrize("text", ["", "x", "'a", "uint64 x", "5 6", "byte 256", "uint32 -1", "[1]", "'a'b'", "(1,)"])
def test_values_that_are_not_understood(text):
    with pytest.raises(WherryError) as caught:
        annotated_property("X", text, "annotations[x]")
    assert caught.value.path == "annotations[x]"


def test_seconds_must_be_a_number():
    with pytest.raises(WherryError):
        annotated_property("TimeoutStopSec", "'5'", "x")


def test_devices_of_version_1():
    rules = device_rules(
        {
            "devices": [
                {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rw"},
                {"allow": False, "access": "rwm"},
                {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
                {"allow": True, "type": "b", "major": 9999, "minor": 1, "access": "r"},
                {"allow": False, "type": "b", "major": 9999, "minor": 1, "access": "r"},
            ]
        }
    )
    policy, allow = device_properties(rules)
    assert policy == ("DevicePolicy", ("s", "strict"))
    nodes = dict(allow[1][1])
    assert nodes["/dev/char/10:229"] == "rw"
    assert "/dev/char/10:200" not in nodes
    assert "/dev/block/9999:1" not in nodes
    assert nodes["char-*"] == "m"
    assert nodes["char-pts"] == "rwm"
    assert device_properties(None)[0] == ("DevicePolicy", ("s", "auto"))
