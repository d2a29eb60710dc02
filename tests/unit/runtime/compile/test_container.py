"""Fields of the document that are no process, no mount and no namespace."""

from __future__ import annotations

import pytest

from tests.unit.runtime.compiling import USER, compiled, config, make_host, refused
from wherry.plan.instructions import HOOK_WARN, PIVOT_CHROOT, PIVOT_MOVE, PIVOT_ROOT
from wherry.runtime.compile.sysctl import to_path
from wherry.runtime.options import RootfsMount

HOOK = {"path": "/bin/hook", "args": ["hook", "a"], "env": ["A=b"], "timeout": 2}


def changed(**members):
    document = config()
    document.update(members)
    return document


def meta(plan):
    return {values["key"]: values["value"] for _, values, _ in plan.steps("META")}


def test_facts_for_the_native_verbs():
    facts = meta(compiled(changed(annotations={"k": 'v"'})))
    assert facts["id"] == "box"
    assert facts["bundle_json"] == '"/bundle"'
    assert facts["rootfs_json"] == '"/bundle/rootfs"'
    assert facts["annotations_json"] == '{"k":"v\\""}'
    assert facts["shares_pid_namespace"] == "0"
    assert facts["cgroup"] == "/sys/fs/cgroup/box"


def test_the_order_of_the_meeting_points():
    plan = compiled(config())
    talk = [(name, values["token"]) for name, values, _ in plan.steps("HOST", "POST", "AWAIT")]
    assert talk == [("POST", 1), ("AWAIT", 2), ("POST", 3)]
    talk = [(name, values["token"]) for name, values, _ in plan.steps("INIT", "POST", "AWAIT")]
    assert talk == [("AWAIT", 1), ("POST", 2), ("AWAIT", 3)]
    assert plan.names("HOST")[-1] == "SAVE_STATE"


def test_pid_file_and_pidfd():
    plan = compiled(config(), pid_file="/run/p", pidfd_socket="/run/s")
    assert plan.names("HOST")[-3:] == ["SAVE_STATE", "PIDFD_SEND", "PID_FILE"]


@pytest.mark.parametrize(
    ("types", "no_pivot", "how"),
    [(("mount", "uts"), False, PIVOT_ROOT), (("mount", "uts"), True, PIVOT_MOVE), (("uts",), False, PIVOT_CHROOT)],
)
def test_how_the_root_is_entered(types, no_pivot, how):
    document = config(namespaces=[{"type": type} for type in types])
    assert compiled(document, no_pivot=no_pivot).one("INIT", "PIVOT")["how"] == how


def test_the_root_becomes_read_only_last_of_all_mounts():
    document = changed(root={"path": "/abs/rootfs", "readonly": True})
    plan = compiled(document)
    assert plan.one("INIT", "ROOTFS")["path"] == "/abs/rootfs"
    assert plan.one("INIT", "ATTR") == {"target": "/", "set": 1, "clear": 0, "flags": 0}
    assert plan.before("INIT", "PIVOT", "ATTR")


def test_an_engines_root_is_mounted_by_init():
    mount = RootfsMount(type="overlay", path="/m", options=("lowerdir+=/l",), data="lowerdir=l", base="/b")
    plan = compiled(config(), rootfs_mount=mount)
    assert plan.one("INIT", "ROOTFS_MOUNT")["options"] == ["lowerdir+=/l"]
    assert plan.before("INIT", "PROPAGATION", "ROOTFS_MOUNT")
    assert plan.before("INIT", "ROOTFS_MOUNT", "ROOTFS")


def test_propagation():
    plan = compiled(config(rootfsPropagation="shared"))
    assert plan.one("INIT", "PROPAGATION")["flags"] == plan.one("INIT", "PROPAGATE")["flags"] == 1 << 20
    plan = compiled(config(rootfsPropagation="runbindable"))
    assert plan.one("INIT", "PROPAGATION")["flags"] == 1 << 19 | 1 << 14, "until the root is bound"


