"""Wrong documents: exit status 1, one line that names the field, and nothing is left."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ..runtimes import Container

ABSENT = object()
UTS = [{"type": "mount"}, {"type": "uts"}]

# The place in the document, the wrong value, and what the message must name (the place, unless given).
WRONG: list[tuple[str, Any] | tuple[str, Any, str]] = [
    ("ociVersion", ABSENT),
    ("ociVersion", ""),
    ("ociVersion", 5),
    ("ociVersion", "2.0.0"),
    ("ociVersion", "one"),
    ("root", ABSENT),
    ("root", []),
    ("root.path", ABSENT),
    ("root.path", ""),
    ("root.path", 7),
    ("root.path", "missing"),
    ("root.path", "config.json"),
    ("root.readonly", "yes"),
    ("hostname", 5),
    ("hostname", "x" * 65),
    ("annotations", []),
    ("annotations", {"a": 5}),
    ("mounts", {}),
    ("mounts", [5], "mounts[0]"),
    ("mounts", [{"type": "tmpfs"}], "mounts[0].destination"),
    ("mounts", [{"destination": 5}], "mounts[0].destination"),
    ("mounts", [{"destination": "/x", "type": 5, "source": "x"}], "mounts[0].type"),
    ("mounts", [{"destination": "/x", "type": "tmpfs", "source": []}], "mounts[0].source"),
    ("mounts", [{"destination": "/x", "type": "tmpfs", "source": "x", "options": "ro"}], "mounts[0].options"),
    ("mounts", [{"destination": "/x", "type": "tmpfs", "source": "x", "options": [5]}], "mounts[0].options"),
    ("mounts", [{"destination": "/x", "type": "nofs", "source": "x"}], "mounts[0]"),
    ("mounts", [{"destination": "/x", "type": "bind", "source": "/missing/x", "options": ["bind"]}], "mounts[0]"),
    ("process", []),
    ("process.args", ABSENT),
    ("process.args", []),
    ("process.args", "sh"),
    ("process.args", [5]),
    ("process.args", ["a\0b"]),
    ("process.cwd", ABSENT),
    ("process.cwd", ""),
    ("process.cwd", "tmp"),
    ("process.cwd", 5),
    ("process.env", "A=B"),
    ("process.env", [5]),
    ("process.env", ["NO_VALUE"]),
    ("process.env", ["=x"]),
    ("process.terminal", "yes"),
    ("process.user", []),
    ("process.user.uid", -1),
    ("process.user.uid", "0"),
    ("process.user.uid", 1 << 32),
    ("process.user.uid", 1.5),
    ("process.user.gid", -1),
    ("process.user.umask", -1),
    ("process.user.additionalGids", 5),
    ("process.user.additionalGids", [-1]),
    ("process.rlimits", {}),
    ("process.rlimits", [{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}], "process.rlimits[0].type"),
    ("process.rlimits", [{"soft": 1, "hard": 1}], "process.rlimits[0].type"),
    ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}], "process.rlimits[0]"),
    ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}] * 2, "process.rlimits[1]"),
    ("process.capabilities", []),
    ("process.capabilities", {"bounding": "CAP_KILL"}, "process.capabilities.bounding"),
    ("process.oomScoreAdj", 1001),
    ("process.oomScoreAdj", "5"),
    ("process.noNewPrivileges", 1),
    ("process.scheduler", {"policy": "SCHED_NONSENSE"}, "process.scheduler.policy"),
    ("process.scheduler", {}, "process.scheduler.policy"),
    ("process.scheduler", {"policy": "SCHED_OTHER", "nice": 77}, "process.scheduler.nice"),
    ("process.scheduler", {"policy": "SCHED_BATCH", "flags": ["X"]}, "process.scheduler.flags"),
    ("process.scheduler", {"policy": "SCHED_DEADLINE", "runtime": 5, "deadline": 4, "period": 3}, "process.scheduler"),
    ("process.ioPriority", {"class": "X"}, "process.ioPriority.class"),
    ("process.ioPriority", {"class": "IOPRIO_CLASS_BE", "priority": 9}, "process.ioPriority.priority"),
    ("linux", []),
    ("linux.namespaces", {}),
    ("linux.namespaces", [{}], "linux.namespaces[0].type"),
    ("linux.namespaces", [{"type": "galaxy"}], "linux.namespaces[0].type"),
    ("linux.namespaces", [{"type": "pid"}], "mount"),
    ("linux.namespaces", [{"type": "mount"}, {"type": "mount"}], "linux.namespaces[1]"),
    (
        "linux.namespaces",
        [*UTS, {"type": "network", "path": "/missing"}],
        "linux.namespaces[2]",
    ),
    ("linux.namespaces", [{"type": "mount"}, {"type": "network", "path": "relative"}], "linux.namespaces[1].path"),
    ("linux.uidMappings", [{"containerID": 0, "hostID": 1, "size": 1}], "linux.uidMappings"),
    ("linux.devices", [{"path": "/dev/x", "type": "q"}], "linux.devices[0].type"),
    ("linux.devices", [{"path": "x", "type": "c", "major": 1, "minor": 1}], "linux.devices[0].path"),
    ("linux.devices", [{"type": "c", "major": 1, "minor": 1}], "linux.devices[0].path"),
    ("linux.devices", [{"path": "/dev/x", "type": "c"}], "linux.devices[0].major"),
    ("linux.devices", [{"path": "/dev/x", "type": "c", "major": -1, "minor": 1}], "linux.devices[0].major"),
    ("linux.resources.devices", [{"access": "r"}], "linux.resources.devices[0].allow"),
    ("linux.resources.devices", [{"allow": True, "access": "z"}], "linux.resources.devices[0].access"),
    ("linux.resources.devices", [{"allow": True, "type": "z"}], "linux.resources.devices[0].type"),
    ("linux.resources.memory", {"limit": "1G"}, "linux.resources.memory.limit"),
    ("linux.resources.cpu", {"shares": -5}, "linux.resources.cpu.shares"),
    ("linux.resources.cpu", {"cpus": 0}, "linux.resources.cpu.cpus"),
    ("linux.resources.pids", {"limit": "many"}, "linux.resources.pids.limit"),
    ("linux.cgroupsPath", 5),
    ("linux.rootfsPropagation", "sideways"),
    ("linux.maskedPaths", "x"),
    ("linux.maskedPaths", ["relative"], "linux.maskedPaths[0]"),
    ("linux.readonlyPaths", [5], "linux.readonlyPaths[0]"),
    ("linux.sysctl", []),
    ("linux.sysctl", {"vm.swappiness": "1"}, "vm.swappiness"),
    ("linux.sysctl", {"net.ipv4.ip_forward": 1}, "linux.sysctl"),
    ("linux.seccomp", {"defaultAction": "X"}, "linux.seccomp.defaultAction"),
    ("linux.personality", {"domain": "X"}, "linux.personality.domain"),
    ("linux.memoryPolicy", {"mode": "X"}, "linux.memoryPolicy.mode"),
    ("linux.memoryPolicy", {"mode": "MPOL_BIND", "nodes": "x"}, "linux.memoryPolicy.nodes"),
    ("linux.timeOffsets", {"monotonic": {"secs": 1}}, "linux.timeOffsets"),
    ("linux.intelRdt", {"closID": "a/b"}, "linux.intelRdt"),
    ("linux.netDevices", {"eth0": {"name": "a/b"}}, "linux.netDevices"),
    ("hooks", []),
    ("hooks", {"prestart": {}}, "hooks.prestart"),
    ("hooks", {"prestart": [{}]}, "hooks.prestart[0].path"),
    ("hooks", {"createRuntime": [{"path": "relative"}]}, "hooks.createRuntime[0].path"),
    ("hooks", {"poststop": [{"path": "/x", "timeout": 0}]}, "hooks.poststop[0].timeout"),
    ("hooks", {"poststop": [{"path": "/x", "timeout": -1}]}, "hooks.poststop[0].timeout"),
    ("hooks", {"poststop": [{"path": "/x", "env": [5]}]}, "hooks.poststop[0].env"),
]


def put(document: dict[str, Any], place: str, value: Any) -> None:
    *parents, last = place.split(".")
    for name in parents:
        document = document.setdefault(name, {})
    if value is ABSENT:
        del document[last]
    else:
        document[last] = value


@pytest.mark.parametrize(
    "row", WRONG, ids=lambda row: f"{row[0]}={str(row[1])[:40]}" if row[1] is not ABSENT else row[0]
)
def test_wrong_field(container: Container, row: tuple[Any, ...], only) -> None:
    only("wherry-runtime")
    place, value = row[:2]
    put(container.bundle.config, place, value)
    result = container.create(check=False)
    assert result.status == 1, result
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert (row[2] if len(row) > 2 else place) in result.stderr
    assert "Traceback" not in result.stderr
    assert not container.exists
    assert not list(container.runtime.root.iterdir())


@pytest.mark.parametrize("row", [WRONG[i] for i in (0, 5, 10, 18)], ids=lambda row: row[0])
def test_peers_refuse_too(container: Container, row: tuple[Any, ...]) -> None:
    put(container.bundle.config, *row[:2])
    if container.runtime.dialect != "wherry-runtime" and row[0] in ("ociVersion", "root", "mounts"):
        return
    assert container.create(check=False).status != 0


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"x"', "{}", '{"ociVersion": "1.0.0",}', "\xff", '{"a": 1e999999}', "[" * 100_000],
)
def test_documents_that_are_none(container: Container, text: str) -> None:
    (container.bundle.path / "config.json").write_bytes(text.encode("latin-1"))
    result = container.runtime("create", "--bundle", container.bundle.path, container.id, check=False)
    assert result.status != 0
    if container.runtime.dialect == "wherry-runtime":
        assert result.status == 1
        assert len(result.stderr.splitlines()) == 1
        assert not list(container.runtime.root.iterdir())


def test_every_field_of_every_type(container: Container, only) -> None:
    """Each value of the document in turn replaced by something of another type: an error or a container, no crash."""
    only("wherry-runtime")
    original = json.dumps(container.bundle.config)
    for place in places(json.loads(original)):
        for wrong in (None, "text", 77, [None], {"a": None}):
            document = json.loads(original)
            target = document
            for key in place[:-1]:
                target = target[key]
            if type(target[place[-1]]) is type(wrong):
                continue
            target[place[-1]] = wrong
            container.bundle.config = document
            result = container.create(check=False)
            assert result.status in (0, 1, 126, 127), (place, wrong, result.stderr)
            assert "Traceback" not in result.stderr, (place, wrong, result.stderr)
            if result.status == 0:
                container.delete("--force")


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value, one of each kind of list."""
    found = [above] if above else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += places(item, (*above, key))
    elif isinstance(value, list) and value:
        found += places(value[0], (*above, 0))
    return found
