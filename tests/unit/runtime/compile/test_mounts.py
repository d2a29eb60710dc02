from __future__ import annotations

import pytest

from tests.unit.runtime.compiling import V1, V2, compiled, config, make_host, refused
from wherry.plan.instructions import (
    ATTACH_COPY_SYMLINK,
    ATTACH_NOFOLLOW,
    ATTR_RECURSIVE,
    KIND_LIKE_SOURCE,
    MOUNT_COPY_UP,
    MOUNT_KEEP_MODE,
    MOUNT_MAY_BIND,
    MOUNT_REAL_DIRECTORY,
    NONE,
    SLOTS,
    TREE_NOFOLLOW,
    TREE_RECURSIVE,
)
from wherry.runtime.compile.mount_options import MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_SLAVE

MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]
USERNS = {
    "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount", "user")],
    "uidMappings": MAP,
    "gidMappings": MAP,
}


def mount(destination="/data", type="bind", source="/srv", options=(), **more):
    return {"destination": destination, "type": type, "source": source, "options": list(options), **more}


def with_mounts(*mounts, **linux):
    document = config(**linux)
    document["mounts"] = list(mounts)
    return document


def test_a_bind_mount_is_cloned_and_attached():
    plan = compiled(with_mounts(mount(options=["rbind"])))
    tree = plan.one("INIT", "TREE")
    assert (tree["path"], tree["base"], tree["flags"]) == ("/srv", NONE, TREE_RECURSIVE)
    attach = plan.steps("INIT", "ATTACH")[0]
    assert attach[1] == {"slot": tree["slot"], "target": "/data", "kind": KIND_LIKE_SOURCE, "flags": 0}
    assert attach[2] == "mounts[0]"
    assert "TREE_ATTR" not in plan.names("INIT")


def test_relative_sources_start_at_the_bundle():
    assert compiled(with_mounts(mount(source="data"))).one("INIT", "TREE")["path"] == "/bundle/data"


def test_attributes_are_set_before_a_bind_mount_is_attached():
    plan = compiled(with_mounts(mount(options=["rbind", "ro", "rnosuid", "rprivate"])))
    attributes = [v for _, v, _ in plan.steps("INIT", "TREE_ATTR")]
    assert [(a["set"], a["clear"], a["propagation"], a["flags"]) for a in attributes] == [
        (1, 0, 0, 0),
        (2, 0, 0, ATTR_RECURSIVE),
        (0, 0, MS_PRIVATE, ATTR_RECURSIVE),
    ]
    assert plan.before("INIT", "TREE_ATTR", "ATTACH")


def test_links_are_followed_unless_told_otherwise():
    plan = compiled(with_mounts(mount(options=["bind", "src-nofollow", "dest-nofollow"])))
    assert plan.one("INIT", "TREE")["flags"] == TREE_NOFOLLOW
    assert plan.one("INIT", "ATTACH")["flags"] == ATTACH_NOFOLLOW
    plan = compiled(with_mounts(mount(options=["bind", "copy-symlink"])))
    assert plan.one("INIT", "TREE")["flags"] == TREE_NOFOLLOW
    assert plan.one("INIT", "ATTACH")["flags"] == ATTACH_COPY_SYMLINK


def test_sources_are_opened_by_the_host_when_init_may_not_reach_them():
    plan = compiled(with_mounts(mount(), **USERNS))
    assert "TREE" in plan.names("HOST")
    ((_, attributes, _),) = plan.steps("HOST", "TREE_ATTR")
    assert (attributes["propagation"], attributes["flags"]) == (MS_SLAVE, ATTR_RECURSIVE)
    assert plan.before("HOST", "TREE", "CLONE")


def test_many_mounts_fit_into_a_plan():
    plan = compiled(with_mounts(*[mount(f"/m{n}") for n in range(SLOTS + 50)], **USERNS))
    assert len(plan.steps("INIT", "ATTACH")) >= SLOTS + 50
    assert plan.names("HOST").count("TREE") + plan.names("INIT").count("TREE") >= SLOTS + 50


