"""Deaths of the monitor and of those who start it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from typing import TextIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wherry.engine import attach

from ..runtimes import process_state, wait_until
from .driver import Monitored

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
    assert process_state(pid) in ("R", "S", "D")
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
    assert process_state(monitored.pid) == "S"


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
    assert process_state(monitored.pid) == "S"


def test_no_descriptor_of_the_monitor_reaches_the_container(monitored: Monitored) -> None:
    monitored.bundle.shell("ls -l /proc/self/fd >&2; sleep 1000")
    monitored.start(*monitored.log_options(), "--stdin", "--restart", "always")
    wait_until(lambda: monitored.log.stat().st_size > 0)
    assert sorted(os.listdir(f"/proc/{monitored.pid}/fd")) == ["0", "1", "2"]


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
        except (BlockingIOError, BrokenPipeError):
            pass
    with talked_to.client() as client:
        assert client.receive() == attach.Started(talked_to.pid)


@pytest.fixture
def talked_to(monitored: Monitored) -> Monitored:
    monitored.bundle.args("sleep", "1000")
    monitored.start("--stdin", *monitored.log_options())
    return monitored
