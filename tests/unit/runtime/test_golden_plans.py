"""Plans as text, compared line by line; `pytest --update` writes them anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.plan.explain import explain
from wherry.runtime.compile.container import compile_container
from wherry.runtime.default_config import default_config, make_rootless

from .compiling import USER, V1, config, exec_compiled, make_host, options

GOLDEN = Path(__file__).parents[2] / "golden"
MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def default():
    document = default_config()
    document["process"]["env"].append("HOME=/root")
    return document


def rootless():
    document = default()
    make_rootless(document, 1000, 1000)
    return document


def user_namespace():
    document = default()
    linux = document["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = MAP
    document["mounts"].append({"destination": "/data", "type": "bind", "source": "data", "options": ["rbind", "ro"]})
    return document


def joined():
    document = config(namespaces=[])
    document["linux"]["namespaces"] = [
        {"type": "mount"},
        {"type": "uts"},
        {"type": "network", "path": "/run/netns/pod"},
        {"type": "pid", "path": "/proc/7/ns/pid"},
        {"type": "user", "path": "/proc/7/ns/user"},
        {"type": "time"},
    ]
    document["linux"]["timeOffsets"] = {"boottime": {"secs": 60}}
    return document


def everything():
    document = default()
    hook = {"path": "/usr/bin/hook", "args": ["hook", "x y"], "env": ["A=b"], "timeout": 5}
    document.update(
        domainname="example.org",
        annotations={"org.example": "yes"},
        hooks={
            moment: [hook]
            for moment in (
                "prestart",
                "createRuntime",
                "createContainer",
                "startContainer",
                "poststart",
                "poststop",
            )
        },
    )
    document["process"].update(
        user={"uid": 1000, "gid": 100, "umask": 0o77, "additionalGids": [5, 6]},
        cwd="/srv",
        oomScoreAdj=100,
        apparmorProfile="box",
        selinuxLabel="system_u:system_r:box_t:s0",
        scheduler={"policy": "SCHED_BATCH", "nice": 3},
        ioPriority={"class": "IOPRIO_CLASS_IDLE"},
    )
    document["mounts"] += [
        {"destination": "/ro", "type": "bind", "source": "/srv/ro", "options": ["rbind", "rro", "rprivate"]},
        {
            "destination": "/mapped",
            "type": "bind",
            "source": "/srv/mapped",
            "options": ["bind", "idmap"],
            "uidMappings": MAP,
            "gidMappings": MAP,
        },
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "tmpcopyup", "rshared"]},
    ]
    document["linux"].update(
        devices=[
            {"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 0o660, "gid": 7},
            {"path": "/dev/pipe", "type": "p"},
        ],
        netDevices={"eth1": {"name": "lan0"}},
        sysctl={"net.ipv4.ip_forward": "1", "kernel.shmmax": "5"},
        rootfsPropagation="rshared",
        mountLabel="system_u:object_r:box_file_t:s0",
        personality={"domain": "LINUX"},
        memoryPolicy={"mode": "MPOL_INTERLEAVE", "nodes": "0"},
        seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []},
    )
    document["linux"]["resources"].update(
        memory={"limit": 1 << 26, "swap": 1 << 27}, cpu={"shares": 512, "quota": 50000}, pids={"limit": 9}
    )
    return document


CASES = {
    "default": (default, make_host(), {"console_socket": "/run/console.sock"}),
    "rootless": (rootless, make_host(**USER), {"console_socket": "/run/console.sock"}),
    "user_namespace": (user_namespace, make_host(), {"console_socket": "/run/console.sock"}),
    "version_1": (default, make_host(cgroups=V1), {"monitor": True}),
    "joined": (joined, make_host(), {"pid_file": "/run/box.pid", "no_pivot": True}),
    "everything": (
        everything,
        make_host(apparmor=True, selinux=True),
        {"console_socket": "/c", "pid_file": "/p", "pidfd_socket": "/s", "preserve_fds": 2, "init": True},
    ),
}


def compare(name, text, update):
    path = GOLDEN / f"plan_{name}.txt"
    if update:
        path.write_text(text)
    assert text == path.read_text(), "run pytest --update and read the difference"


@pytest.mark.parametrize("name", CASES)
def test_plan(name, request):
    make, host, settings = CASES[name]
    plan = compile_container(make(), host, options(**settings))
    plan.encode()
    compare(name, explain(plan), request.config.getoption("--update"))


def test_exec_plan(request):
    process = {"args": ["ls"], "cwd": "/", "env": ["HOME=/"], "user": {"uid": 0, "gid": 0}, "terminal": True}
    plan = exec_compiled(process, default(), console_socket="/c", pid_file="/p").plan
    compare("exec", explain(plan), request.config.getoption("--update"))
