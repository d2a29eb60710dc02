"""Control groups on the hierarchies that are here: joined, refused, removed, and left alone when they are not ours."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wherry.plan import instructions as i

from .harness import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .harness import Box

V1 = Path("/sys/fs/cgroup/pids")
FREEZER = Path("/sys/fs/cgroup/freezer")
CPUSET = Path("/sys/fs/cgroup/cpuset")


@pytest.fixture
def group() -> Iterator[str]:
    name = f"wherry-unit-{os.getpid()}"
    yield name
    for hierarchy in (V1, FREEZER, CPUSET):
        for path in sorted(hierarchy.glob(f"{name}/**/"), reverse=True):
            path.rmdir()
        assert not (hierarchy / name).exists()


def needs(hierarchy: Path) -> None:
    if not (hierarchy / "cgroup.procs").exists():
        pytest.skip(f"this kernel has no v1 hierarchy at {hierarchy}")


def test_joined_and_removed(box: Box, group: str) -> None:
    needs(V1)
    path = V1 / group / "inner"
    box.host += [("CGROUP_DIR", 10, str(path), i.CGROUP_NEW), ("WRITE", 10, "pids.max", b"50", 0)]
    box.early.insert(0, ("CGROUP_ENTER", 10))
    box.delete += [("CGROUP_KILL", str(path), 9), ("CGROUP_REMOVE", str(path), 5000)]
    box.mount("proc", "/proc")
    assert f":pids:/{group}/inner\n" in box.output("cat /proc/self/cgroup; sleep 100 &")
    assert not path.exists()
    (V1 / group).rmdir()


def test_group_in_use_is_refused_and_left_alone(box: Box, group: str) -> None:
    needs(V1)
    path = V1 / group
    path.mkdir()
    with subprocess.Popen(["sleep", "100"]) as other:
        (path / "cgroup.procs").write_text(str(other.pid))
        box.host.append(("CGROUP_DIR", 10, str(path), i.CGROUP_NEW))
        box.delete += [("CGROUP_KILL", str(path), 9), ("CGROUP_REMOVE", str(path), 5000)]
        result = box.run()
        assert result.stderr.startswith("host[0]: container's cgroup is not empty: ")
        assert other.poll() is None
        other.kill()
    path.rmdir()


def test_frozen_group(box: Box, group: str) -> None:
    needs(FREEZER)
    path = FREEZER / group
    path.mkdir()
    (path / "freezer.state").write_text("FROZEN")
    box.host.append(("CGROUP_DIR", 10, str(path), i.CGROUP_NEW))
    assert box.run().stderr == f"host[0]: container's cgroup is frozen: {path}\n"
    path.rmdir()


def test_frozen_container_is_removed(box: Box, group: str) -> None:
    needs(FREEZER)
    path = FREEZER / group
    box.host.append(("CGROUP_DIR", 10, str(path), 0))
    box.after_clone += [
        ("CGROUP_ENTER", 10),
        ("FREEZE", str(path), 1, 1, 5000),
        ("WRITE", i.NONE, "/no/such/file", b"x", 0),
    ]
    box.delete.append(("CGROUP_REMOVE", str(path), 5000))
    # undo kills first, and a frozen process only dies when its group is thawed
    box.delete.insert(0, ("FREEZE", str(path), 1, 0, 5000))
    assert "/no/such/file" in box.run().stderr
    wait_until(lambda: not path.exists())


def test_cpuset_is_filled_from_above(box: Box, group: str) -> None:
    needs(CPUSET)
    path = CPUSET / group / "inner"
    box.host.append(("CGROUP_DIR", 10, str(path), i.CGROUP_CPUSET))
    box.early.insert(0, ("CGROUP_ENTER", 10))
    box.delete.append(("CGROUP_REMOVE", str(path), 5000))
    box.mount("proc", "/proc")
    assert f":cpuset:/{group}/inner\n" in box.output("cat /proc/self/cgroup")
    (CPUSET / group).rmdir()


def test_limit_out_of_range_names_the_file(box: Box, group: str) -> None:
    needs(V1)
    path = V1 / group
    box.host += [("CGROUP_DIR", 10, str(path), 0), ("WRITE", 10, "pids.max", b"many", 0)]
    box.delete.append(("CGROUP_REMOVE", str(path), 5000))
    assert box.run().stderr == 'host[1]: write "many" to pids.max: Invalid argument\n'
    assert not path.exists()
