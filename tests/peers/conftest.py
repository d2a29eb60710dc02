"""Engines of others, private to the tests, with the runtime under test below them.

`WHERRY_TEST_RUNTIME=runc` runs the same tests on a runtime that these engines know.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.system.bundle import make_rootfs
from tests.system.runtimes import cgroups_named, default_runtime, kill_orphans, mounts_below

from .engines import Daemon, Engine, kill_users

if TYPE_CHECKING:
    from collections.abc import Iterator

PR_SET_CHILD_SUBREAPER = 36
IMAGE = "localhost/busybox:latest"
PARENTS = "docker", "libpod_parent", "default", "other"
# The engines raise these for containers, which needs CAP_SYS_RESOURCE.
LIMITS = "nofile=1024:1024", "nproc=1024:1024"
PASSWD = "root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1001::/tmp:/bin/sh\n"
GROUP = "root:x:0:\nworkers:x:1001:\nextra:x:1002:worker\n"

CONTAINERS_CONF = """\
[containers]
default_ulimits = [{limits}]
log_driver = "k8s-file"
netns = "none"
userns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime_supports_json = ["{name}"]
runtime_supports_nocgroup = ["{name}"]
[engine.runtimes]
{name} = ["{path}"]
"""
CONTAINERD_CONFIG = """\
version = 2
root = "{place}/root"
state = "{place}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{place}/socket"
[ttrpc]
address = "{place}/ttrpc"
"""


@pytest.fixture(scope="session", autouse=True)
def subreaper() -> None:
    """Become the parent of what engines leave behind, to find it at the end."""
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


@pytest.fixture(scope="session")
def runtime_path() -> str:
    """The runtime under test: `WHERRY_TEST_RUNTIME`, else ours."""
    path = shutil.which(default_runtime())
    assert path, f"{default_runtime()} is not there: run `make setup`"
    return str(Path(path).absolute())


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A busybox root directory with an ordinary user in it."""
    path = tmp_path_factory.mktemp("image") / "rootfs"
    make_rootfs(path)
    (path / "etc/passwd").write_text(PASSWD)
    (path / "etc/group").write_text(GROUP)
    (path / "etc/text").write_text("not a program\n")
    return path


@pytest.fixture(scope="session")
def layer(rootfs: Path) -> Path:
    """The same as an archive for `import`."""
    path = rootfs.parent / "layer.tar"
    subprocess.run(["tar", "-C", rootfs, "--numeric-owner", "-cf", path, "."], check=True)
    return path


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"wp{uuid4().hex[:10]}"


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A module's directory. What is left in it or of it at the end fails the last test."""
    path = Path(tempfile.mkdtemp(prefix="wherry-peers-"))
    path.chmod(0o755)
    yield path
    left = {
        "processes": [*kill_users(path), *kill_orphans()],
        "mounts": mounts_below(path),
    }
    remove_empty_parents()
    for mount in reversed(mounts_below(path)):
        subprocess.run(["umount", "--lazy", mount], check=False)
    shutil.rmtree(path, ignore_errors=True)
    leaks = {kind: things for kind, things in left.items() if things}
    assert not leaks, f"left behind: {leaks}"


@pytest.fixture(scope="module")
def scratch(place: Path) -> Path:
    """Where streams of commands go."""
    path = place / "streams"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def podman_conf(place: Path, runtime_path: str) -> Path:
    """A containers.conf that replaces the system's."""
    path = place / "containers.conf"
    limits = ", ".join(f'"{limit}"' for limit in LIMITS)
    path.write_text(containers_conf(runtime_path, limits))
    return path


