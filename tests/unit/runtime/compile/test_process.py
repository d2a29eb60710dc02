from __future__ import annotations

import pytest

from tests.unit.runtime.compiling import USER, compiled, config, make_host, refused
from wherry.plan.instructions import CHDIR_CREATE, CHDIR_MAY_FAIL, CONSOLE_BIND, CONSOLE_SOCKET, EXEC_INIT
from wherry.runtime.capabilities import NUMBERS

SECCOMP = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}],
}
LISTENING = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "listenerPath": "/run/seccomp.sock",
    "listenerMetadata": "meta",
    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
}


def with_process(**members):
    document = config()
    document["process"].update(members)
    return document


def bits(*names):
    return sum(1 << NUMBERS[name] for name in names)


def test_the_command_is_found_before_start_and_executed_after_it():
    plan = compiled(with_process(args=["ls", "-l"]))
    assert plan.one("INIT", "FIND")["name"] == "ls"
    assert plan.one("INIT", "FIND")["path"].startswith("/usr/local/sbin:")
    executed = plan.one("INIT", "EXEC")
    assert executed["args"] == ["ls", "-l"]
    assert plan.before("INIT", "FIND", "WAIT_START")
    assert plan.names("INIT")[-1] == "EXEC"


def test_the_last_of_a_repeated_variable_counts():
    env = compiled(with_process(env=["A=1", "HOME=/h", "B=2", "A=3", "E="])).one("INIT", "EXEC")["env"]
    assert env == ["A=3", "HOME=/h", "B=2", "E="]


def test_without_a_path_the_default_one_is_searched():
    assert compiled(with_process(env=["HOME=/"])).one("INIT", "FIND")["path"] is None


def test_descriptors_from_socket_activation_are_announced_and_kept():
    plan = compiled(config(), listen_fds=2, preserve_fds=1)
    executed = plan.one("INIT", "EXEC")
    assert executed["keep_fds"] == 3
    assert {"LISTEN_FDS=2", "LISTEN_PID=1"} <= set(executed["env"])
    assert plan.one("INIT", "CLOSE_RANGE")["first"] == 6


def test_init_may_stay_to_reap():
    assert compiled(config(), init=True).one("INIT", "EXEC")["flags"] == EXEC_INIT


def test_the_user_is_taken_after_everything_that_needs_root():
    user = {"uid": 1000, "gid": 100, "umask": 0o77, "additionalGids": [5, 70000]}
    plan = compiled(with_process(user=user))
    assert plan.one("INIT", "IDS") == {"uid": 1000, "gid": 100}
    assert plan.one("INIT", "GROUPS")["gids"] == (5).to_bytes(4, "little") + (70000).to_bytes(4, "little")
    assert plan.one("INIT", "UMASK")["mask"] == 0o77
    assert plan.one("INIT", "STDIO") == {"uid": 1000, "gid": 100}
    for name in ("PIVOT", "SETSID", "GROUPS", "BOUNDING"):
        assert plan.before("INIT", name, "IDS")
    assert plan.before("INIT", "IDS", "CAPABILITIES")


def test_the_working_directory_is_tried_as_root_and_again_as_the_user():
    steps = [values for _, values, _ in compiled(with_process(cwd="/home/me")).steps("INIT", "CHDIR")]
    assert steps == [
        {"path": "/home/me", "flags": CHDIR_CREATE | CHDIR_MAY_FAIL},
        {"path": "/home/me", "flags": 0},
    ]


def test_groups_are_kept_by_annotation():
    document = config()
    document["annotations"] = {"run.oci.keep_original_groups": "1"}
    assert "GROUPS" not in compiled(document).names("INIT")


def test_groups_cannot_be_set_where_only_one_is_mapped():
    own = [{"containerID": 0, "hostID": 1000, "size": 1}]
    document = config(
        namespaces=[{"type": t} for t in ("pid", "uts", "mount", "user")], uidMappings=own, gidMappings=own
    )
    document["process"]["user"]["additionalGids"] = [7]
    plan = compiled(document, make_host(**USER))
    assert "GROUPS" not in plan.names("INIT")
    assert "additionalGids" in plan.warnings[0]


def test_capabilities():
    names = ["CAP_CHOWN", "CAP_KILL"]
    sets = dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), names)
    plan = compiled(with_process(capabilities=sets))
    assert plan.one("INIT", "BOUNDING")["mask"] == bits(*names)
    assert set(plan.one("INIT", "CAPABILITIES").values()) == {bits(*names)}


def test_ambient_ones_must_be_inheritable():
    sets = {name: ["CAP_KILL"] for name in ("bounding", "effective", "permitted", "ambient")}
    assert compiled(with_process(capabilities=sets)).one("INIT", "CAPABILITIES")["ambient"] == 0


def test_unknown_capabilities_are_a_warning():
    plan = compiled(with_process(capabilities={"bounding": ["CAP_FLY", "CAP_KILL"]}))
    assert "CAP_FLY" in plan.warnings[0]
    assert plan.one("INIT", "BOUNDING")["mask"] == bits("CAP_KILL")


