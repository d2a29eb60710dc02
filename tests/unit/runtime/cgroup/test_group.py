from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest

import wherry
from wherry.errors import WherryError
from wherry.plan.encode import Plan, Program
from wherry.plan.instructions import (
    BY_NAME,
    CGROUP,
    CGROUP_CPUSET,
    CGROUP_NEW,
    CGROUP_OPTIONAL,
    DELETE,
    HOST,
    INIT,
    META,
    NONE,
    PAUSE,
    RESUME,
)
from wherry.runtime.cgroup.group import compile_cgroup, exec_cgroup
from wherry.runtime.cgroup.layout import Hierarchy, Layout, read_layout

V2 = Layout([], Hierarchy(2, ("cpu", "memory", "pids", "misc"), "/sys/fs/cgroup", own="/a/own.service"))


def v1(*controllers, unified=False):
    hierarchies = [
        Hierarchy(1, tuple(name.split(",")), f"/sys/fs/cgroup/{name.removeprefix('name=')}", own="/mine")
        for name in controllers
    ]
    return Layout(hierarchies, Hierarchy(2, (), "/sys/fs/cgroup/unified") if unified else None)


def steps(program: Program, *names):
    """The steps with these names (all by default) as (name, argument …)."""
    return [(name, *arguments) for name, _, arguments in program.steps if not names or name in names]


def compiled(config, layout, **options):
    counter = itertools.count(8)
    cgroup = compile_cgroup(config, "box", layout, new_slot=lambda: next(counter), **options)
    plan = Plan()
    host, init = plan.program(HOST), plan.program(INIT)
    cgroup.before_clone(host)
    host.emit("CLONE", INIT, 0, cgroup.clone_slot)
    cgroup.enter(init)
    cgroup.after_clone(host)
    cgroup.finish(plan)
    plan.encode()  # every step fits its instruction
    return cgroup, plan


def linux(**members):
    return {"linux": members}


def test_v2():
    config = linux(cgroupsPath="/pod/box", resources={"memory": {"limit": 7}, "pids": {"limit": 9}})
    cgroup, plan = compiled(config, V2)
    host = plan.program(HOST)
    assert steps(host, "CGROUP_CONTROLLERS", "CGROUP_DIR", "WRITE", "CLONE", "CGROUP_ENTER") == [
        ("CGROUP_CONTROLLERS", "/sys/fs/cgroup", "cpu memory pids misc"),
        ("CGROUP_CONTROLLERS", "/sys/fs/cgroup/pod", "cpu memory pids misc"),
        ("CGROUP_DIR", CGROUP, "/sys/fs/cgroup/pod/box", CGROUP_NEW),
        ("WRITE", CGROUP, "memory.max", b"7", 0),
        ("CLONE", INIT, 0, CGROUP),
        ("CGROUP_ENTER", CGROUP),
        ("WRITE", CGROUP, "pids.max", b"9", 0),
    ]
    assert steps(host, "DEVICE_FILTER")
    assert steps(plan.program(INIT)) == [("CLOSE", CGROUP)]
    assert steps(plan.program(PAUSE)) == [("FREEZE", "/sys/fs/cgroup/pod/box", 2, 1, 10000)]
    assert steps(plan.program(RESUME)) == [("FREEZE", "/sys/fs/cgroup/pod/box", 2, 0, 10000)]
    assert steps(plan.program(DELETE)) == [
        ("CGROUP_KILL", "/sys/fs/cgroup/pod/box", 9),
        ("CGROUP_REMOVE", "/sys/fs/cgroup/pod/box", 10000),
    ]
    assert steps(plan.program(META)) == [
        ("META", "cgroup", "/sys/fs/cgroup/pod/box"),
        ("META", "freezer", "/sys/fs/cgroup/pod/box"),
        ("META", "freezer_version", "2"),
    ]
    assert cgroup.memory_path == "/sys/fs/cgroup/pod/box"
    assert [(m.version, m.name, m.path) for m in cgroup.mounts] == [(2, "", "/sys/fs/cgroup/pod/box")]


