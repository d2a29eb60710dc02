"""Documents and hosts for tests of the compiler; no privileges, no kernel facts."""

from __future__ import annotations

import copy

import pytest

from wherry.errors import INVALID_ARGUMENT, WherryError
from wherry.plan.decode import decode
from wherry.plan.instructions import BY_NAME, PROGRAMS
from wherry.runtime.cgroup.layout import Hierarchy, Layout
from wherry.runtime.compile.container import compile_container
from wherry.runtime.compile.exec import Target, compile_exec
from wherry.runtime.default_config import default_config
from wherry.runtime.host import Host
from wherry.runtime.options import Options

V2 = Layout([], Hierarchy(2, ("cpuset", "cpu", "io", "memory", "pids"), "/sys/fs/cgroup", own="/"))
V1 = Layout(
    [
        Hierarchy(1, ("cpu", "cpuacct"), "/sys/fs/cgroup/cpu,cpuacct"),
        Hierarchy(1, ("freezer",), "/sys/fs/cgroup/freezer"),
        Hierarchy(1, ("name=systemd",), "/sys/fs/cgroup/systemd"),
    ],
    None,
)


def make_host(**facts):
    """A host of a fixed kind, whatever runs the test."""
    known = {
        "machine": "x86_64",
        "cgroups": V2,
        "paths": frozenset({"/proc/kcore"}),
        "programs": {"newuidmap": "/usr/bin/newuidmap", "newgidmap": "/usr/bin/newgidmap"},
        "apparmor": False,
        "selinux": False,
        "last_cap": 40,
        "capabilities": (1 << 41) - 1,
        "landlock_abi": 4,
        "cache_folder": "",
        "own_namespaces": frozenset(),
    }
    return Host(**{**known, **facts})


USER = {"euid": 1000, "egid": 1000}


def config(**linux):
    """A document with as little as possible; `linux` members are added."""
    document = default_config()
    document["process"]["env"].append("HOME=/")
    document["process"]["terminal"] = False
    document["mounts"] = []
    document["linux"]["maskedPaths"] = []
    document["linux"]["readonlyPaths"] = []
    document["root"]["readonly"] = False
    document["linux"].update(copy.deepcopy(linux))
    return document


def options(**settings):
    return Options(**{"id": "box", "bundle": "/bundle", "root": "/run/state", **settings})


class Compiled:
    """A plan, checked to survive encoding, with its steps by name."""

    def __init__(self, plan, warnings):
        self.plan = decode(plan.encode())
        self.warnings = warnings

    def steps(self, program, *names):
        """(name, arguments by their names, place) of a program's steps."""
        found = self.plan.programs.get(PROGRAMS.index(program))
        return [
            (name, dict(zip(BY_NAME[name].names, arguments, strict=True)), where)
            for name, where, arguments in (found.steps if found else ())
            if not names or name in names
        ]

    def names(self, program):
        return [name for name, _, _ in self.steps(program)]

    def one(self, program, name):
        """The arguments of the only step of this name."""
        ((_, arguments, _),) = self.steps(program, name)
        return arguments

    def where(self, program, name):
        ((_, _, where),) = self.steps(program, name)
        return where

    def before(self, program, first, second):
        """Whether the first step of one name comes before the first of another."""
        names = self.names(program)
        return names.index(first) < names.index(second)


def compiled(document, host=None, **settings):
    chosen = options(**settings)
    return Compiled(compile_container(document, host or make_host(), chosen), chosen.warnings)


def exec_compiled(process, document, host=None, sub_cgroups=(), **settings):
    chosen = options(**settings)
    target = Target(pid=4194304, start_time=99, cgroup="")
    plan = compile_exec(process, document, host or make_host(), target, chosen, sub_cgroups=sub_cgroups)
    return Compiled(plan, chosen.warnings)


def refused(document, path, host=None, **settings):
    """The message of the refusal, which must name this place."""
    with pytest.raises(WherryError) as caught:
        compiled(document, host, **settings)
    assert caught.value.code == INVALID_ARGUMENT
    assert caught.value.path == path, str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.message
