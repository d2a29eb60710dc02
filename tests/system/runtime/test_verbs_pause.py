from __future__ import annotations

from ..runtimes import Container, Runtime, wait_until


def test_pause_and_resume(container: Container) -> None:
    container.bundle.shell("i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done")
    container.create()
    container.start()
    wait_until(lambda: "3\n" in container.stdout)
    container.runtime("pause", container.id)
    assert container.status == "paused"
    before = container.stdout
    for _ in range(20):
        assert container.stdout == before
    container.runtime("resume", container.id)
    assert container.status == "running"
    wait_until(lambda: container.stdout != before)


def test_pause_of_a_created_container(created: Container, only) -> None:
    only("wherry-runtime", "runc")
    created.runtime("pause", created.id)
    assert created.status == "paused"
    created.runtime("resume", created.id)
    assert created.status == "created"


def test_pause_of_a_stopped_container(stopped: Container) -> None:
    result = stopped.runtime("pause", stopped.id, check=False)
    assert result.status == 1
    assert "not running" in result.stderr


def test_pause_twice(running: Container, only) -> None:
    only("wherry-runtime", "runc")
    running.runtime("pause", running.id)
    result = running.runtime("pause", running.id, check=False)
    assert result.status == 1
    assert "container not running" in result.stderr


def test_resume_of_a_running_container(running: Container, only) -> None:
    only("wherry-runtime", "runc")
    result = running.runtime("resume", running.id, check=False)
    assert result.status == 1
    assert "container not paused" in result.stderr


def test_pause_of_nothing(runtime: Runtime, only) -> None:
    only("wherry-runtime", "runc")
    for verb in ("pause", "resume"):
        result = runtime(verb, "nope", check=False)
        assert result.status == 1
        assert "does not exist" in result.stderr
