"""What the hot verbs of `wherry` load, module by module: every import is paid at each start."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import wherry

SOURCE = str(Path(wherry.__file__).parents[1])
PACKAGES = str(Path(pytest.__file__).parents[1])
SCRIPT = """
import sys
before = set(sys.modules)
sys.path += sys.argv[1:3]
del sys.argv[1:3]
import os, posix
import wherry.start
sys.stdout.write = lambda text: len(text)
def report(*_):
    loaded = sorted(set(sys.modules) - before)
    posix.write(2, "\\n".join(loaded).encode())
    os._exit(0)
posix._exit = os.execve = report
sys.argv[0] = os.environ["PROGRAM"]
wherry.start.command(sys.argv[1:])
"""
HEAVY = {
    "argparse", "asyncio", "contextlib", "ctypes", "dataclasses", "enum", "gettext", "hashlib",
    "inspect", "json", "locale", "logging", "pathlib", "re", "shutil", "signal", "socket", "sqlite3", "ssl",
    "subprocess", "tempfile",
    "threading", "typing", "urllib3", "warnings",
}  # fmt: skip
# Names without "wherry.".
COMMON = """
wherry cli cli.arguments cli.commands cli.errors cli.main cli.parser engine engine.container engine.engine
engine.monitor_folder engine.names engine.networking engine.paths engine.processes engine.records errors oci
oci.digest oci.json_text oci.reference start store store.base store.blobs store.database store.images
store.layers store.layout store.lock store.overlay store.schema store.snapshots store.store
"""
PS = "cli.commands.ps cli.output"
MAKE = """
cli.cidfile cli.create_flags engine.document engine.options engine.spec engine.users oci.capability_names oci.image
oci.platform runtime runtime.capabilities runtime.seccomp runtime.seccomp.default store.ownership
"""
CREATE = "cli.commands.create cli.output"
RUN = """
cli.commands.run cli.foreground cli.images engine.attach engine.launch engine.starting network
network.resolver_files oci.check plan plan.encode plan.instructions runtime.cgroup
runtime.cgroup.group runtime.cgroup.layout runtime.cgroup.resources
runtime.compile runtime.compile.cgroups runtime.compile.container runtime.compile.devices
runtime.compile.draft runtime.compile.environment runtime.compile.hooks runtime.compile.meta
runtime.compile.mount_options runtime.compile.mounts runtime.compile.namespaces runtime.compile.network
runtime.compile.process runtime.compile.rootfs runtime.compile.seccomp runtime.host runtime.launch
runtime.options runtime.paths runtime.seccomp.filter runtime.state_folder store.rootdir
"""
BRIDGE = """
network.addresses network.base network.bridge network.conntrack network.container_side network.links
network.namespaces network.netlink network.nftables network.ports network.rules network.sysctl
"""
# Which of these a host needs depends on its control groups.
BY_HOST = {"runtime.cgroup.v1", "runtime.cgroup.v2", "runtime.cgroup.device_filter"}


def loaded(tmp_path, *words):
    """The modules that a command line had loaded at its end."""
    command = [sys.executable, "-I", "-S", "-E", "-c", SCRIPT, SOURCE, PACKAGES]
    folders = ["--root", str(tmp_path / "root"), "--run-root", str(tmp_path / "run")]
    env = {"WHERRY_NO_CACHE": "1", "PROGRAM": str(Path(sys.executable).parent / "wherry"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([*command, *folders, *words], capture_output=True, text=True, env=env, check=True)
    return set(done.stderr.split())


def ours(names):
    """Without the package's own name, and what depends on the host."""
    return {name.removeprefix("wherry.") for name in names if name.partition(".")[0] == "wherry"} - BY_HOST


def words(*texts):
    return {word for text in texts for word in text.split()}


@pytest.fixture
def image(tmp_path):
    """An image with busybox; gives its name."""
    root = tmp_path / "image"
    for folder in ("bin", "dev", "etc", "proc", "sys"):
        (root / folder).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for applet in ("true", "sleep"):
        (root / "bin" / applet).symlink_to("busybox")
    with tarfile.open(tmp_path / "image.tar", "w") as archive:
        archive.add(root, ".")
    wherry_command(tmp_path, "import", str(tmp_path / "image.tar"), "box:latest")
    return "box:latest"


def wherry_command(tmp_path, *command):
    folders = ["--root", tmp_path / "root", "--run-root", tmp_path / "run"]
    subprocess.run([Path(sys.executable).parent / "wherry", *folders, *command], check=True, capture_output=True)


def test_ps(tmp_path, image):
    assert ours(loaded(tmp_path, "ps")) == words(COMMON, PS)


def test_create(tmp_path, image):
    assert ours(loaded(tmp_path, "create", image, "true")) == words(COMMON, MAKE, CREATE)


def test_run(tmp_path, image):
    names = loaded(tmp_path, "run", "--rm", "--network", "none", image, "true")
    assert ours(names) == words(COMMON, MAKE, RUN)


def test_run_with_the_default_bridge(tmp_path, image):
    assert ours(loaded(tmp_path, "run", "--rm", image, "true")) == words(COMMON, MAKE, RUN, BRIDGE)


def test_heavy_modules_stay_out(tmp_path, image):
    wherry_command(tmp_path, "run", "-d", "--name", "up", "--network", "none", image, "sleep", "1000")
    try:
        for line in (["ps"], ["exec", "up", "true"], ["create", image], ["kill", "up"]):
            assert not loaded(tmp_path, *line) & HEAVY, line
    finally:
        wherry_command(tmp_path, "rm", "-f", "up")
