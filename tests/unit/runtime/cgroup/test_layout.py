from __future__ import annotations

from wherry.runtime.cgroup.layout import Hierarchy, parse_groups, parse_layout, read_layout

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup systemd rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
"""
HYBRID_OWN = "9:name=systemd:/init\n4:memory:/a/b\n2:cpu,cpuacct:/\n7:pids:/\n0::/u\n"
UNIFIED = "29 22 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


def test_hybrid():
    layout = parse_layout(HYBRID, HYBRID_OWN)
    assert layout.mode == "hybrid"
    assert [h.controllers for h in layout.hierarchies] == [("cpu", "cpuacct"), ("memory",), ("name=systemd",)]
    assert layout.find("cpuacct").name == "cpu,cpuacct"
    assert layout.find("memory").own_directory == "/sys/fs/cgroup/memory/a/b"
    assert layout.find("name=systemd").data == "none,name=systemd"
    assert layout.find("pids") is None
    assert layout.unified.own_directory == "/sys/fs/cgroup/unified/u"
    assert layout.all()[0] is layout.unified


def test_v1_without_a_unified_hierarchy():
    assert parse_layout(HYBRID.rsplit("41 ")[0], HYBRID_OWN).mode == "v1"


def test_unified():
    layout = parse_layout(UNIFIED, "0::/user.slice/x.scope\n")
    assert layout.mode == "v2"
    assert layout.unified.name == ""
    assert layout.unified.own_directory == "/sys/fs/cgroup/user.slice/x.scope"


def test_nothing_mounted():
    assert parse_layout("1 1 0:1 / / rw - ext4 /dev/vda rw\n", "0::/\n").mode == "none"


def test_a_mount_that_shows_a_part_of_the_hierarchy():
    shown = Hierarchy(2, (), "/sys/fs/cgroup", "/docker/x", "/docker/x")
    assert shown.own_directory == "/sys/fs/cgroup"
    assert shown.directory("/docker/x/y") == "/sys/fs/cgroup/y"
    assert shown.directory("/docker/xy") == ""
    assert Hierarchy(2, (), "/sys/fs/cgroup").directory("/../other") == ""


def test_the_usual_place_wins_over_other_mounts_of_a_hierarchy():
    elsewhere = UNIFIED.replace("/sys/fs/cgroup", "/mnt/cgroup\\040two")
    for text in (elsewhere + UNIFIED, UNIFIED + elsewhere):
        assert parse_layout(text, "0::/\n").unified.mount_point == "/sys/fs/cgroup"
    assert parse_layout(elsewhere, "0::/\n").unified.mount_point == "/mnt/cgroup two"


def test_groups_with_colons_in_their_names():
    assert parse_groups("0::/a:b\n3:cpuset:/c:d\n") == {(): "/a:b", ("cpuset",): "/c:d"}


def test_the_layout_of_this_machine_has_our_own_groups():
    layout = read_layout()
    assert layout.mode != "none"
    for hierarchy in layout.all():
        with open(f"{hierarchy.own_directory}/cgroup.procs") as procs:
            assert procs.read() or hierarchy.own_directory == hierarchy.mount_point