def test_id_mapped_mounts_are_mapped_by_the_host():
    maps = {"uidMappings": MAP, "gidMappings": MAP}
    plan = compiled(with_mounts(mount(options=["rbind", "ridmap"], **maps)))
    users = plan.one("HOST", "USERNS")
    assert users["uid_map"] == "0 100000 65536\n"
    mapped = plan.steps("HOST", "TREE_ATTR")[0][1]
    assert (mapped["userns"], mapped["flags"]) == (users["slot"], ATTR_RECURSIVE)


def test_an_id_mapped_mount_takes_the_containers_map_by_default():
    plan = compiled(with_mounts(mount(options=["bind", "idmap"]), **USERNS))
    assert plan.one("HOST", "USERNS")["uid_map"] == "0 100000 65536\n"
    refused(with_mounts(mount(options=["bind", "idmap"])), "mounts[0].uidMappings")
    refused(with_mounts(mount(uidMappings=MAP)), "mounts[0].gidMappings")


def test_inline_maps_may_be_relative_to_the_container():
    plan = compiled(with_mounts(mount(options=["bind", "idmap=uids=@0-1-5;gids=@0-1-5"]), **USERNS))
    assert plan.one("HOST", "USERNS")["uid_map"] == "0 100001 5\n"


def test_a_file_system():
    plan = compiled(with_mounts(mount("/proc", "proc", "proc", ["nosuid", "hidepid=2"])))
    made = plan.one("INIT", "MOUNT")
    assert (made["type"], made["source"], made["target"]) == ("proc", "proc", "/proc")
    assert (made["flags"], made["data"], made["how"]) == (MS_NOSUID, "hidepid=2", MOUNT_REAL_DIRECTORY)


def test_tmpfs_keeps_the_mode_of_its_target_and_may_start_with_its_content():
    how = compiled(with_mounts(mount("/t", "tmpfs", "tmpfs", ["tmpcopyup"]))).one("INIT", "MOUNT")["how"]
    assert how == MOUNT_COPY_UP | MOUNT_KEEP_MODE
    assert compiled(with_mounts(mount("/t", "tmpfs", "tmpfs", ["mode=755"]))).one("INIT", "MOUNT")["how"] == 0


def test_a_read_only_tmpfs_is_made_read_only_when_all_is_in_it():
    plan = compiled(with_mounts(mount("/dev", "tmpfs", "tmpfs", ["ro"])))
    assert not plan.one("INIT", "MOUNT")["flags"] & MS_RDONLY
    assert plan.one("INIT", "ATTR")["target"] == "/dev"
    assert plan.before("INIT", "PIVOT", "ATTR")


def test_propagation_and_tree_attributes_of_a_file_system():
    plan = compiled(with_mounts(mount("/t", "tmpfs", "tmpfs", ["rro", "rshared"])))
    assert plan.one("INIT", "ATTR")["flags"] == ATTR_RECURSIVE
    assert plan.one("INIT", "PROPAGATE")["flags"] & MS_REC


def test_in_a_user_namespace_the_kernel_may_refuse_sysfs():
    made = compiled(with_mounts(mount("/sys", "sysfs", "sysfs"), **USERNS)).one("INIT", "MOUNT")
    assert made["how"] == MOUNT_REAL_DIRECTORY | MOUNT_MAY_BIND
    assert made["source"] == "/sys"
    made = compiled(with_mounts(mount("/proc", "proc", "proc"), **USERNS)).one("INIT", "MOUNT")
    assert made["how"] == MOUNT_REAL_DIRECTORY, "the host's processes must not be shown instead"


def test_ids_that_are_not_mapped_are_left_out_of_the_options():
    one = [{"containerID": 0, "hostID": 1000, "size": 1}]
    document = with_mounts(
        mount("/dev/pts", "devpts", "devpts", ["newinstance", "gid=5"]),
        **{**USERNS, "uidMappings": one, "gidMappings": one},
    )
    plan = compiled(document)
    assert plan.one("INIT", "MOUNT")["data"] == "newinstance"
    assert plan.warnings == ["mounts[0].options: gid=5 is ignored, the id is not mapped"]


