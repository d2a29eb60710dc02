from __future__ import annotations

import pytest

from tests.unit.runtime.compiling import USER, compiled, config, make_host, refused
from wherry.plan.instructions import INIT, NONE, STAGE
from wherry.runtime.compile.namespaces import (
    CLONE_PARENT,
    NEWCGROUP,
    NEWIPC,
    NEWNET,
    NEWNS,
    NEWPID,
    NEWTIME,
    NEWUSER,
    NEWUTS,
    to_host,
)

ALL = ("pid", "network", "ipc", "uts", "mount", "cgroup")
MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]
OWN = [{"containerID": 0, "hostID": 1000, "size": 1}]


def namespaces(*types, **paths):
    return [{"type": type, **({"path": paths[type]} if type in paths else {})} for type in (*types, *paths)]


def test_new_ones_are_made_by_the_clone_and_the_cgroup_namespace_by_init():
    plan = compiled(config())
    assert plan.one("HOST", "CLONE")["flags"] == NEWPID | NEWNET | NEWIPC | NEWUTS | NEWNS
    assert plan.one("HOST", "CLONE")["program"] == INIT
    assert plan.one("INIT", "UNSHARE")["flags"] == NEWCGROUP
    assert plan.names("STAGE") == []


def test_no_namespace_at_all_means_chroot():
    document = config(namespaces=[])
    del document["hostname"]
    plan = compiled(document)
    assert plan.one("HOST", "CLONE")["flags"] == 0
    assert plan.one("INIT", "PIVOT")["how"] == 2
    assert "PROPAGATION" not in plan.names("INIT")


def test_joined_ones_are_opened_on_the_host_and_joined_by_init():
    plan = compiled(config(namespaces=namespaces("pid", "uts", "mount", network="/run/netns/x", ipc="/run/ipc")))
    opened = plan.steps("HOST", "OPEN")[1:]
    assert [(values["path"], where) for _, values, where in opened] == [
        ("/run/netns/x", "linux.namespaces[3].path"),
        ("/run/ipc", "linux.namespaces[4].path"),
    ]
    joined = plan.steps("INIT", "SETNS")
    assert {values["flags"] for _, values, _ in joined} == {NEWNET, NEWIPC}
    assert {values["slot"] for _, values, _ in joined} == {values["slot"] for _, values, _ in opened}
    assert "NETLINK" not in plan.names("INIT"), "the loopback of a joined namespace is not ours"


def test_a_joined_pid_namespace_needs_a_stage():
    plan = compiled(config(namespaces=namespaces("uts", "mount", pid="/proc/7/ns/pid")))
    assert plan.one("HOST", "CLONE")["program"] == STAGE
    assert plan.one("STAGE", "SETNS")["flags"] == NEWPID
    assert plan.one("STAGE", "CLONE") == {"program": INIT, "flags": NEWUTS | NEWNS | CLONE_PARENT, "cgroup": NONE}
    assert plan.before("HOST", "CLONE", "ADOPT")
    (meta,) = [v["value"] for _, v, _ in plan.steps("META") if v["key"] == "shares_pid_namespace"]
    assert meta == "1"


def test_a_user_namespace_is_joined_before_the_others():
    plan = compiled(config(namespaces=namespaces("pid", "uts", "mount", network="/n", user="/u")))
    assert [values["flags"] for _, values, _ in plan.steps("STAGE", "SETNS")] == [NEWUSER, NEWNET]
    assert plan.before("STAGE", "SETNS", "BECOME")
    assert "MAPS" not in plan.names("HOST")


def test_a_new_user_namespace_is_mapped_by_the_host_before_init_goes_on():
    plan = compiled(config(namespaces=namespaces(*ALL, "user"), uidMappings=MAP, gidMappings=MAP))
    assert plan.one("HOST", "CLONE")["flags"] & NEWUSER
    maps = plan.one("HOST", "MAPS")
    assert maps["uid_map"] == "0 100000 65536\n"
    assert (maps["newuidmap"], maps["deny_setgroups"]) == (None, 0)
    assert plan.before("HOST", "MAPS", "POST")
    assert plan.before("INIT", "AWAIT", "BECOME")
    fifo = plan.one("HOST", "FIFO")
    assert (fifo["uid"], fifo["gid"]) == (100000, 100000)


def test_a_namespace_of_the_host_is_joined_before_the_user_namespace_is_made():
    linux = {"uidMappings": MAP, "gidMappings": MAP}
    plan = compiled(config(namespaces=namespaces("pid", "uts", "mount", "user", network="/n"), **linux))
    assert plan.names("STAGE") == ["CLOSE", "PDEATHSIG", "SETNS", "UNSHARE", "POST", "AWAIT", "BECOME", "CLONE"]
    host = plan.names("HOST")
    asked = host.index("AWAIT")
    assert host[asked : asked + 4] == ["AWAIT", "MAPS", "POST", "ADOPT"]