@pytest.fixture(scope="module")
def podman(place: Path, scratch: Path, podman_conf: Path, layer: Path, runtime_path: str) -> Iterator[Engine]:
    """podman with a store of its own, and the image in it."""
    folders = [f"--{option}={place / option}" for option in ("root", "runroot", "tmpdir", "network-config-dir")]
    engine = Engine(
        *["podman", "--storage-driver=overlay", f"--runtime={runtime_path}", *folders],
        scratch=scratch,
        env={"CONTAINERS_CONF": str(podman_conf)},
    )
    engine("import", layer, IMAGE)
    yield engine
    engine("rm", "--force", "--all", "--time=0")


@pytest.fixture(scope="module")
def containerd(place: Path, scratch: Path, rootfs: Path, runtime_path: str) -> Iterator[Engine]:
    """containerd with a store and sockets of its own, and the image in it; gives `ctr`."""
    config = place / "config.toml"
    config.write_text(CONTAINERD_CONFIG.format(place=place))
    daemon = Daemon(["containerd", "--config", config], place / "containerd.log")
    engine = Engine("ctr", "--address", place / "socket", scratch=scratch)
    try:
        daemon.wait_for(engine, "version")
        archive = make_archive(rootfs, place / "image")
        engine("images", "import", "--base-name", "localhost/busybox", archive)
        yield engine
        for namespace in ("default", "other"):
            for task in engine.output("--namespace", namespace, "tasks", "list", "--quiet").split():
                engine("--namespace", namespace, "tasks", "delete", "--force", task)
    finally:
        daemon.stop()


@pytest.fixture(scope="module")
def docker(place: Path, scratch: Path, layer: Path, runtime_path: str) -> Iterator[Engine]:
    """dockerd (with its containerd) with a store and sockets of its own, and the image in it; gives `docker`."""
    yield from dockerd(place, scratch, layer, runtime_path)


def dockerd(
    place: Path, scratch: Path, layer: Path, runtime_path: str, *before: str, **settings: str
) -> Iterator[Engine]:
    """`before` are words of the daemon's command line before its own, `settings` are added to its configuration."""
    config = place / "daemon.json"
    document = {"runtimes": {"tested": {"path": runtime_path}}, "default-runtime": "tested", **settings}
    config.write_text(json.dumps(document))
    socket = f"unix://{place}/docker.sock"
    options = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
    limits = [f"--default-ulimit={limit}" for limit in LIMITS]
    folders = [f"--data-root={place}/data", f"--exec-root={place}/exec", f"--pidfile={place}/docker.pid"]
    command = [*before, "dockerd", f"--config-file={config}", f"--host={socket}", *folders, *options, *limits]
    daemon = Daemon(command, place / "dockerd.log")
    engine = Engine("docker", f"--config={place}/client", f"--host={socket}", scratch=scratch)
    try:
        daemon.wait_for(engine, "version")
        engine("import", layer, IMAGE)
        yield engine
        for container in engine.output("ps", "--all", "--quiet").split():
            engine("rm", "--force", container)
    finally:
        daemon.stop()
        for mount in mounts_below(place / "exec/netns"):  # of the host's network; dockerd leaves it
            subprocess.run(["umount", mount], check=True)


def remove_empty_parents() -> None:
    """Engines leave the groups in which they made those of containers."""
    for name in PARENTS:
        for path in cgroups_named(name):
            for folder in (path / "conmon", path) if path.name == name else ():
                with suppress(OSError):
                    folder.rmdir()


def containers_conf(runtime_path: str, limits: str = "") -> str:
    return CONTAINERS_CONF.format(limits=limits, name=Path(runtime_path).name, path=runtime_path)


def make_archive(rootfs: Path, folder: Path) -> Path:
    """An OCI image archive of a root directory."""
    subprocess.run(["umoci", "init", "--layout", folder], check=True, capture_output=True)
    for step in (["new", "--image", f"{folder}:latest"], ["insert", "--image", f"{folder}:latest", rootfs, "/"]):
        subprocess.run(["umoci", *step], check=True, capture_output=True)
    archive = folder.with_suffix(".tar")
    subprocess.run(["tar", "-C", folder, "-cf", archive, "."], check=True)
    return archive