def test_every_hook_has_its_program():
    moments = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    plan = compiled(changed(hooks={moment: [HOOK] for moment in moments}))
    assert [where for _, _, where in plan.steps("HOST", "HOOK")] == ["hooks.prestart[0]", "hooks.createRuntime[0]"]
    inside = [where for _, _, where in plan.steps("INIT", "HOOK")]
    assert inside == ["hooks.createContainer[0]", "hooks.startContainer[0]"]
    assert plan.before("INIT", "HOOK", "PIVOT")
    assert plan.names("START") == ["HOOK"]
    assert plan.one("DELETE", "HOOK")["flags"] == HOOK_WARN
    hook = plan.steps("HOST", "HOOK")[0][1]
    assert (hook["args"], hook["env"], hook["timeout_ms"]) == (["hook", "a"], ["A=b"], 2000)
    assert hook["head"] + "7" + hook["tail"] == (
        '{"ociVersion":"1.3.0","id":"box","status":"creating","pid":7,"bundle":"/bundle"}'
    )


def test_a_hook_in_the_container_without_an_environment_gets_the_processs():
    plan = compiled(changed(hooks={"startContainer": [{"path": "/h"}], "poststart": [{"path": "/h"}]}))
    assert "HOME=/" in plan.one("INIT", "HOOK")["env"]
    assert plan.one("INIT", "HOOK")["args"] == ["/h"]
    assert plan.one("START", "HOOK")["env"] == []


def test_devices_are_made_or_bound():
    device = {"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 0o100600, "uid": 5}
    plan = compiled(config(devices=[device]))
    made = plan.steps("INIT", "MKNOD")[-1][1]
    assert (made["mode"], made["major"], made["minor"], made["uid"]) == (0o020600, 10, 200, 5)
    assert plan.one("INIT", "MKDIR")["path"] == "/dev/net"
    for host in (make_host(in_userns=True), make_host(**USER)):
        plan = compiled(config(devices=[device]), host)
        assert "MKNOD" not in plan.names("INIT")
        assert "/dev/net/tun" in [values["path"] for _, values, _ in plan.steps("INIT", "TREE")]


def test_a_device_replaces_the_default_one():
    device = {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600}
    nodes = [v["path"] for _, v, _ in compiled(config(devices=[device])).steps("INIT", "MKNOD")]
    assert nodes.count("/dev/null") == 1


def test_a_bound_dev_is_left_alone():
    document = config()
    document["mounts"] = [{"destination": "/dev/", "type": "bind", "source": "/dev", "options": ["rbind"]}]
    assert not {"MKNOD", "SYMLINK"} & set(compiled(document).names("INIT"))


def test_links():
    links = {v["path"]: v["target"] for _, v, _ in compiled(config()).steps("INIT", "SYMLINK")}
    assert links["/dev/ptmx"] == "pts/ptmx"
    assert links["/dev/fd"] == "/proc/self/fd"
    assert "/dev/core" in links
    links = {v["path"] for _, v, _ in compiled(config(), make_host(paths=frozenset())).steps("INIT", "SYMLINK")}
    assert "/dev/core" not in links


def test_kernel_parameters():
    parameters = {"net.ipv4.ip_forward": "1", "kernel.shmmax": "2", "fs.mqueue.msg_max": "3"}
    steps = [(v["path"], v["value"]) for _, v, _ in compiled(config(sysctl=parameters)).steps("INIT", "SYSCTL")]
    assert steps == [("net/ipv4/ip_forward", "1"), ("kernel/shmmax", "2"), ("fs/mqueue/msg_max", "3")]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.conf.eth0/100.rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/conf/eth0.100/rp_filter"),
        ("kernel.sem", "kernel/sem"),
    ],
)
def test_names_of_kernel_parameters(name, path):
    assert to_path(name) == path


def test_network_devices_are_moved_before_init_goes_on():
    plan = compiled(config(netDevices={"eth1": {"name": "lan%d"}, "eth2": {}}))
    moved = [(v["name"], v["new_name"]) for _, v, _ in plan.steps("HOST", "NETDEV")]
    assert moved == [("eth1", "lan%d"), ("eth2", "eth2")]
    assert plan.before("HOST", "NETDEV", "POST")


def test_vm_and_unknown_members_are_ignored():
    assert compiled(changed(vm={"hypervisor": 7}, unknown={"a": 1})).names("INIT") == compiled(config()).names("INIT")


