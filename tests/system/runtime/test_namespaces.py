"""linux.namespaces: new ones, the host's, joined ones; user and time namespaces with their settings."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..runtimes import Container

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = "wherry-runtime"
FILES = {"pid": "pid", "network": "net", "mount": "mnt", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup", "user": "user"}
OLD = ["pid", "network", "mount", "ipc", "uts", "cgroup"]


def own(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{FILES.get(kind, kind)}")


def inside(container: Container, kind: str) -> str:
    return container.output(f"readlink /proc/self/ns/{FILES.get(kind, kind)}").strip()


@pytest.mark.parametrize("kind", OLD)
def test_a_new_namespace(container: Container, kind: str) -> None:
    container.bundle.namespace(kind)
    assert inside(container, kind) != own(kind)


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "cgroup", "pid"])
def test_the_namespace_of_the_host(container: Container, kind: str) -> None:
    container.bundle.without_namespace(kind)
    container.bundle.linux["maskedPaths"] = []
    if kind == "uts":
        del container.bundle.config["hostname"]
    if kind == "ipc":
        container.bundle.config["mounts"] = [m for m in container.bundle.mounts if m["type"] != "mqueue"]
    assert inside(container, kind) == own(kind)


def test_all_namespaces_are_the_hosts_but_the_mount_namespace(container: Container) -> None:
    container.bundle.linux["namespaces"] = [{"type": "mount"}]
    del container.bundle.config["hostname"]
    container.bundle.config["mounts"] = [m for m in container.bundle.mounts if m["type"] != "mqueue"]
    assert inside(container, "pid") == own("pid")


@pytest.fixture
def other(make_container, make_bundle) -> Container:
    """A running container whose namespaces are joined."""
    bundle = make_bundle()
    bundle.namespace("cgroup").args("sleep", "1000")
    made = make_container(bundle)
    made.create()
    made.start()
    return made


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup"])
def test_joining_a_namespace(container: Container, other: Container, kind: str) -> None:
    path = f"/proc/{other.pid}/ns/{FILES[kind]}"
    container.bundle.namespace(kind, path)
    if kind == "uts":
        del container.bundle.config["hostname"]
    assert inside(container, kind) == os.readlink(path)


def test_joining_a_pid_namespace_shows_its_processes(container: Container, other: Container) -> None:
    container.bundle.namespace("pid", f"/proc/{other.pid}/ns/pid")
    container.bundle.shell("echo $$; tr '\\0' ' ' </proc/1/cmdline")
    pid, command = container.output().splitlines()
    assert int(pid) > 1
    assert command == "sleep 1000 "


def test_joining_several_at_once(container: Container, other: Container) -> None:
    kinds = ["pid", "network", "ipc", "uts", "cgroup"]
    for kind in kinds:
        container.bundle.namespace(kind, f"/proc/{other.pid}/ns/{FILES[kind]}")
    del container.bundle.config["hostname"]
    container.bundle.shell("; ".join(f"readlink /proc/self/ns/{FILES[kind]}" for kind in kinds))
    assert container.output().splitlines() == [os.readlink(f"/proc/{other.pid}/ns/{FILES[kind]}") for kind in kinds]


def test_joining_a_bound_namespace(container: Container, token: str) -> None:
    subprocess.run(["ip", "netns", "add", token], check=True)
    try:
        container.bundle.namespace("network", f"/run/netns/{token}")
        found = inside(container, "network")
        assert found == f"net:[{Path(f'/run/netns/{token}').stat().st_ino}]"
    finally:
        subprocess.run(["ip", "netns", "delete", token], check=True)


def test_a_container_in_the_hosts_pid_namespace_is_killed(container: Container) -> None:
    container.bundle.without_namespace("pid").shell("sleep 1000 & sleep 1000")
    container.create()
    container.start()
    container.kill("KILL")
    container.wait()


@pytest.mark.parametrize("kind", ["network", "pid", "ipc"])
def test_the_same_kind_twice(container: Container, kind: str, only) -> None:
    only(OURS, "runc")
    container.bundle.linux["namespaces"].append({"type": kind})
    result = container.create(check=False)
    assert result.status == 1
    assert not container.exists


@pytest.mark.parametrize("path", ["/nothing/there", "/etc/passwd", "/proc/self/ns/uts"])
def test_a_path_that_is_not_such_a_namespace(container: Container, path: str) -> None:
    container.bundle.namespace("network", path)
    result = container.create(check=False)
    assert result.status == 1
    assert not container.exists


def test_an_unknown_kind(container: Container) -> None:
    container.bundle.linux["namespaces"].append({"type": "galaxy"})
    assert container.create(check=False).status == 1
    assert not container.exists


# User namespaces


def test_maps(container: Container) -> None:
    container.bundle.map_root(100000, 65536)
    container.bundle.shell("cat /proc/self/uid_map /proc/self/gid_map; id -u")
    assert container.output().split() == ["0", "100000", "65536"] * 2 + ["0"]


def test_several_ranges(container: Container) -> None:
    container.bundle.map_root()
    ranges = [(0, 100000, 1000), (1000, 200000, 1), (2000, 300000, 10)]
    maps = [dict(zip(("containerID", "hostID", "size"), row, strict=True)) for row in ranges]
    container.bundle.linux["uidMappings"] = container.bundle.linux["gidMappings"] = maps
    container.bundle.args("cat", "/proc/self/uid_map")
    assert [tuple(map(int, line.split())) for line in container.output().splitlines()] == ranges


def test_the_process_is_the_mapped_user_outside(container: Container) -> None:
    container.bundle.map_root().args("sleep", "1000").process["user"] = {"uid": 5, "gid": 6}
    container.create()
    container.start()
    status = Path(f"/proc/{container.pid}/status").read_text()
    assert "Uid:\t100005\t" in status
    assert "Gid:\t100006\t" in status


def test_root_inside_owns_its_files(container: Container) -> None:
    container.bundle.map_root().shell("touch /made; mkdir /sub; chown 7:7 /sub; stat -c %u /made")
    everything = ["CAP_CHOWN", "CAP_DAC_OVERRIDE"]
    container.bundle.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), everything)
    assert container.output() == "0\n"
    assert (container.bundle.rootfs / "made").stat().st_uid == 100000
    assert (container.bundle.rootfs / "sub").stat().st_uid == 100007


def test_other_namespaces_belong_to_the_user_namespace(container: Container) -> None:
    """Capabilities count there: the host name can be set."""
    container.bundle.map_root().shell("hostname inside && hostname")
    container.bundle.process["capabilities"] = {
        name: ["CAP_SYS_ADMIN"] for name in ("bounding", "effective", "permitted")
    }
    assert container.output() == "inside\n"


def test_additional_groups_in_a_user_namespace(container: Container) -> None:
    container.bundle.map_root().process["user"] = {"uid": 5, "gid": 6, "additionalGids": [7, 8]}
    assert {"7", "8"} <= set(container.output("id -G").split())


def test_every_usual_mount_in_a_user_namespace(container: Container) -> None:
    container.bundle.map_root().args("cut", "-d ", "-f5", "/proc/self/mountinfo")
    assert {"/proc", "/sys", "/dev", "/dev/pts", "/dev/mqueue", "/dev/shm"} <= set(container.output().split())


def test_maps_without_a_user_namespace(container: Container, only) -> None:
    only(OURS, "runc")
    container.bundle.linux["uidMappings"] = [{"containerID": 0, "hostID": 1000, "size": 1}]
    if container.runtime.dialect == "runc":  # 1.1 passes over them
        return
    assert container.create(check=False).status == 1


def test_joining_a_user_namespace(container: Container, make_container, make_bundle) -> None:
    bundle = make_bundle()
    bundle.map_root().args("sleep", "1000")
    other = make_container(bundle)
    other.create()
    other.start()
    container.bundle.map_root()
    container.bundle.namespace("user", f"/proc/{other.pid}/ns/user")
    if container.runtime.dialect != "runc":
        del container.bundle.linux["uidMappings"], container.bundle.linux["gidMappings"]
    container.bundle.shell("readlink /proc/self/ns/user; id -u; cat /proc/self/uid_map")
    assert container.output().split() == [os.readlink(f"/proc/{other.pid}/ns/user"), "0", "0", "100000", "65536"]


def test_joining_the_network_of_a_user_namespace(container: Container, make_container, make_bundle) -> None:
    """As the containers of a pod with its own user namespace do."""
    bundle = make_bundle()
    bundle.map_root().args("sleep", "1000")
    other = make_container(bundle)
    other.create()
    other.start()
    container.bundle.map_root()
    for kind in ("user", "network", "ipc", "uts"):
        container.bundle.namespace(kind, f"/proc/{other.pid}/ns/{FILES[kind]}")
    del container.bundle.config["hostname"]
    if container.runtime.dialect != "runc":
        del container.bundle.linux["uidMappings"], container.bundle.linux["gidMappings"]
    container.bundle.shell("readlink /proc/self/ns/net")
    assert container.output().strip() == os.readlink(f"/proc/{other.pid}/ns/net")


# Time namespaces


@pytest.fixture
def offsets(container: Container, only) -> Iterator[None]:
    only(OURS)
    container.bundle.namespace("time")
    container.bundle.linux["timeOffsets"] = {
        "monotonic": {"secs": 1000, "nanosecs": 5},
        "boottime": {"secs": -7, "nanosecs": 0},
    }
    yield


def test_time_offsets(container: Container, offsets: None) -> None:
    container.bundle.shell("cat /proc/self/timens_offsets; cat /proc/uptime")
    rows = [line.split() for line in container.output().splitlines()]
    assert rows[0] == ["monotonic", "1000", "5"]
    assert rows[1] == ["boottime", "-7", "0"]


def test_a_new_time_namespace_without_offsets(container: Container, only) -> None:
    only(OURS)
    container.bundle.namespace("time")
    assert inside(container, "time") != own("time")


def test_time_offsets_in_a_user_namespace(container: Container, offsets: None) -> None:
    container.bundle.map_root().args("cat", "/proc/self/timens_offsets")
    assert container.output().split()[:3] == ["monotonic", "1000", "5"]


def test_joining_a_time_namespace(container: Container, offsets: None, make_container, make_bundle) -> None:
    container.bundle.args("sleep", "1000")
    container.create()
    container.start()
    bundle = make_bundle()
    path = f"/proc/{container.pid}/ns/time"
    second = make_container(bundle)
    bundle.namespace("time", path)
    assert inside(second, "time") == os.readlink(path)


def test_offsets_without_the_namespace(container: Container, offsets: None) -> None:
    container.bundle.without_namespace("time")
    result = container.create(check=False)
    assert result.status == 1
    assert "timeOffsets" in result.stderr


def test_exec_is_in_the_time_namespace(container: Container, offsets: None) -> None:
    container.bundle.args("sleep", "1000")
    container.create()
    container.start()
    assert container.exec("cat", "/proc/self/timens_offsets").stdout.split()[1] == "1000"