def test_the_map_of_ones_own_id_needs_no_helper():
    document = config(namespaces=namespaces(*ALL, "user"), uidMappings=OWN, gidMappings=OWN)
    maps = compiled(document, make_host(**USER)).one("HOST", "MAPS")
    assert (maps["newuidmap"], maps["newgidmap"], maps["deny_setgroups"]) == (None, None, 1)


def test_other_maps_of_a_user_need_the_helpers():
    document = config(namespaces=namespaces(*ALL, "user"), uidMappings=MAP, gidMappings=MAP)
    maps = compiled(document, make_host(**USER)).one("HOST", "MAPS")
    assert (maps["newuidmap"], maps["newgidmap"]) == ("/usr/bin/newuidmap", "/usr/bin/newgidmap")
    message = refused(document, "linux.uidMappings", make_host(**USER, programs={}))
    assert "newuidmap" in message


def test_a_user_stays_dumpable_until_the_maps_are_written():
    document = config(namespaces=namespaces(*ALL, "user"), uidMappings=OWN, gidMappings=OWN)
    assert compiled(document, make_host(**USER)).before("INIT", "AWAIT", "DUMPABLE")
    assert compiled(config()).before("INIT", "DUMPABLE", "AWAIT")


def test_time_offsets_are_written_before_the_clone_that_enters_them():
    offsets = {"boottime": {"secs": -5, "nanosecs": 7}, "monotonic": {"secs": 9}}
    plan = compiled(config(namespaces=namespaces(*ALL, "time"), timeOffsets=offsets))
    assert plan.one("STAGE", "UNSHARE")["flags"] == NEWTIME
    assert plan.one("STAGE", "TIME_OFFSETS")["data"] == "boottime -5 7\nmonotonic 9 0\n"
    assert plan.before("STAGE", "TIME_OFFSETS", "CLONE")


def test_ones_own_user_namespace_is_not_joined():
    document = config(namespaces=namespaces(*ALL, user="/proc/self/ns/user"))
    plan = compiled(document, make_host(own_namespaces=frozenset({"/proc/self/ns/user"})))
    assert plan.names("STAGE") == []
    assert "SETNS" not in plan.names("INIT")


@pytest.mark.parametrize(
    ("linux", "path"),
    [
        ({"namespaces": [{"type": "pid"}, {"type": "pid"}]}, "linux.namespaces[1].type"),
        ({"namespaces": [{"type": "net"}]}, "linux.namespaces[0].type"),
        ({"namespaces": [{}]}, "linux.namespaces[0].type"),
        ({"namespaces": ["pid"]}, "linux.namespaces[0]"),
        ({"namespaces": {"type": "pid"}}, "linux.namespaces"),
        ({"namespaces": [{"type": "pid", "path": "relative"}]}, "linux.namespaces[0].path"),
        ({"namespaces": [{"type": "user"}]}, "linux.uidMappings"),
        ({"namespaces": [{"type": "user"}], "uidMappings": MAP}, "linux.gidMappings"),
        ({"uidMappings": MAP, "gidMappings": MAP}, "linux.uidMappings"),
        ({"uidMappings": [{"containerID": 0, "hostID": 1, "size": 0}]}, "linux.uidMappings[0].size"),
        ({"uidMappings": [{"containerID": 0, "size": 1}]}, "linux.uidMappings[0].hostID"),
        ({"uidMappings": [{"containerID": -1, "hostID": 1, "size": 1}]}, "linux.uidMappings[0].containerID"),
        ({"uidMappings": [*MAP, *MAP]}, "linux.uidMappings[1].containerID"),
        ({"timeOffsets": {"boottime": {"secs": 1}}}, "linux.timeOffsets"),
        ({"namespaces": [{"type": "time"}], "timeOffsets": {"realtime": {}}}, "linux.timeOffsets.realtime"),
        (
            {"namespaces": [{"type": "time"}], "timeOffsets": {"boottime": {"nanosecs": 10**9}}},
            "linux.timeOffsets.boottime.nanosecs",
        ),
    ],
)
def test_wrong_fields_are_named(linux, path):
    refused(config(**linux), path)


def test_ids_outside_of_a_map_have_no_host_id():
    assert to_host([(0, 1000, 1), (1, 100000, 10)], 5) == 100004
    assert to_host([(0, 1000, 1)], 5) == -1
    assert to_host([], 5) == 5