def test_keyring():
    assert compiled(config()).one("INIT", "KEYRING")["name"] == "_ses.box"
    assert "KEYRING" not in compiled(config(), no_new_keyring=True).names("INIT")


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"ociVersion": None}, "ociVersion"),
        ({"ociVersion": 1}, "ociVersion"),
        ({"ociVersion": "1.0"}, "ociVersion"),
        ({"ociVersion": "2.0.0"}, "ociVersion"),
        ({"root": None}, "root"),
        ({"root": {}}, "root.path"),
        ({"root": {"path": 3}}, "root.path"),
        ({"root": {"path": "r", "readonly": 1}}, "root.readonly"),
        ({"process": None}, "process"),
        ({"process": []}, "process"),
        ({"linux": 3}, "linux"),
        ({"hostname": 3}, "hostname"),
        ({"hostname": "h" * 65}, "hostname"),
        ({"domainname": "h" * 65}, "domainname"),
        ({"annotations": {"a": 1}}, "annotations.a"),
        ({"annotations": "x"}, "annotations"),
        ({"mounts": {}}, "mounts"),
        ({"hooks": []}, "hooks"),
        ({"hooks": {"poststop": {}}}, "hooks.poststop"),
        ({"hooks": {"prestart": [{}]}}, "hooks.prestart[0].path"),
        ({"hooks": {"prestart": [{"path": "hook"}]}}, "hooks.prestart[0].path"),
        ({"hooks": {"prestart": [{"path": "/h", "timeout": 0}]}}, "hooks.prestart[0].timeout"),
        ({"hooks": {"prestart": [{"path": "/h", "env": ["x"]}]}}, "hooks.prestart[0].env[0]"),
        ({"hooks": {"prestart": [{"path": "/h", "args": [0]}]}}, "hooks.prestart[0].args[0]"),
    ],
)
def test_wrong_fields_are_named(members, path):
    refused(changed(**members), path)


@pytest.mark.parametrize(
    ("linux", "path"),
    [
        ({"rootfsPropagation": "sharde"}, "linux.rootfsPropagation"),
        ({"maskedPaths": ["proc"]}, "linux.maskedPaths[0]"),
        ({"readonlyPaths": [1]}, "linux.readonlyPaths[0]"),
        ({"devices": [{"type": "x", "path": "/dev/x"}]}, "linux.devices[0].type"),
        ({"devices": [{"type": "c", "path": "dev/x"}]}, "linux.devices[0].path"),
        ({"devices": [{"type": "c", "path": "/dev/x", "minor": 1}]}, "linux.devices[0].major"),
        ({"devices": [{"type": "c", "path": "/d", "major": 1, "minor": 1 << 20}]}, "linux.devices[0].minor"),
        ({"sysctl": {"vm.swappiness": "1"}}, "linux.sysctl.vm.swappiness"),
        ({"sysctl": {"kernel.hostname": "1"}}, "linux.sysctl.kernel.hostname"),
        ({"sysctl": {"net/../kernel/core_pattern": "1"}}, "linux.sysctl.net/../kernel/core_pattern"),
        ({"sysctl": {"net.ipv4.ip_forward": 1}}, "linux.sysctl.net.ipv4.ip_forward"),
        ({"netDevices": {"../eth0": {}}}, "linux.netDevices.../eth0"),
        ({"netDevices": {"eth0": {"name": "a" * 16}}}, "linux.netDevices.eth0.name"),
        ({"netDevices": {"eth0": {"name": "x"}, "eth1": {"name": "x"}}}, "linux.netDevices.eth1.name"),
        ({"cgroupsPath": "/../x"}, "linux.cgroupsPath"),
        ({"resources": {"pids": {"limit": "many"}}}, "linux.resources.pids.limit"),
    ],
)
def test_wrong_fields_of_linux_are_named(linux, path):
    refused(config(**linux), path)


def test_what_needs_a_namespace_of_its_own():
    without = [{"type": "mount"}]
    refused(config(namespaces=without), "hostname")
    document = config(namespaces=[{"type": "mount"}, {"type": "uts"}], sysctl={"net.ipv4.ip_forward": "1"})
    refused(document, "linux.sysctl.net.ipv4.ip_forward")
    document["linux"]["sysctl"] = {}
    document["linux"]["netDevices"] = {"eth0": {}}
    refused(document, "linux.netDevices")
    joined = [{"type": t} for t in ("mount", "uts")] + [{"type": "network", "path": "/n"}]
    document = config(namespaces=joined, sysctl={"net.ipv4.ip_forward": "1"})
    refused(document, "linux.sysctl.net.ipv4.ip_forward", make_host(own_namespaces=frozenset({"/n"})))
