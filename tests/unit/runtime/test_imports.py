"""What the hot verbs load, module by module: every import is paid at each start of a container."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import wherry
from wherry.runtime.default_config import default_config

SOURCE = str(Path(wherry.__file__).parents[1])
# What the interpreter itself loads with -I -S -E.
SCRIPT = """
import sys
before = set(sys.modules)
sys.path.append(sys.argv.pop(1))
import wherry.start
import posix
def report(*_):
    loaded = sorted(set(sys.modules) - before)
    posix.write(3, "\\n".join(loaded).encode())
    posix._exit(0)
posix.execv = report
sys.argv[0] = "/nonexistent/wherry-runtime"
sys.exit(wherry.start.runtime(sys.argv[1:]))
"""

STANDARD = {"__future__", "_json", "_struct", "fcntl", "gc", "math", "posix", "zlib"}

COMMON = {
    "wherry",
    "wherry.errors",
    "wherry.oci",
    "wherry.oci.capability_names",
    "wherry.oci.check",
    "wherry.oci.config",
    "wherry.oci.json_text",
    "wherry.plan",
    "wherry.plan.encode",
    "wherry.plan.instructions",
    "wherry.runtime",
    "wherry.runtime.arguments",
    "wherry.runtime.capabilities",
    "wherry.runtime.cgroup",
    "wherry.runtime.cgroup.group",
    "wherry.runtime.cgroup.layout",
    "wherry.runtime.command_line",
    "wherry.runtime.commands",
    "wherry.runtime.commands.create",
    "wherry.runtime.commands.terminal",
    "wherry.runtime.compile",
    "wherry.runtime.compile.container",
    "wherry.runtime.compile.cgroups",
    "wherry.runtime.compile.devices",
    "wherry.runtime.compile.environment",
    "wherry.runtime.compile.hooks",
    "wherry.runtime.compile.meta",
    "wherry.runtime.compile.mounts",
    "wherry.runtime.compile.namespaces",
    "wherry.runtime.compile.process",
    "wherry.runtime.compile.rootfs",
    "wherry.runtime.compile.draft",
    "wherry.runtime.host",
    "wherry.runtime.compile.mount_options",
    "wherry.runtime.options",
    "wherry.runtime.paths",
    "wherry.runtime.report",
    "wherry.runtime.state_folder",
    "wherry.start",
}
CREATE = COMMON | {
    "wherry.runtime.cgroup.resources",
    "wherry.runtime.compile.network",
}
# Which of these a host needs depends on its control groups.
BY_HOST = {"wherry.runtime.cgroup.v1", "wherry.runtime.cgroup.v2", "wherry.runtime.cgroup.device_filter"}
NOT_IN_EXEC = {"commands.create", "compile.container", "compile.mount_options"}
NOT_IN_EXEC |= {f"compile.{part}" for part in ("cgroups", "devices", "hooks", "meta", "mounts", "rootfs")}
EXEC = COMMON - {f"wherry.runtime.{name}" for name in NOT_IN_EXEC}
EXEC |= {"wherry.runtime.commands.exec", "wherry.runtime.compile.exec", "wherry.plan.meta"}


def loaded(root, *words):
    """The modules that a command line had loaded when it replaced itself by the native program."""
    read_end, write_end = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, write_end, 3)]
    argv = [sys.executable, "-I", "-S", "-E", "-c", SCRIPT, SOURCE, "--root", str(root), *words]
    pid = os.posix_spawn(sys.executable, argv, {**os.environ, "WHERRY_NO_CACHE": "1"}, file_actions=actions)
    os.close(write_end)
    _, status = os.waitpid(pid, 0)
    with open(read_end) as file:
        names = set(file.read().split())
    assert status == 0
    return {name for name in names if not name.startswith("encodings.")} - STANDARD - BY_HOST


@pytest.fixture
def bundle(tmp_path):
    import json

    document = default_config()
    document["process"]["terminal"] = False
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "config.json").write_text(json.dumps(document))
    return tmp_path


def test_create(tmp_path, bundle):
    assert loaded(tmp_path / "root", "create", "--bundle", str(bundle), "box") == CREATE


def test_run(tmp_path, bundle):
    names = loaded(tmp_path / "root", "run", "--bundle", str(bundle), "box")
    assert names == CREATE | {"wherry.runtime.commands.run"}


def test_exec(tmp_path, bundle):
    from wherry.plan.encode import Plan
    from wherry.runtime.state_folder import start_time

    folder = tmp_path / "root/box"
    folder.mkdir()
    plan = Plan()
    plan.program(0).emit("META", "cgroup", "")
    (folder / "plan").write_bytes(plan.encode())
    (folder / "config.json").write_bytes((bundle / "config.json").read_bytes())
    pid = os.getpid()
    (folder / "state.json").write_text(f'{{"version":1,"pid":{pid},"startTime":{start_time(pid)}}}')
    assert loaded(tmp_path / "root", "exec", "box", "true") == EXEC


def test_heavy_modules_of_the_standard_library_stay_out():
    heavy = {"typing", "re", "json", "argparse", "dataclasses", "enum", "pathlib", "subprocess", "logging"}
    code = "import sys; sys.path.append(sys.argv[1]); import wherry.runtime.launch; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-E", "-c", code, SOURCE], capture_output=True, text=True, check=True
    )
    assert not heavy & set(done.stdout.split())
