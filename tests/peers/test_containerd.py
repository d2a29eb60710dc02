"""containerd, whose shim calls the runtime under test (`ctr … --runc-binary`)."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.runtimes import cgroups_named, wait_until

from .conftest import IMAGE
from .engines import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

# ctr stops reading when the process ends, now and then before it has begun, with any runtime.
LINGER = "; sleep 0.3"
FOREVER = "trap 'exit 7' TERM; while :; do sleep 0.1; done"


class Containers:
    """`ctr` for containers of the runtime under test."""

    def __init__(self, engine: Engine, runtime: str) -> None:
        self.engine = engine
        self.flags = ["--runtime=io.containerd.runc.v2", f"--runc-binary={runtime}"]

    def run(self, name: str, *command: str, flags: tuple[str, ...] = ()) -> list[object]:
        return ["run", *self.flags, *flags, IMAGE, name, *command]

    def status(self, name: str) -> str:
        rows = [line.split() for line in self.engine.output("tasks", "list").splitlines()]
        return next((row[2] for row in rows if row[0] == name), "")

    def pid(self, name: str) -> int:
        rows = [line.split() for line in self.engine.output("tasks", "list").splitlines()]
        return next(int(row[1]) for row in rows if row[0] == name)


@pytest.fixture(scope="module")
def containers(containerd: Engine, runtime_path: str) -> Containers:
    return Containers(containerd, runtime_path)


@pytest.fixture
def running(containers: Containers, containerd: Engine, name: str) -> Iterator[str]:
    """A container that ends with 7 when asked to."""
    containerd(*containers.run(name, "sh", "-c", FOREVER, flags=("--detach",)))
    yield name
    remove(containerd, name)


def remove(containerd: Engine, name: str) -> None:
    containerd("tasks", "delete", "--force", name, check=False)
    containerd("containers", "delete", name, check=False)


@pytest.mark.parametrize("code", [0, 44])
def test_exit_status(containers: Containers, containerd: Engine, name: str, code: int) -> None:
    result = containerd(*containers.run(name, "sh", "-c", f"echo out; exit {code}", flags=("--rm",)), check=False)
    assert (result.status, result.stdout) == (code, "out\n")


def test_a_command_that_is_missing(containers: Containers, containerd: Engine, name: str) -> None:
    result = containerd(*containers.run(name, "missing", flags=("--rm",)), check=False)
    assert result.status == 1
    assert "missing" in result.stderr
    assert "executable file not found in $PATH" in result.stderr
    assert not cgroups_named(name)


def test_standard_input(containers: Containers, containerd: Engine, name: str) -> None:
    result = containerd(*containers.run(name, "head", "-n", "1", flags=("--rm",)), input="given\n")
    assert result.stdout == "given\n"


def test_terminal(containers: Containers, containerd: Engine, name: str) -> None:
    script = f"tty; read a; echo got:$a{LINGER}; exit 4"
    shown = containerd.terminal(*containers.run(name, "sh", "-c", script, flags=("--rm", "--tty")), typed="word\n")
    assert shown.status == 4
    assert "/dev/pts/0" in shown.stdout
    assert "got:word" in shown.stdout


def test_exec(containerd: Engine, running: str) -> None:
    execute = ["tasks", "exec", "--exec-id=e1"]
    assert containerd(*execute, running, "sh", "-c", "exit 9", check=False).status == 9
    assert containerd(*execute, running, "sh", "-c", f"cat{LINGER}", input="given\n").stdout == "given\n"
    assert containerd.output(
        *execute, "--user=1000:1001", "--cwd=/var", running, "sh", "-c", f"id -u; id -g; pwd{LINGER}"
    ) == ("1000\n1001\n/var")
    result = containerd(*execute, running, "missing", check=False)
    assert result.status == 1
    assert "executable file not found in $PATH" in result.stderr


def test_exec_with_a_terminal(containerd: Engine, running: str) -> None:
    command = [
        "tasks",
        "exec",
        "--exec-id=e1",
        "--tty",
        running,
        "sh",
        "-c",
        f"tty; read a; echo got:$a{LINGER}; exit 3",
    ]
    shown = containerd.terminal(*command, typed="word\n")
    assert shown.status == 3
    assert "/dev/pts/0" in shown.stdout
    assert "got:word" in shown.stdout


def test_life(containers: Containers, containerd: Engine, name: str) -> None:
    containerd(*containers.run(name, "sh", "-c", FOREVER, flags=("--detach",)))
    assert containers.status(name) == "RUNNING"
    containerd("tasks", "pause", name)
    assert containers.status(name) == "PAUSED"
    containerd("tasks", "resume", name)
    assert containers.status(name) == "RUNNING"
    containerd("tasks", "kill", name)
    wait_until(lambda: containers.status(name) == "STOPPED")
    assert "exit code 7" in containerd("tasks", "delete", name).stderr
    containerd("containers", "delete", name)
    assert not cgroups_named(name)


def test_kill(containers: Containers, containerd: Engine, running: str) -> None:
    pid = containers.pid(running)
    containerd("tasks", "kill", "--signal=SIGKILL", "--all", running)
    wait_until(lambda: containers.status(running) == "STOPPED")
    again = containerd("tasks", "kill", "--signal=SIGKILL", running, check=False)
    assert again.status == 1
    assert "process already finished: not found" in again.stderr
    assert "exit code 137" in containerd("tasks", "delete", running).stderr
    assert not Path(f"/proc/{pid}").exists()


def test_ps_and_metrics(containers: Containers, containerd: Engine, running: str) -> None:
    assert str(containers.pid(running)) in containerd.output("tasks", "ps", running).split()
    metrics = json.loads(containerd.output("tasks", "metrics", "--format=json", running))
    assert metrics["pids"]["current"] >= 1


def test_limits(containers: Containers, containerd: Engine, name: str) -> None:
    flags = ("--detach", f"--memory-limit={64 << 20}", "--cpus=0.5")
    containerd(*containers.run(name, "sh", "-c", FOREVER, flags=flags))
    metrics = json.loads(containerd.output("tasks", "metrics", "--format=json", name))
    memory = metrics["memory"]
    assert int(memory["usage"]["limit"] if isinstance(memory["usage"], dict) else memory["usage_limit"]) == 64 << 20
    remove(containerd, name)


def test_namespaces(containers: Containers, containerd: Engine, name: str) -> None:
    flags = ("--rm", "--net-host")
    result = containerd(*containers.run(name, "readlink", "/proc/self/ns/net", flags=flags))
    assert result.stdout == os.readlink("/proc/self/ns/net") + "\n"


def test_user_namespace(containers: Containers, containerd: Engine, name: str) -> None:
    flags = ("--rm", "--uidmap=0:200000:5000", "--gidmap=0:300000:5000", "--remap-labels=false")
    result = containerd(*containers.run(name, "cat", "/proc/self/uid_map", flags=flags))
    assert result.stdout.split() == ["0", "200000", "5000"]


def test_security(containers: Containers, containerd: Engine, name: str) -> None:
    flags = ("--rm", "--read-only", "--seccomp", "--cap-drop=CAP_CHOWN")
    script = "grep -E '^Seccomp:|NoNewPrivs' /proc/self/status; touch /file"
    result = containerd(*containers.run(name, "sh", "-c", script, flags=flags), check=False)
    assert result.stdout.split() == ["NoNewPrivs:", "1", "Seccomp:", "2"]
    assert "Read-only file system" in result.stderr


def test_removal_of_a_paused_one(containers: Containers, containerd: Engine, running: str) -> None:
    pid = containers.pid(running)
    containerd("tasks", "pause", running)
    containerd("tasks", "delete", "--force", running)
    assert not cgroups_named(running)
    assert not Path(f"/proc/{pid}").exists()


def test_several_at_once(containers: Containers, containerd: Engine, name: str) -> None:
    names = [f"{name}-{n}" for n in range(5)]
    started = [containerd.start(*containers.run(one, "sh", "-c", FOREVER, flags=("--detach",))) for one in names]
    for one in started:
        one.end()
    executing = [
        containerd.start("tasks", "exec", f"--exec-id=e{n}", one, "sh", "-c", f"exit {n}")
        for n, one in enumerate(names)
    ]
    assert [one.end(check=False).status for one in executing] == list(range(5))
    for one in names:
        remove(containerd, one)
    assert not cgroups_named(name)


def test_a_namespace_of_its_own(containers: Containers, containerd: Engine, running: str) -> None:
    """The same name in another of containerd's namespaces is another container."""
    other = "--namespace=other"
    for blob in containerd.output("images", "list", "--quiet").split():
        archive = Path(containerd.scratch) / "other.tar"
        containerd("images", "export", archive, blob)
        containerd(other, "images", "import", archive)
    containerd(other, *containers.run(running, "true", flags=("--rm",)))
    assert containers.status(running) == "RUNNING"


def test_the_shim_is_killed(containers: Containers, containerd: Engine, running: str) -> None:
    """containerd then removes what is left with `delete --force`."""
    pid = containers.pid(running)
    shim = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert "containerd-shim" in Path(f"/proc/{shim}/cmdline").read_text()
    os.kill(shim, signal.SIGKILL)
    wait_until(lambda: not cgroups_named(running), message="the container is still there")
    wait_until(lambda: not containers.status(running))