def test_relative_and_missing_paths_stand_beside_us_in_v2_and_below_us_in_v1():
    assert compiled(linux(cgroupsPath="x/y"), V2)[0].path == "/sys/fs/cgroup/a/x/y"
    assert compiled(linux(), V2)[0].path == "/sys/fs/cgroup/a/box"
    assert compiled(linux(cgroupsPath="./x/"), v1("pids"))[0].path == "/sys/fs/cgroup/pids/mine/x"
    assert compiled(linux(), v1("pids"))[0].path == "/sys/fs/cgroup/pids/mine/box"
    hybrid = v1("pids", unified=True)
    hybrid.unified.own = "/mine"
    assert compiled(linux(), hybrid)[0].path == "/sys/fs/cgroup/unified/mine/box"


def test_v1_is_entered_by_the_container_itself():
    layout = v1("cpu,cpuacct", "cpuset", "devices", "freezer", "name=systemd")
    cgroup, plan = compiled(linux(cgroupsPath="/box", resources={"cpu": {"cpus": "0", "shares": 3}}), layout)
    host = plan.program(HOST)
    assert steps(host, "CGROUP_DIR") == [
        ("CGROUP_DIR", 8, "/sys/fs/cgroup/cpu,cpuacct/box", CGROUP_NEW),
        ("CGROUP_DIR", 9, "/sys/fs/cgroup/cpuset/box", CGROUP_NEW | CGROUP_CPUSET),
        ("CGROUP_DIR", 10, "/sys/fs/cgroup/devices/box", CGROUP_NEW),
        ("CGROUP_DIR", 11, "/sys/fs/cgroup/freezer/box", CGROUP_NEW),
        ("CGROUP_DIR", 12, "/sys/fs/cgroup/systemd/box", CGROUP_NEW),
    ]
    writes = steps(host, "WRITE")
    assert writes[:2] == [("WRITE", 8, "cpu.shares", b"3", 0), ("WRITE", 9, "cpuset.cpus", b"0", 0)]
    assert writes[2] == ("WRITE", 10, "devices.deny", b"a", 0)
    assert ("CLONE", INIT, 0, NONE) in steps(host)
    assert steps(host, "CGROUP_ENTER") == []
    expected = [(name, slot) for slot in range(8, 13) for name in ("CGROUP_ENTER", "CLOSE")]
    assert steps(plan.program(INIT)) == expected
    assert steps(plan.program(DELETE), "CGROUP_KILL", "FREEZE") == [
        ("CGROUP_KILL", "/sys/fs/cgroup/freezer/box", 9),
        ("FREEZE", "/sys/fs/cgroup/freezer/box", 1, 0, 10000),
    ]
    assert len(steps(plan.program(DELETE), "CGROUP_REMOVE")) == 5
    assert cgroup.path == "/sys/fs/cgroup/freezer/box"
    assert [(m.name, m.data, m.links) for m in cgroup.mounts] == [
        ("cpu,cpuacct", "cpu,cpuacct", ("cpu", "cpuacct")),
        ("cpuset", "cpuset", ()),
        ("devices", "devices", ()),
        ("freezer", "freezer", ()),
        ("systemd", "none,name=systemd", ()),
    ]


def test_hybrid_is_cloned_into_the_unified_group_and_frozen_by_v1():
    cgroup, plan = compiled(linux(cgroupsPath="/box"), v1("freezer", "memory", unified=True))
    assert cgroup.clone_slot == CGROUP
    assert cgroup.path == "/sys/fs/cgroup/unified/box"
    assert (cgroup.freezer, cgroup.freezer_version) == ("/sys/fs/cgroup/freezer/box", 1)
    assert cgroup.memory_path == "/sys/fs/cgroup/memory/box"
    assert steps(plan.program(HOST), "CGROUP_CONTROLLERS") == []
    assert steps(plan.program(INIT), "CGROUP_ENTER") == [("CGROUP_ENTER", 8), ("CGROUP_ENTER", 9)]
    assert [slot for _, slot in steps(plan.program(INIT), "CLOSE")] == [CGROUP, 8, 9]
    assert [mount.name for mount in cgroup.mounts] == ["unified", "freezer", "memory"]


