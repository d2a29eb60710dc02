"""Deaths of the monitor and of those who start it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wherry.engine import attach

from ..runtimes import process_state, wait_until
from .driver import Monitored, is_alive, next_of

STEP = 7
TALKER = "while :; do echo x; echo y >&2; echo >> /ticks; sleep 0.02; done"


def kill_monitor(monitored: Monitored) -> None:
    pid = monitored.monitor_pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: process_state(pid) in ("", "Z"))


def test_the_container_survives_its_monitor(monitored: Monitored) -> None:
    monitored.bundle.shell(TALKER)
    monitored.start(*monitored.log_options())
    pid = monitored.pid
    kill_monitor(monitored)
    ticks = (monitored.bundle.rootfs / "ticks").stat().st_size
    wait_until(lambda: (monitored.bundle.rootfs / "ticks").stat().st_size > ticks + 10)
    assert is_alive(pid)
    assert not monitored.is_monitored
    state = json.loads(monitored.runtime("state", monitored.id).stdout)
    assert (state["status"], state["pid"]) == ("running", pid)
    assert not (monitored.folder / "exit.json").exists()


def test_a_created_container_survives_its_monitor(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.create()
    kill_monitor(monitored)
    assert not monitored.is_monitored
    monitored.runtime("start", monitored.id)
    assert json.loads(monitored.runtime("state", monitored.id).stdout)["status"] == "running"


def test_a_container_whose_monitor_died_is_deleted_like_any(monitored: Monitored) -> None:
    monitored.bundle.shell(TALKER)
    monitored.start()
    kill_monitor(monitored)
    monitored.runtime("delete", "--force", monitored.id)
    assert not monitored.state_folder.exists()


def test_the_monitor_ignores_signals_meant_to_end_it(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.start()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGUSR1):
        os.kill(monitored.monitor_pid, number)
    with monitored.client() as client:
        client.receive()
    assert monitored.is_monitored
    assert is_alive(monitored.pid)


def test_a_starter_that_dies_before_it_is_told_leaves_nothing(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    process, report = monitored.spawn("--detach-start")
    os.close(report)
    assert process.wait(20) == 0
    wait_until(lambda: not monitored.state_folder.exists())
    wait_until(lambda: not (monitored.folder / "monitor.lock").exists())


def test_a_starter_that_dies_after_it_is_told_leaves_a_running_container(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    process, report = monitored.spawn()
    process.wait(20)
    assert os.read(report, 100).startswith(b"created ")
    os.close(report)
    monitored.runtime("start", monitored.id)
    wait_until(lambda: monitored.read("monitor.json")["status"] == "running")
    assert monitored.is_monitored


def test_the_death_of_the_starters_process_group_does_not_reach_the_monitor(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.prepare()
    plan = monitored.state_folder / "plan"
    command = monitored.command(5, 6, "--detach-start")
    quoted = " ".join(f"'{word}'" for word in command)
    script = f"{quoted} 5<{plan} 6>{monitored.folder}/report; sleep 1000"
    starter = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    wait_until(
        lambda: (monitored.folder / "report").exists() and "started" in (monitored.folder / "report").read_text()
    )
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()
    assert monitored.is_monitored
    assert is_alive(monitored.pid)


def test_no_descriptor_of_the_monitor_reaches_the_container(monitored: Monitored) -> None:
    monitored.bundle.shell("ls -l /proc/self/fd >&2; sleep 1000")
    monitored.start(*monitored.log_options(), "--stdin", "--restart", "always")
    wait_until(lambda: monitored.log.stat().st_size > 0)
    assert sorted(os.listdir(f"/proc/{monitored.pid}/fd")) == ["0", "1", "2"]


def test_a_descriptor_of_the_user_is_the_containers_alone(monitored: Monitored, place: Path) -> None:
    monitored.preserve_fds = 1
    monitored.bundle.shell("echo hello >&3; exec 3>&-; exec sleep 1000")
    plan = monitored.prepare()
    command = monitored.command(5, 6, "--detach-start", "--preserve-fds", "1")
    quoted = " ".join(f"'{word}'" for word in command)
    reading, writing = os.pipe()
    script = f"{quoted} 3>&0 0</dev/null 5<{plan} 6>{place}/report"
    subprocess.run(["sh", "-c", script], stdin=writing, check=True)
    os.close(writing)
    with os.fdopen(reading) as said:
        assert said.read() == "hello\n"
    wait_until(lambda: "started" in (place / "report").read_text())
    assert is_alive(monitored.pid)


def strace(monitored: Monitored, *rules: str) -> bool:
    """Start under strace. True when the report ended in `started`."""
    (monitored.folder / "monitor.lock").unlink(missing_ok=True)
    plan_fd = os.open(monitored.prepare(), os.O_RDONLY)
    report, report_end = os.pipe()
    command = monitored.command(plan_fd, report_end, "--foreground", "--detach-start")
    process = subprocess.Popen(
        ["strace", "-qq", *rules, *command],
        pass_fds=(plan_fd, report_end),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(plan_fd)
    os.close(report_end)
    with os.fdopen(report) as lines:  # strace holds the pipe, too: it ends only when the monitor does
        started = wait_for_start(lines)
    monitored.runtime("delete", "--force", monitored.id)
    process.wait(20)
    return started


def wait_for_start(lines: TextIO) -> bool:
    return any(line == "started\n" for line in iter(lines.readline, ""))


@pytest.mark.long
def test_killed_at_any_system_call_of_a_start(monitored: Monitored) -> None:
    """Whatever is left, `delete --force` takes it away, and the same id can be used again."""
    monitored.bundle.args("sleep", "1000")
    trace = monitored.folder / "trace"
    assert strace(monitored, "-o", str(trace))
    seen: Counter[str] = Counter()
    calls = []
    for line in trace.read_text().splitlines():
        name = line.partition("(")[0]
        seen[name] += 1
        calls.append((name, seen[name]))
        if '"started' in line:
            break
    survived = 0
    for name, count in calls[1::STEP]:
        survived += strace(monitored, "-o", "/dev/null", "-e", f"inject={name}:signal=KILL:when={count}")
        assert not monitored.state_folder.exists()
        assert not monitored.memory_cgroup.exists()
    assert survived < len(calls) / STEP / 10


@given(st.lists(st.binary(max_size=40), max_size=30))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_request_ends_the_monitor(talked_to: Monitored, frames: list[bytes]) -> None:
    harmless = [frame for frame in frames if frame[:1] not in (b"\x09", b"\x07", b"\x02")]
    with talked_to.client() as client:
        client.socket.setblocking(False)
        try:
            for frame in harmless:
                client.socket.send(frame)
        except (BlockingIOError, ConnectionError):  # an empty frame is an end
            pass
    with talked_to.client() as client:
        assert client.receive() == attach.Started(talked_to.pid)


@pytest.fixture
def talked_to(monitored: Monitored) -> Monitored:
    monitored.bundle.args("sleep", "1000")
    monitored.start("--stdin", *monitored.log_options())
    return monitored


def adopt(monitored: Monitored, *options: str, first: bool = False) -> list[str]:
    """Start a monitor for a container that has lost its own; its report, or its first line only."""
    plan_fd = os.open(monitored.state_folder / "plan", os.O_RDONLY)
    report, report_end = os.pipe()
    command = monitored.command(plan_fd, report_end, "--adopt", *options)
    subprocess.run(command, pass_fds=(plan_fd, report_end), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(plan_fd)
    os.close(report_end)
    with os.fdopen(report) as lines:
        return [lines.readline()] if first else lines.read().splitlines()


def test_a_new_monitor_takes_over(monitored: Monitored) -> None:
    script = "trap 'exit 7' TERM; echo one; until test -e /go; do sleep 0.02; done; echo two >&2"
    script += "; while :; do sleep 0.02; done"
    monitored.bundle.shell(script)
    monitored.start(*monitored.log_options())
    wait_until(lambda: b"stdout F one\n" in monitored.log.read_bytes())
    before = monitored.read("monitor.json")
    kill_monitor(monitored)
    (monitored.bundle.rootfs / "go").touch()
    assert adopt(monitored, *monitored.log_options()) == [f"created {before['containerPid']}", "started"]
    wait_until(lambda: b"stderr F two\n" in monitored.log.read_bytes())
    assert monitored.is_monitored
    after = monitored.read("monitor.json")
    assert (after["containerPid"], after["startedAt"]) == (before["containerPid"], before["startedAt"])
    with monitored.client() as client:
        client.kill(signal.SIGTERM)
        assert next_of(client, attach.Exit) == attach.Exit(7, 0, 0, False, True)
    assert monitored.wait()["exitCode"] == 7


def test_an_adopted_container_is_restarted_as_a_child(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.start("--restart", "always")
    kill_monitor(monitored)
    adopt(monitored, "--restart", "always")
    with monitored.client() as client:
        next_of(client, attach.Started)
        for restarts in range(2):
            client.kill(signal.SIGKILL)
            assert next_of(client, attach.Exit) == attach.Exit(137, 9, restarts, False, False)
            next_of(client, attach.Started)
    (parent,) = (line for line in Path(f"/proc/{monitored.pid}/status").read_text().splitlines() if "PPid" in line)
    assert int(parent.split()[1]) == monitored.monitor_pid


def test_a_created_container_is_adopted_and_started(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.create()
    kill_monitor(monitored)
    assert adopt(monitored, first=True)[0].startswith("created ")
    with monitored.client() as client:
        client.start()
    assert monitored.read("monitor.json")["status"] == "running"


def test_nothing_is_adopted_that_does_not_run(monitored: Monitored) -> None:
    monitored.bundle.args("true")
    monitored.run()
    assert adopt(monitored) == ["failed 1 the container is not running"]
    assert monitored.state_folder.exists()
    assert monitored.read("exit.json")["exitCode"] == 0


def test_a_monitored_container_is_not_adopted(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.start()
    assert adopt(monitored) == ["failed 1 another monitor is at work for this container"]
    with monitored.client() as client:
        assert client.receive() == attach.Started(monitored.pid)
