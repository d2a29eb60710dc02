from __future__ import annotations

import pytest

from tests.unit.runtime.compiling import USER, config, exec_compiled, make_host
from wherry.errors import WherryError
from wherry.plan.instructions import CHDIR_MAY_FAIL, INIT, NONE, PIVOT_CHROOT, STAGE
from wherry.runtime.capabilities import NUMBERS
from wherry.runtime.compile.namespaces import CLONE_PARENT, NEWCGROUP, NEWIPC, NEWNET, NEWNS, NEWPID, NEWUSER, NEWUTS

PROCESS = {"args": ["ls"], "cwd": "/", "env": ["HOME=/"], "user": {"uid": 0, "gid": 0}}
MAP = [{"containerID": 0, "hostID": 1000, "size": 1}]


def userns():
    return config(namespaces=[{"type": t} for t in ("pid", "mount", "uts", "user")], uidMappings=MAP, gidMappings=MAP)


def test_root_joins_the_pid_namespace_for_its_child():
    plan = exec_compiled(PROCESS, config())
    opened = plan.one("HOST", "PIDFD")
    assert (opened["pid"], opened["start_time"]) == (4194304, 99)
    assert plan.one("HOST", "SETNS") == {"slot": opened["slot"], "flags": NEWPID}
    assert plan.one("HOST", "CLONE") == {"program": INIT, "flags": 0, "cgroup": NONE}
    assert plan.before("HOST", "SETNS", "CLONE")
    assert plan.one("INIT", "SETNS")["flags"] == NEWNET | NEWIPC | NEWUTS | NEWNS | NEWCGROUP
    assert plan.before("INIT", "SETNS", "ROOTFS")
    assert plan.names("STAGE") == []


def test_a_user_enters_the_user_namespace_first():
    plan = exec_compiled(PROCESS, userns(), make_host(**USER))
    assert plan.one("HOST", "CLONE")["program"] == STAGE
    assert plan.names("STAGE") == ["PDEATHSIG", "SETNS", "BECOME", "CLONE"]
    assert plan.one("STAGE", "SETNS")["flags"] == NEWPID | NEWNS | NEWUTS | NEWUSER
    assert plan.one("STAGE", "CLONE")["flags"] == CLONE_PARENT
    assert "SETNS" not in plan.names("INIT")


def test_without_a_mount_namespace_the_root_is_entered_by_chroot():
    plan = exec_compiled(PROCESS, config(namespaces=[{"type": "pid"}]))
    assert plan.one("INIT", "ROOTFS")["path"] == "/proc/4194304/root"
    assert plan.one("INIT", "PIVOT")["how"] == PIVOT_CHROOT


def test_what_the_process_leaves_open_is_the_containers():
    document = config()
    document["process"].update(
        rlimits=[{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        oomScoreAdj=9,
        capabilities={"bounding": ["CAP_CHOWN"]},
    )
    plan = exec_compiled(PROCESS, document)
    assert plan.one("INIT", "BOUNDING")["mask"] == 1 << NUMBERS["CAP_CHOWN"]
    assert "NO_NEW_PRIVS" in plan.names("INIT")
    assert plan.one("HOST", "RLIMIT")["resource"] == 4
    assert plan.one("HOST", "OOM_SCORE")["value"] == 9
    plan = exec_compiled({**PROCESS, "capabilities": {}, "noNewPrivileges": False, "rlimits": []}, document)
    assert plan.one("INIT", "BOUNDING")["mask"] == 0
    assert "NO_NEW_PRIVS" not in plan.names("INIT")
    assert "RLIMIT" not in plan.names("HOST")


def test_nothing_of_the_containers_own_life_is_done_again():
    names = set(exec_compiled(PROCESS, config(), pid_file="/p").names("INIT"))
    assert not names & {"WAIT_START", "MOUNT", "MKNOD", "HOOK", "MASK", "HOSTNAME"}


def test_the_working_directory_is_not_made():
    flags = [v["flags"] for _, v, _ in exec_compiled(PROCESS, config()).steps("INIT", "CHDIR")]
    assert flags == [CHDIR_MAY_FAIL, 0]


def test_the_filter_of_the_container_holds_for_all_its_processes():
    document = config(seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []})
    assert "SECCOMP" in exec_compiled(PROCESS, document).names("INIT")


@pytest.mark.parametrize(
    ("affinity", "masks"),
    [
        (None, [b""]),
        ({"initial": "0"}, [b"\x01" + bytes(7)]),
        ({"final": "1"}, [b"\x02" + bytes(7)]),
        ({"initial": "0", "final": "0-1,3"}, [b"\x01" + bytes(7), b"\x0b" + bytes(7)]),
    ],
)
def test_cpus_before_and_after_the_control_group(affinity, masks):
    process = PROCESS if affinity is None else {**PROCESS, "execCPUAffinity": affinity}
    assert [v["mask"] for _, v, _ in exec_compiled(process, config()).steps("INIT", "AFFINITY")] == masks


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"args": []}, "process.args"),
        ({"cwd": "x"}, "process.cwd"),
        ({"execCPUAffinity": {"final": "x"}}, "process.execCPUAffinity.final"),
    ],
)
def test_wrong_fields_are_named(members, path):
    with pytest.raises(WherryError) as caught:
        exec_compiled({**PROCESS, **members}, config())
    assert caught.value.path == path