@pytest.mark.parametrize("path", ["/a/../b", "..", "/", "/./", "a\nb/../c"])
def test_paths_that_lead_elsewhere_are_refused(path):
    with pytest.raises(WherryError) as caught:
        compiled(linux(cgroupsPath=path), V2)
    assert caught.value.path == "linux.cgroupsPath"


def test_an_inner_group_by_annotation_is_entered_and_the_outer_one_limited():
    config = linux(cgroupsPath="/box", resources={"pids": {"limit": 5}})
    config["annotations"] = {"run.oci.delegate-cgroup": "payload"}
    cgroup, plan = compiled(config, V2)
    assert steps(plan.program(HOST), "CGROUP_DIR", "CGROUP_CONTROLLERS", "WRITE", "CLONE")[1:] == [
        ("CGROUP_DIR", CGROUP, "/sys/fs/cgroup/box", CGROUP_NEW),
        ("WRITE", CGROUP, "pids.max", b"5", 0),
        ("CGROUP_CONTROLLERS", "/sys/fs/cgroup/box", "cpu memory pids misc"),
        ("CGROUP_DIR", CGROUP, "/sys/fs/cgroup/box/payload", 0),
        ("CLONE", INIT, 0, CGROUP),
    ]
    assert cgroup.path == "/sys/fs/cgroup/box"
    assert cgroup.mounts[0].path == "/sys/fs/cgroup/box/payload"


@pytest.mark.parametrize("key", ["run.oci.systemd.subgroup", "run.oci.delegate-cgroup"])
def test_annotations_cannot_climb(key):
    with pytest.raises(WherryError, match=r"\.\.") as caught:
        compiled({"annotations": {key: "a/../../b"}}, V2)
    assert caught.value.path == f"annotations[{key}]"


def delegated(**changes):
    config = {
        "process": {"user": {"uid": 3}},
        "mounts": [{"type": "cgroup", "source": "cgroup", "destination": "/sys/fs/cgroup", "options": ["rw"]}],
        "linux": {
            "namespaces": [{"type": "cgroup"}, {"type": "user"}],
            "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
        },
    }
    config["linux"].update(changes.pop("linux", {}))
    config.update(changes)
    return config


def test_delegation():
    _, plan = compiled(delegated(), V2)
    [(_, slot, uid, names)] = steps(plan.program(HOST), "CGROUP_OWN")
    assert (slot, uid) == (CGROUP, 100003)
    assert {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} <= set(names)


@pytest.mark.parametrize(
    "config",
    [
        delegated(linux={"namespaces": [{"type": "user"}]}),
        delegated(linux={"namespaces": [{"type": "cgroup", "path": "/proc/1/ns/cgroup"}]}),
        delegated(mounts=[]),
        delegated(mounts=[{"type": "cgroup", "destination": "/sys/fs/cgroup", "options": ["nosuid", "ro"]}]),
        delegated(process={"user": {"uid": 70000}}),
    ],
)
def test_no_delegation_without_a_namespace_and_a_writable_mount(config):
    _, plan = compiled(config, V2)
    assert steps(plan.program(HOST), "CGROUP_OWN") == []


def test_no_delegation_with_version_1():
    _, plan = compiled(delegated(), v1("memory", unified=True))
    assert steps(plan.program(HOST), "CGROUP_OWN") == []


@pytest.fixture
def tree(tmp_path):
    """A stand-in for a delegated v2 tree: top is not ours to change, top/mine is."""
    top = tmp_path / "top"
    mine = top / "mine"
    mine.mkdir(parents=True)
    for directory, controllers in ((top, "cpu memory pids"), (mine, "memory pids")):
        (directory / "cgroup.controllers").write_text(controllers)
    (mine / "cgroup.subtree_control").write_text("")
    return Layout([], Hierarchy(2, ("cpu", "memory", "pids"), str(top), own="/mine/session"))


def test_rootless_with_delegation(tree):
    top = tree.unified.mount_point
    cgroup, plan = compiled(linux(resources={"memory": {"limit": 5}}), tree, rootless=True)
    assert cgroup.path == f"{top}/mine/box"
    assert ("CGROUP_DIR", CGROUP, f"{top}/mine/box", CGROUP_NEW) in steps(plan.program(HOST))
    assert steps(plan.program(HOST), "DEVICE_FILTER") == []


