from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

import pytest

from ..runtimes import Container, Runtime, process_state, wait_until


def test_start_runs_the_command(container: Container) -> None:
    container.bundle.shell("echo started; sleep 1000")
    container.create()
    assert container.stdout == ""
    container.start()
    wait_until(lambda: container.stdout == "started\n")
    assert container.status == "running"


def test_start_keeps_the_pid(created: Container) -> None:
    pid = created.pid
    created.start()
    assert created.pid == pid == int(created.pid_file.read_text())


def test_start_of_a_running_container(running: Container, only) -> None:
    only("wherry-runtime", "runc")
    result = running.start(check=False)
    assert result.status == 1
    assert "cannot start an already running container" in result.stderr
    assert running.status == "running"


def test_start_of_a_stopped_container(stopped: Container, only) -> None:
    only("wherry-runtime", "runc")
    result = stopped.start(check=False)
    assert result.status == 1
    assert "cannot start a container that has stopped" in result.stderr


def test_start_of_a_container_whose_init_was_killed(created: Container, only) -> None:
    only("wherry-runtime", "runc")
    created.kill("KILL")
    created.wait("stopped")
    result = created.start(check=False)
    assert result.status == 1
    assert "cannot start a container that has stopped" in result.stderr


def test_start_of_a_paused_container(created: Container, only) -> None:
    only("wherry-runtime", "runc")
    created.runtime("pause", created.id)
    result = created.start(check=False)
    assert result.status == 1
    assert "cannot start a container in the paused state" in result.stderr
    created.runtime("resume", created.id)
    created.start()
    assert created.status == "running"


def test_start_of_nothing(runtime: Runtime, only) -> None:
    only("wherry-runtime", "runc")
    result = runtime("start", "nope", check=False)
    assert result.status == 1
    assert "does not exist" in result.stderr


@pytest.mark.parametrize("operands", [(), ("a", "b")])
def test_start_counts_its_operands(runtime: Runtime, only, operands) -> None:
    only("wherry-runtime", "runc")
    result = runtime("start", *operands, check=False)
    assert result.status == 1
    assert '"start\\" requires exactly 1 argument' in result.stderr or '"start" requires' in result.stderr


def hook(script: str) -> dict:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}


def test_poststart_hooks_run_in_order_with_the_state(container: Container, place: Path, only) -> None:
    only("wherry-runtime", "crun")  # runc runs them in `create`
    seen = place / "seen"
    container.bundle.args("sleep", "1000")
    container.bundle.config["hooks"] = {"poststart": [hook(f"cat >{seen}"), hook(f"echo second >>{seen}")]}
    container.create()
    assert not seen.exists()
    container.start()
    text = seen.read_text()
    assert text.endswith("second\n")
    assert f'"pid":{container.pid}' in text.replace(" ", "")
    assert container.id in text


def test_a_failing_poststart_hook_ends_the_container(container: Container, place: Path, only) -> None:
    only("wherry-runtime")
    gone = place / "gone"
    container.bundle.args("sleep", "1000")
    container.bundle.config["hooks"] = {
        "poststart": [hook("echo broken >&2; exit 3")],
        "poststop": [hook(f"touch {gone}")],
    }
    container.create()
    pid = container.pid
    result = container.start(check=False)
    assert result.status == 1
    assert "hooks.poststart[0]" in result.stderr
    assert not container.exists
    assert gone.exists()
    wait_until(lambda: process_state(pid) == "")


def test_start_waits_for_whoever_changes_the_container(created: Container, only) -> None:
    only("wherry-runtime")
    with (created.runtime.root / created.id / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        start = subprocess.Popen(created.runtime.command("start", created.id))
        with pytest.raises(subprocess.TimeoutExpired):
            start.wait(0.3)
        assert created.status == "created"
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert start.wait(10) == 0
    assert created.status == "running"
    # Signals need no lock: a hook that hangs must not keep them.
    with (created.runtime.root / created.id / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        created.kill("KILL")


def test_start_does_not_wait_for_ever(created: Container, only) -> None:
    only("wherry-runtime")
    with (created.runtime.root / created.id / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = created.start(check=False)
    assert result.status == 1
    assert "container is being changed by another process for more than 10 s" in result.stderr


def test_start_of_a_container_deleted_while_waiting(created: Container, only) -> None:
    only("wherry-runtime")
    folder = created.runtime.root / created.id
    with (folder / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        start = subprocess.Popen(created.runtime.command("start", created.id), stderr=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            start.wait(0.3)
        kept = folder.rename(folder.with_name("moved"))
        (kept / "lock").unlink()
    assert start.communicate(timeout=10)[1] == "container does not exist\n"
    kept.rename(folder)