def test_capabilities_that_the_host_lacks_are_a_warning():
    sets = {name: ["CAP_CHOWN", "CAP_KILL"] for name in ("bounding", "effective", "permitted")}
    document = with_process(capabilities=sets)
    plan = compiled(document, make_host(capabilities=bits("CAP_KILL")))
    assert plan.one("INIT", "CAPABILITIES")["permitted"] == bits("CAP_KILL")
    assert "CAP_CHOWN" in plan.warnings[0]
    assert "CAP_KILL" not in plan.warnings[0]


def test_without_capabilities_all_are_dropped():
    document = config()
    del document["process"]["capabilities"]
    assert compiled(document).one("INIT", "BOUNDING")["mask"] == 0


def test_limits_are_set_by_the_host():
    plan = compiled(with_process(rlimits=[{"type": "RLIMIT_CORE", "soft": 1, "hard": 2**64 - 1}]))
    assert plan.one("HOST", "RLIMIT") == {"resource": 4, "soft": 1, "hard": 2**64 - 1}
    assert plan.where("HOST", "RLIMIT") == "process.rlimits[0]"


def test_the_oom_score_is_set_only_when_asked_for():
    assert "OOM_SCORE" not in compiled(config()).names("HOST")
    assert compiled(with_process(oomScoreAdj=-5)).one("HOST", "OOM_SCORE") == {"value": -5, "flags": 0}


def test_a_terminal():
    document = with_process(terminal=True, consoleSize={"width": 80, "height": 24})
    plan = compiled(document, console_socket="/run/c.sock")
    console = plan.one("INIT", "CONSOLE")
    assert (console["socket"], console["width"], console["height"]) == (CONSOLE_SOCKET, 80, 24)
    assert console["flags"] == CONSOLE_BIND
    assert plan.one("HOST", "CONNECT") == {"slot": CONSOLE_SOCKET, "path": "/run/c.sock"}
    assert "STDIO" not in plan.names("INIT")
    assert "CONNECT" not in compiled(document, monitor=True).names("HOST")


@pytest.mark.parametrize("no_new_privs", [True, False])
def test_the_filter_is_loaded_last_if_that_needs_no_privilege(no_new_privs):
    document = config(seccomp=SECCOMP)
    document["process"]["noNewPrivileges"] = no_new_privs
    plan = compiled(document)
    names = plan.names("INIT")
    if no_new_privs:
        assert names[-2:] == ["SECCOMP", "EXEC"]
        assert plan.before("INIT", "NO_NEW_PRIVS", "SECCOMP")
    else:
        assert "NO_NEW_PRIVS" not in names
        assert plan.before("INIT", "SECCOMP", "BOUNDING")
    assert plan.one("INIT", "SECCOMP")["program"]


def test_the_listener_gets_the_state_with_both_pids():
    plan = compiled(config(seccomp=LISTENING))
    assert plan.one("HOST", "CONNECT")["path"] == "/run/seccomp.sock"
    step = plan.one("INIT", "SECCOMP")
    assert (step["head"] + "7" + step["tail"]).replace("\x01", "7") == (
        '{"ociVersion":"1.3.0","fds":["seccompFd"],"metadata":"meta","state":{"ociVersion":"1.3.0","id":"box",'
        '"status":"creating","pid":7,"bundle":"/bundle"},"pid":7}'
    )


def test_labels():
    document = with_process(apparmorProfile="box", selinuxLabel="l:c1")
    host = make_host(apparmor=True, selinux=True)
    labels = [(v["attribute"], v["label"]) for _, v, _ in compiled(document, host).steps("INIT", "LSM")]
    assert labels == [("attr/exec", "l:c1"), ("attr/exec", "exec box")]


def test_landlock_is_an_annotation():
    document = config()
    document["annotations"] = {"io.wherry.landlock": '{"exec":["/bin","/usr"],"tcp_bind":[80]}'}
    plan = compiled(document)
    assert plan.one("INIT", "LANDLOCK")["paths"] == ["/bin", "/usr"]
    assert plan.before("INIT", "WAIT_START", "LANDLOCK")
    assert plan.before("INIT", "NO_NEW_PRIVS", "LANDLOCK")
    refused(document, "annotations[io.wherry.landlock]", make_host(landlock_abi=0))
    document["process"]["noNewPrivileges"] = False
    refused(document, "annotations[io.wherry.landlock]")