def test_rootless_limit_of_a_controller_that_is_not_delegated(tree):
    with pytest.raises(WherryError, match="no permission") as caught:
        compiled(linux(resources={"cpu": {"shares": 5}}), tree, rootless=True)
    assert caught.value.path == "linux.resources.cpu.shares"


def test_rootless_without_limits_is_optional(tree):
    _, plan = compiled(linux(resources={"pids": {"limit": -1}}), tree, rootless=True)
    [(_, _, _, flags)] = steps(plan.program(HOST), "CGROUP_DIR")
    assert flags & CGROUP_OPTIONAL or flags == CGROUP_NEW


WITHOUT_PERMISSION = """
from wherry.errors import WherryError
from wherry.runtime.cgroup.group import compile_cgroup
from wherry.runtime.cgroup.layout import Hierarchy, Layout
from wherry.plan.encode import Program

layout = Layout([], Hierarchy(2, ("memory",), "/proc/self/task"))
def compiled(resources):
    config = {"linux": {"cgroupsPath": "/none", "resources": resources}}
    return compile_cgroup(config, "box", layout, rootless=True, new_slot=lambda: 8)

cgroup, host = compiled({}), Program(1)
cgroup.before_clone(host)
cgroup.after_clone(host)
cgroup.delete(host)
assert (cgroup.path, cgroup.clone_slot, host.steps) == ("", 255, [])
try:
    compiled({"memory": {"limit": 5}})
except WherryError as error:
    print(error)
"""


def test_rootless_without_permission_has_no_group_and_no_limits():
    who = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    source = os.path.dirname(os.path.dirname(os.path.abspath(wherry.__file__)))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PERMISSION],
        env={"PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
        **who,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("linux.resources.memory.limit: memory.max cannot be set: no permission")


def test_disabled():
    cgroup, plan = compiled(linux(resources={"memory": {"limit": 5}}), V2, manager="disabled")
    assert steps(plan.program(HOST)) == [("CLONE", INIT, 0, NONE)]
    assert steps(plan.program(PAUSE)) == []
    assert cgroup.path == ""
    assert cgroup.warnings == ["linux.resources: ignored, control groups are disabled"]
    assert cgroup.mounts[0].path == "/sys/fs/cgroup/a/own.service"


def test_exec_joins_the_groups_of_the_containers_init():
    layout = read_layout()
    slots = itertools.count(8)
    leader = layout.all()[0]
    cgroup = exec_cgroup(os.getpid(), leader.own_directory, layout, new_slot=lambda: next(slots))
    plan = Plan()
    cgroup.before_clone(plan.program(HOST))
    cgroup.enter(plan.program(INIT))
    cgroup.after_clone(plan.program(HOST))
    plan.encode()
    opened = steps(plan.program(HOST), "OPEN")
    assert {step[3] for step in opened} <= {hierarchy.own_directory for hierarchy in layout.all()}
    assert len(opened) == len(layout.all())
    assert len(steps(plan.program(INIT), "CGROUP_ENTER")) == len(layout.hierarchies)
    assert len(steps(plan.program(INIT), "CLOSE")) == len(opened)
    cgroup.finish(plan)
    assert steps(plan.program(DELETE)) == []


def test_exec_into_a_group_that_is_not_there():
    layout = read_layout()
    with pytest.raises(WherryError, match="does not exist"):
        exec_cgroup(os.getpid(), "/x", layout, sub_cgroups=["nonesuch"], new_slot=lambda: 9)
    with pytest.raises(WherryError, match=r"\.\."):
        exec_cgroup(os.getpid(), "/x", layout, sub_cgroups=["../x"], new_slot=lambda: 9)
    with pytest.raises(WherryError, match="no control group controller"):
        exec_cgroup(os.getpid(), "/x", layout, sub_cgroups=["nonesuch:/"], new_slot=lambda: 9)


def test_every_instruction_used_is_known():
    _, plan = compiled(delegated(), V2)
    assert all(name in BY_NAME for program in plan.programs.values() for name, _, _ in program.steps)
