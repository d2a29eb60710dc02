from __future__ import annotations

import fcntl
import json
import os
import subprocess
from pathlib import Path

import pytest

from ..runtimes import Container, Runtime, process_state, wait_until
from ..stuck_file_system import StuckFileSystem


def hook(script: str) -> dict:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}


def test_delete_leaves_nothing(stopped: Container) -> None:
    stopped.delete()
    assert not stopped.exists
    assert not stopped.cgroups()
    assert not list(stopped.runtime.root.glob("*"))


def test_delete_of_a_created_container(created: Container) -> None:
    pid = created.pid
    created.delete()
    assert not created.exists
    wait_until(lambda: process_state(pid) == "")


@pytest.mark.parametrize("paused", [False, True])
def test_delete_of_a_running_container_is_refused(running: Container, only, paused: bool) -> None:
    only("wherry-runtime", "runc")
    if paused:
        running.runtime("pause", running.id)
    result = running.delete(check=False)
    assert result.status == 1
    status = "paused" if paused else "running"
    assert f"cannot delete container {running.id} that is not stopped: {status}" in result.stderr
    assert running.status == status


@pytest.mark.parametrize("flag", ["--force", "-f", "-force"])
def test_delete_by_force(running: Container, flag: str, only) -> None:
    if flag == "-force":
        only("wherry-runtime", "runc")
    running.delete(flag)
    assert not running.exists


def test_delete_by_force_of_a_paused_container(running: Container) -> None:
    running.runtime("pause", running.id)
    running.delete("--force")
    assert not running.exists


def test_delete_of_nothing(runtime: Runtime, only) -> None:
    only("wherry-runtime", "runc")
    result = runtime("delete", "nope", check=False)
    assert result.status == 1
    assert "does not exist" in result.stderr


def test_delete_of_nothing_by_force(runtime: Runtime) -> None:
    runtime("delete", "--force", "nope")


def test_the_name_is_free_again(stopped: Container) -> None:
    stopped.delete()
    stopped.create()
    assert stopped.status == "created"


def test_delete_of_a_container_without_a_pid_namespace_takes_all(container: Container) -> None:
    container.bundle.without_namespace("pid")
    container.bundle.shell("sleep 1000 & sleep 1000 & echo ready; wait")
    container.create()
    container.start()
    wait_until(lambda: "ready" in container.stdout)
    pids = [int(line) for line in container.cgroups()[0].joinpath("cgroup.procs").read_text().split()]
    container.delete("--force")
    wait_until(lambda: all(process_state(pid) in ("", "Z") for pid in pids))
    assert not container.cgroups()


def test_groups_made_by_the_container_go_too(running: Container) -> None:
    for group in running.cgroups():
        group.joinpath("inner/inmost").mkdir(parents=True)
    running.delete("--force")
    assert not running.cgroups()


def test_poststop_hooks_run_and_their_failure_is_only_a_warning(container: Container, place: Path, only) -> None:
    only("wherry-runtime", "crun")
    seen = place / "seen"
    container.bundle.config["hooks"] = {"poststop": [hook("exit 3"), hook(f"cat >{seen}")]}
    container.create()
    container.delete()
    assert container.id in seen.read_text()
    assert not container.exists


def test_delete_by_pattern(make_container, make_bundle, token: str, only) -> None:
    only("wherry-runtime", "crun")
    containers = [make_container(make_bundle()) for _ in range(2)]
    for container in containers:
        container.create()
    containers[0].runtime("delete", "--force", "--regex", f"^{token}-[0-9]$")
    assert not any(container.exists for container in containers)


def test_a_killed_creation_can_be_deleted(container: Container, only) -> None:
    """What `create` leaves when it is killed between the folder and the container."""
    only("wherry-runtime")
    folder = container.runtime.root / container.id
    folder.mkdir()
    folder.joinpath("lock").touch()
    folder.joinpath("plan").write_bytes(b"half a pl")
    assert container.status == "stopped"
    assert container.state()["pid"] == 0
    container.delete()
    assert not container.exists


def test_the_process_of_a_killed_creation_goes_too(created: Container, only) -> None:
    """`create` was killed after the clone and before it could say which process it was."""
    only("wherry-runtime")
    pid = created.pid
    (created.runtime.root / created.id / "state.json").unlink()
    assert created.status == "stopped"
    created.delete()
    wait_until(lambda: process_state(pid) == "")
    assert not created.cgroups()


def test_a_damaged_plan_does_not_keep_a_container(created: Container, only) -> None:
    only("wherry-runtime")
    pid = created.pid
    groups = created.cgroups()
    plan = created.runtime.root / created.id / "plan"
    whole = bytearray(plan.read_bytes())
    whole[len(whole) // 2] ^= 1
    plan.write_bytes(whole)
    result = created.start(check=False)
    assert result.status == 1
    assert "the container's plan is damaged: " in result.stderr
    result = created.delete()
    assert "plan is damaged" in result.stderr
    assert process_state(pid) in ("", "Z")
    for group in groups:
        group.rmdir()


def test_a_creation_that_goes_on_is_not_deleted(container: Container, only) -> None:
    only("wherry-runtime")
    folder = container.runtime.root / container.id
    folder.mkdir()
    fd = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert container.status == "creating"
    result = container.delete(check=False)
    assert result.status == 1
    assert "that is not stopped: creating" in result.stderr
    os.close(fd)
    container.delete()


def test_two_deletes_at_once(stopped: Container, only) -> None:
    only("wherry-runtime")
    command = stopped.runtime.command("delete", stopped.id)
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    results = sorted((process.wait(), process.stderr.read()) for process in both)
    for process in both:
        process.stderr.close()
    assert results[0][0] == 0
    assert results[1] in ((0, ""), (1, "container does not exist\n"))
    assert not stopped.exists


def test_a_process_that_cannot_die_is_named(container: Container, place: Path, only) -> None:
    """No endless loop: after the deadline the error names the process, and the container can be deleted later."""
    only("wherry-runtime")
    point = place / "stuck"
    point.mkdir()
    with StuckFileSystem(point) as stuck:
        container.bundle.mount("/stuck", "bind", str(point), "bind").shell("cat /stuck/file & wait")
        container.create()
        container.start()
        assert stuck.asked.wait(20)
        init = container.pid
        (child,) = set(json.loads(container.runtime("ps", "--format", "json", container.id).stdout)) - {init}
        result = container.delete("--force", check=False)
        assert result.status == 1
        assert f"process {child} did not end within 10 s of SIGKILL: it is in state D" in result.stderr
        assert container.exists
    wait_until(lambda: process_state(init) == "")
    container.delete()


def test_what_a_killed_creator_prepared_goes_too(runtime, only) -> None:
    only("wherry-runtime")
    ended = subprocess.Popen(["true"])
    ended.wait()
    for name in (f"box~{ended.pid}", f"other~{ended.pid}", f"box~{os.getpid()}"):
        (runtime.root / name).mkdir()
        (runtime.root / name / "lock").touch()
    runtime("delete", "--force", "box")
    left = sorted(path.name for path in runtime.root.iterdir())
    assert left == sorted([f"other~{ended.pid}", f"box~{os.getpid()}"])
    for name in left:
        (runtime.root / name / "lock").unlink()
        (runtime.root / name).rmdir()