def test_scheduling():
    document = with_process(
        scheduler={"policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 3},
    )
    plan = compiled(document)
    attributes = plan.one("HOST", "SCHEDULER")["attr"]
    assert attributes[:20] == bytes([48, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0])
    assert plan.one("HOST", "IO_PRIORITY")["value"] == 2 << 13 | 3


def test_memory_policy_and_personality():
    plan = compiled(
        config(
            memoryPolicy={"mode": "MPOL_BIND", "nodes": "0-1,64", "flags": ["MPOL_F_STATIC_NODES"]},
            personality={"domain": "LINUX32"},
        )
    )
    policy = plan.one("INIT", "MEMORY_POLICY")
    assert policy == {"mode": 2 | 1 << 15, "nodes": (3 | 1 << 64).to_bytes(16, "little")}
    assert plan.one("INIT", "PERSONALITY")["value"] == 8


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"args": []}, "process.args"),
        ({"args": None}, "process.args"),
        ({"args": "sh"}, "process.args"),
        ({"args": ["sh", 1]}, "process.args[1]"),
        ({"args": ["a\0"]}, "process.args[0]"),
        ({"cwd": ""}, "process.cwd"),
        ({"cwd": "home"}, "process.cwd"),
        ({"env": ["A"]}, "process.env[0]"),
        ({"env": ["=A"]}, "process.env[0]"),
        ({"env": ["A=\0"]}, "process.env[0]"),
        ({"terminal": "yes"}, "process.terminal"),
        ({"terminal": True, "consoleSize": {"width": -1}}, "process.consoleSize.width"),
        ({"user": None}, "process.user"),
        ({"user": {"uid": -1, "gid": 0}}, "process.user.uid"),
        ({"user": {"uid": 2**32 - 1, "gid": 0}}, "process.user.uid"),
        ({"user": {"uid": 1.5, "gid": 0}}, "process.user.uid"),
        ({"user": {"uid": True, "gid": 0}}, "process.user.uid"),
        ({"user": {"additionalGids": [1, "x"]}}, "process.user.additionalGids[1]"),
        ({"user": {"umask": 0o1000}}, "process.user.umask"),
        ({"capabilities": {"bounding": "CAP_KILL"}}, "process.capabilities.bounding"),
        ({"rlimits": [{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]}, "process.rlimits[0].type"),
        ({"rlimits": [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]}, "process.rlimits[0].soft"),
        (
            {"rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}] * 2},
            "process.rlimits[1].type",
        ),
        ({"oomScoreAdj": 1001}, "process.oomScoreAdj"),
        ({"apparmorProfile": "x"}, "process.apparmorProfile"),
        ({"selinuxLabel": "x"}, "process.selinuxLabel"),
        ({"scheduler": {}}, "process.scheduler.policy"),
        ({"scheduler": {"policy": "SCHED_X"}}, "process.scheduler.policy"),
        ({"scheduler": {"policy": "SCHED_FIFO"}}, "process.scheduler.priority"),
        ({"scheduler": {"policy": "SCHED_OTHER", "priority": 1}}, "process.scheduler.priority"),
        ({"scheduler": {"policy": "SCHED_FIFO", "priority": 1, "nice": 2}}, "process.scheduler.nice"),
        ({"scheduler": {"policy": "SCHED_OTHER", "runtime": 2}}, "process.scheduler.runtime"),
        ({"scheduler": {"policy": "SCHED_DEADLINE", "runtime": 1000}}, "process.scheduler.runtime"),
        (
            {"scheduler": {"policy": "SCHED_DEADLINE", "runtime": 2000, "deadline": 1999}},
            "process.scheduler.deadline",
        ),
        (
            {"scheduler": {"policy": "SCHED_DEADLINE", "runtime": 2000, "deadline": 3000, "period": 2999}},
            "process.scheduler.period",
        ),
        ({"scheduler": {"policy": "SCHED_OTHER", "flags": ["X"]}}, "process.scheduler.flags[0]"),
        ({"ioPriority": {"class": "X"}}, "process.ioPriority.class"),
        ({"ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 8}}, "process.ioPriority.priority"),
    ],
)
def test_wrong_fields_are_named(members, path):
    refused(with_process(**members), path)


@pytest.mark.parametrize(
    ("linux", "path"),
    [
        ({"personality": {"domain": "WIN"}}, "linux.personality.domain"),
        ({"personality": {"domain": "LINUX", "flags": ["x"]}}, "linux.personality.flags"),
        ({"memoryPolicy": {"mode": "X"}}, "linux.memoryPolicy.mode"),
        ({"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "3-1"}}, "linux.memoryPolicy.nodes"),
        ({"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "a"}}, "linux.memoryPolicy.nodes"),
        ({"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-99999999"}}, "linux.memoryPolicy.nodes"),
        ({"memoryPolicy": {"mode": "MPOL_BIND", "flags": ["X"]}}, "linux.memoryPolicy.flags[0]"),
        ({"memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": "0"}}, "linux.memoryPolicy.nodes"),
        ({"seccomp": {"defaultAction": "SCMP_ACT_NOTIFY", "syscalls": 5}}, None),
    ],
)
def test_wrong_fields_of_linux_are_named(linux, path):
    if path is None:
        with pytest.raises(Exception, match=r"linux\.seccomp"):
            compiled(config(**linux))
    else:
        refused(config(**linux), path)
