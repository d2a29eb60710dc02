from __future__ import annotations

import signal

import pytest

from ..runtimes import Container, Runtime, process_state, wait_until

TRAP = "trap 'echo got {0}; exit 7' {0}; echo ready; while :; do sleep 0.05; done"


def ready(container: Container, script: str) -> Container:
    container.bundle.shell(script)
    container.create()
    container.start()
    wait_until(lambda: "ready" in container.stdout)
    return container


@pytest.mark.parametrize("text", ["USR1", "SIGUSR1", "usr1", "sigusr1", str(int(signal.SIGUSR1))])
def test_signals_by_name_and_number(container: Container, text: str, only) -> None:
    if text.islower():
        only("wherry-runtime", "runc")
    ready(container, TRAP.format("USR1"))
    container.kill(text)
    container.wait("stopped")
    assert container.stdout == "ready\ngot USR1\n"


def test_the_default_is_term(container: Container) -> None:
    ready(container, TRAP.format("TERM"))
    container.runtime("kill", container.id)
    container.wait("stopped")
    assert container.stdout == "ready\ngot TERM\n"


@pytest.mark.parametrize("name", ["RTMIN", "RTMIN+2", "SIGRTMAX-3"])
def test_realtime_signals(container: Container, only, name: str) -> None:
    only("wherry-runtime")
    number = {"RTMIN": 34, "RTMIN+2": 36, "SIGRTMAX-3": 61}[name]
    ready(container, f"trap 'echo got it; exit' {number}; echo ready; while :; do sleep 0.05; done")
    container.kill(name)
    container.wait("stopped")
    assert "got it" in container.stdout


@pytest.mark.parametrize("name", ["FOO", "65", "-1x", "RTMIN+99", "9x"])
def test_unknown_signals(running: Container, only, name: str) -> None:
    only("wherry-runtime")
    result = running.runtime("kill", "--", running.id, name, check=False)
    assert result.status == 1
    assert f'unknown signal "{name}"' in result.stderr
    assert running.status == "running"


def test_kill_of_a_created_container(created: Container) -> None:
    created.kill("KILL")
    created.wait("stopped")


def test_kill_of_a_stopped_container(stopped: Container, only) -> None:
    only("wherry-runtime", "runc")
    result = stopped.kill("KILL", check=False)
    assert result.status == 1
    assert "not running" in result.stderr


@pytest.mark.parametrize("flag", ["--all", "-a"])
def test_kill_all_of_a_stopped_container(stopped: Container, flag: str, only) -> None:
    only("wherry-runtime", "runc")
    stopped.kill("KILL", flag)


def test_kill_all_takes_every_process(container: Container) -> None:
    ready(container, "sleep 1000 & sleep 1000 & echo ready; wait")
    container.kill("KILL", "--all")
    container.wait("stopped")


def test_flags_may_follow_the_operands(container: Container, only) -> None:
    only("wherry-runtime")
    ready(container, "sleep 1000 & echo ready; wait")
    container.runtime("kill", container.id, "KILL", "--all")
    container.wait("stopped")


def test_all_signals_everybody_once(container: Container, only) -> None:
    only("wherry-runtime", "runc")
    script = (
        "(trap 'echo child' USR1; echo ready; while :; do sleep 0.05; done) & trap 'echo parent' USR1; wait; wait; wait"
    )
    ready(container, script)
    container.kill("USR1", "--all")
    wait_until(lambda: "child" in container.stdout and "parent" in container.stdout)
    assert container.stdout.count("parent") == 1


def test_kill_with_the_hosts_pid_namespace_takes_all(container: Container, only) -> None:
    """Where init's end does not end the others, nobody may be left."""
    only("wherry-runtime", "runc")
    container.bundle.without_namespace("pid")
    ready(container, "sleep 1000 & sleep 1000 & echo ready; wait")
    pids = [int(line) for line in container.cgroups()[0].joinpath("cgroup.procs").read_text().split()]
    assert len(pids) == 3
    flags = ["--all"] if container.runtime.dialect == "runc" else []
    container.kill("KILL", *flags)
    wait_until(lambda: all(process_state(pid) in ("", "Z") for pid in pids))


def test_kill_of_a_paused_container(running: Container, only) -> None:
    only("wherry-runtime", "runc")
    running.runtime("pause", running.id)
    running.kill("KILL")
    running.wait("stopped")


def test_kill_wakes_what_a_container_froze_below_itself(running: Container, only) -> None:
    only("wherry-runtime")
    groups = [group for group in running.cgroups() if "freezer" in group.parts]
    if not groups:
        pytest.skip("version 1 freezer only: version 2 kills frozen processes")
    inner = groups[0] / "inner"
    inner.mkdir()
    pid = running.pid
    inner.joinpath("cgroup.procs").write_text(str(pid))
    inner.joinpath("freezer.state").write_text("FROZEN")
    running.kill("KILL")
    running.wait("stopped")


def test_kill_by_pattern(make_container, make_bundle, token: str, only) -> None:
    only("wherry-runtime", "crun")
    containers = [make_container(make_bundle()) for _ in range(2)]
    for container in containers:
        container.bundle.args("sleep", "1000")
        container.create()
        container.start()
    containers[0].runtime("kill", "--regex", f"^{token}-[0-9]$", "KILL")
    for container in containers:
        container.wait("stopped")


@pytest.mark.parametrize("operands", [(), ("a", "b", "c")])
def test_kill_counts_its_operands(runtime: Runtime, only, operands) -> None:
    only("wherry-runtime", "runc")
    result = runtime("kill", *operands, check=False)
    assert result.status == 1
    assert "argument(s)" in result.stderr


def test_kill_of_nothing(runtime: Runtime, only) -> None:
    only("wherry-runtime", "runc")
    result = runtime("kill", "nope", check=False)
    assert result.status == 1
    assert "does not exist" in result.stderr
