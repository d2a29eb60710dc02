"""cgroup v2 with every controller, by the cgroupfs driver: limits as the container reads them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.runtimes import cgroups_named, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from system.bundle import Bundle
    from system.runtimes import Container

CGROUP = Path("/sys/fs/cgroup")
MIB = 1 << 20
LIMITS = {
    "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB},
    "cpu": {"shares": 512, "quota": 20000, "period": 50000, "burst": 10000, "cpus": "0", "mems": "0"},
    "pids": {"limit": 31},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}],
    "unified": {"memory.high": str(60 * MIB), "cgroup.max.depth": "3"},
}
FILES = {
    "memory.max": str(64 * MIB),
    "memory.swap.max": str(32 * MIB),
    "memory.low": str(32 * MIB),
    "memory.high": str(60 * MIB),
    "cpu.weight": "59",
    "cpu.max": "20000 50000",
    "cpu.max.burst": "10000",
    "cpuset.cpus": "0",
    "cpuset.mems": "0",
    "pids.max": "31",
    "hugetlb.2MB.max": str(4 * MIB),
    "cgroup.max.depth": "3",
}


@pytest.fixture
def group(bundle: Bundle, token: str) -> Path:
    bundle.linux["cgroupsPath"] = f"/{token}"
    return CGROUP / token


def show_cgroups(bundle: Bundle, *options: str) -> None:
    """The container has its own group on /sys/fs/cgroup."""
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", *options)
    bundle.namespace("cgroup")


def test_the_machine_is_what_we_came_for() -> None:
    controllers = (CGROUP / "cgroup.controllers").read_text().split()
    assert {"cpuset", "cpu", "io", "memory", "hugetlb", "pids"} <= set(controllers)


def test_limits_from_inside(container: Container, bundle: Bundle, group: Path) -> None:
    bundle.linux["resources"].update(LIMITS)
    show_cgroups(bundle, "ro")
    files = " ".join(FILES)
    shown = container.output(
        f"cd /sys/fs/cgroup && for f in {files}; do echo $f=$(cat $f); done; cat /proc/self/cgroup"
    )
    lines = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    assert lines == FILES
    assert shown.splitlines()[-1] == "0::/"
    assert not group.exists()


def test_it_is_born_in_its_group(container: Container, bundle: Bundle, group: Path) -> None:
    bundle.args("sleep", "1000")
    container.run("--detach")
    assert (group / "cgroup.procs").read_text().split() == [str(container.pid)]
    shown = container.exec("cat", "/proc/self/cgroup").stdout
    assert shown == f"0::/{group.name}\n"


def test_devices(container: Container, bundle: Bundle, group: Path) -> None:
    bundle.process["capabilities"] = {name: ["CAP_MKNOD"] for name in ("bounding", "effective", "permitted", "ambient")}
    fuse = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "r"}
    bundle.linux["resources"]["devices"] = [{"allow": False, "access": "rwm"}, fuse]
    bundle.shell(
        "cd /tmp; mknod fuse c 10 229; mknod mem c 1 1; mknod zero c 1 5;"
        "head -c 1 zero | wc -c; (: <fuse) && echo readable; (: >fuse) || echo unwritable; (: <mem) || echo denied"
    )
    assert container.run().stdout.split() == ["1", "readable", "unwritable", "denied"]


def test_memory_is_bounded(container: Container, bundle: Bundle, group: Path) -> None:
    bundle.linux["resources"].update(memory={"limit": 16 * MIB, "swap": 16 * MIB})
    bundle.shell("head -c 100m /dev/zero | tail -c 90m >/dev/null; echo status $?")
    container.run(check=False)
    assert "status 0" not in container.stdout


def test_a_limit_of_no_processes(container: Container, bundle: Bundle, group: Path) -> None:
    bundle.linux["resources"].update(pids={"limit": 0})
    bundle.args("cat", "/proc/self/stat")
    assert container.run().stdout


def test_throttle(container: Container, bundle: Bundle, group: Path) -> None:
    major, minor = (Path("/sys/block/vda/dev").read_text().strip()).split(":")
    entry = {"major": int(major), "minor": int(minor), "rate": 1 << 20}
    bundle.linux["resources"].update(blockIO={"throttleReadBpsDevice": [entry], "throttleWriteIOPSDevice": [entry]})
    container.create()
    assert (group / "io.max").read_text() == f"{major}:{minor} rbps={1 << 20} wbps=max riops=max wiops={1 << 20}\n"


@pytest.mark.parametrize(
    ("resources", "named"),
    [
        ({"unified": {"nothing.max": "1"}}, "nothing"),
        ({"unified": {"../memory.max": "1"}}, "../memory.max"),
        ({"network": {"classID": 5}}, "classID"),
        ({"memory": {"swap": 5}}, "swap"),
        ({"cpu": {"realtimeRuntime": 5}}, "realtimeRuntime"),
        ({"unified": {"cpu.max": "gibberish"}}, "cpu.max"),
    ],
)
def test_refused(container: Container, bundle: Bundle, group: Path, resources: Any, named: str) -> None:
    bundle.linux["resources"].update(resources)
    refused = container.create(check=False)
    assert refused.status != 0
    assert named in refused.stderr
    assert not group.exists()


def test_a_group_with_processes_is_refused(
    make_container: Callable[..., Container], bundle: Bundle, group: Path
) -> None:
    bundle.args("sleep", "1000")
    first, second = make_container(), make_container()
    first.run("--detach")
    refused = second.create(check=False)
    assert refused.status != 0
    assert "not empty" in refused.stderr
    assert first.status == "running"


def test_a_frozen_group_is_refused(container: Container, group: Path) -> None:
    group.mkdir()
    (group / "cgroup.freeze").write_text("1")
    refused = container.create(check=False)
    assert "frozen" in refused.stderr
    group.rmdir()


def test_pause_kill_delete(container: Container, bundle: Bundle, group: Path) -> None:
    bundle.args("sleep", "1000")
    container.run("--detach")
    container.runtime("pause", container.id)
    assert "frozen 1" in (group / "cgroup.events").read_text()
    assert container.status == "paused"
    container.runtime("resume", container.id)
    assert container.status == "running"
    container.runtime("pause", container.id)
    container.kill("KILL")
    container.wait("stopped")
    container.delete()
    assert not group.exists()


def test_delete_of_a_frozen_tree(container: Container, bundle: Bundle, group: Path) -> None:
    """Groups that the container has made below its own go with it, frozen or not."""
    show_cgroups(bundle, "rw")
    bundle.shell("mkdir -p /sys/fs/cgroup/a/b; sleep 1000 & echo $! >/sys/fs/cgroup/a/b/cgroup.procs; sleep 1000")
    container.run("--detach")
    wait_until(lambda: (group / "a/b/cgroup.procs").exists() and (group / "a/b/cgroup.procs").read_text())
    (group / "a/cgroup.freeze").write_text("1")
    container.delete("--force")
    assert not group.exists()


def test_delegation(container: Container, bundle: Bundle, group: Path) -> None:
    show_cgroups(bundle, "rw")
    bundle.map_root(100000)
    bundle.shell("mkdir /sys/fs/cgroup/child && echo $$ >/sys/fs/cgroup/child/cgroup.procs && cat /proc/self/cgroup")
    assert container.run().stdout == "0::/child\n"
    assert not group.exists()


def test_no_delegation_of_a_read_only_mount(container: Container, bundle: Bundle, group: Path) -> None:
    show_cgroups(bundle, "ro")
    bundle.map_root(100000)
    container.create()
    assert os.stat(group).st_uid == 0


def test_an_inner_group(container: Container, bundle: Bundle, group: Path) -> None:
    bundle.config["annotations"] = {"run.oci.delegate-cgroup": "payload"}
    bundle.linux["resources"].update(memory={"limit": 64 * MIB})
    bundle.args("sleep", "1000")
    container.run("--detach")
    assert (group / "memory.max").read_text() == f"{64 * MIB}\n"
    assert (group / "payload/cgroup.procs").read_text().split() == [str(container.pid)]
    container.delete("--force")
    assert not group.exists()


def test_nested_path(container: Container, bundle: Bundle, token: str) -> None:
    bundle.linux["cgroupsPath"] = f"/{token}/a/b"
    bundle.linux["resources"].update(memory={"limit": 64 * MIB})
    container.create()
    assert (CGROUP / token / "a/b/memory.max").read_text() == f"{64 * MIB}\n"
    container.delete("--force")
    for path in (CGROUP / token / "a", CGROUP / token):
        path.rmdir()


def test_update_and_stats(container: Container, bundle: Bundle, group: Path) -> None:
    bundle.args("sleep", "1000")
    bundle.linux["resources"].update(memory={"limit": 64 * MIB, "swap": 96 * MIB}, pids={"limit": 31})
    container.run("--detach")
    container.runtime("update", "--memory", "32m", "--cpu-share", "1024", container.id)
    assert (group / "memory.max").read_text() == f"{32 * MIB}\n"
    assert (group / "memory.swap.max").read_text() == f"{64 * MIB}\n"
    assert (group / "cpu.weight").read_text() == "100\n"
    refused = container.runtime("update", "--resources", "-", container.id, input=REFUSED, check=False)
    assert refused.status != 0
    assert (group / "pids.max").read_text() == "31\n"
    event = json.loads(container.runtime("events", "--stats", container.id).stdout)
    assert event["data"]["memory"]["usage"]["limit"] == 32 * MIB
    assert event["data"]["pids"] == {"current": 1, "limit": 31}
    assert event["data"]["cpu"]["usage"]["total"] > 0


def test_events(container: Container, bundle: Bundle, group: Path, place: Path) -> None:
    """A process killed for want of memory is an event; the end of the container ends the events."""
    bundle.linux["resources"].update(memory={"limit": 16 * MIB, "swap": 16 * MIB})
    bundle.shell("while [ ! -e /go ]; do sleep 0.1; done; head -c 100m /dev/zero | tail -c 90m >/dev/null; sleep 1000")
    container.run("--detach")
    with (place / "events").open("w") as output:
        events = subprocess.Popen(container.runtime.command("events", container.id), stdout=output)
    wait_until(lambda: (place / "events").read_text())
    (bundle.rootfs / "go").touch()
    wait_until(lambda: '"oom"' in (place / "events").read_text())
    container.kill("KILL")
    container.wait("stopped")
    assert events.wait(60) == 0
    first, *_, last = [json.loads(line) for line in (place / "events").read_text().splitlines()]
    assert first["data"]["memory"]["usage"]["limit"] == 16 * MIB
    assert {first["id"], last["id"]} == {container.id}


REFUSED = json.dumps({"pids": {"limit": 5}, "cpu": {"cpus": "4095"}})


def test_nothing_is_left_after_all_that(token: str) -> None:
    assert cgroups_named("wt") == []