def test_the_security_label_goes_to_file_systems_that_take_one():
    document = with_mounts(mount("/t", "tmpfs", "t", ["size=1k"]), mount("/proc", "proc", "proc"), mountLabel="l:c1,c2")
    host = make_host(selinux=True)
    tmpfs, proc = (values for _, values, _ in compiled(document, host).steps("INIT", "MOUNT"))
    assert tmpfs["data"] == 'size=1k,context="l:c1,c2"'
    assert proc["data"] == ""
    document["annotations"] = {"run.oci.mount_context_type": "rootcontext"}
    assert 'rootcontext="' in compiled(document, host).steps("INIT", "MOUNT")[0][1]["data"]
    assert compiled(document).steps("INIT", "MOUNT")[0][1]["data"] == "size=1k", "a label means nothing here"


def test_the_unified_hierarchy_is_mounted_in_a_cgroup_namespace_and_bound_without():
    document = with_mounts(mount("/sys/fs/cgroup", "cgroup", "cgroup", ["ro"]))
    assert compiled(document, make_host(cgroups=V2)).one("INIT", "MOUNT")["type"] == "cgroup2"
    document["linux"]["namespaces"] = [{"type": "mount"}, {"type": "uts"}]
    plan = compiled(document, make_host(cgroups=V2))
    assert plan.one("INIT", "TREE")["path"] == "/sys/fs/cgroup/box"
    assert plan.one("INIT", "TREE_ATTR")["set"] & 1


def test_version_1_hierarchies_get_a_directory_with_links():
    document = with_mounts(mount("/sys/fs/cgroup", "cgroup", "cgroup", ["ro", "nosuid"]))
    plan = compiled(document, make_host(cgroups=V1))
    mounted = [(values["type"], values["target"], values["data"]) for _, values, _ in plan.steps("INIT", "MOUNT")]
    assert mounted == [
        ("tmpfs", "/sys/fs/cgroup", "mode=755"),
        ("cgroup", "/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct"),
        ("cgroup", "/sys/fs/cgroup/freezer", "freezer"),
        ("cgroup", "/sys/fs/cgroup/systemd", "none,name=systemd"),
    ]
    links = [(v["path"], v["target"]) for _, v, where in plan.steps("INIT", "SYMLINK") if where]
    assert links == [
        ("/sys/fs/cgroup/cpu", "cpu,cpuacct"),
        ("/sys/fs/cgroup/cpuacct", "cpu,cpuacct"),
    ]
    assert plan.one("INIT", "ATTR")["target"] == "/sys/fs/cgroup"


def test_remount_changes_an_earlier_mount():
    plan = compiled(with_mounts(mount("/proc", "proc", "proc"), mount("/proc", "", "", ["remount", "ro"])))
    assert plan.one("INIT", "ATTR") == {"target": "/proc", "set": 1, "clear": 0, "flags": 0}


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        ({"type": "tmpfs"}, "mounts[0].destination"),
        ({"destination": "/"}, "mounts[0].destination"),
        ({"destination": "/.", "type": "tmpfs"}, "mounts[0].destination"),
        ({"destination": 7}, "mounts[0].destination"),
        ({"destination": "/a\0b", "type": "tmpfs"}, "mounts[0].destination"),
        ({"destination": "/a"}, "mounts[0].type"),
        ({"destination": "/a", "type": "bind"}, "mounts[0].source"),
        ({"destination": "/a", "type": "tmpfs", "options": "ro"}, "mounts[0].options"),
        ({"destination": "/a", "type": "tmpfs", "options": [1]}, "mounts[0].options[0]"),
        ("/a", "mounts[0]"),
    ],
)
def test_wrong_fields_are_named(entry, path):
    refused(with_mounts(entry), path)


def test_without_a_mount_namespace_nothing_can_be_mounted():
    refused(with_mounts(mount(), namespaces=[{"type": "uts"}]), "mounts")
    refused(config(namespaces=[{"type": "uts"}], maskedPaths=["/proc/kcore"]), "linux.maskedPaths")
