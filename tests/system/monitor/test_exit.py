"""The exit record, the report, and what happens at the end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from wherry.engine.attach import Exit

from ..runtimes import wait_until
from .driver import Monitored, is_alive, next_of

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


def test_a_status_is_recorded(monitored: Monitored) -> None:
    monitored.bundle.shell("exit 42")
    record = monitored.run()
    assert TIME.fullmatch(record.pop("startedAt"))
    assert TIME.fullmatch(record.pop("finishedAt"))
    assert record == {
        "version": 1,
        "exitCode": 42,
        "signal": 0,
        "oomKilled": False,
        "restarts": 0,
        "final": True,
        "error": "",
    }
    assert monitored.read("monitor.json")["status"] == "exited"


def test_a_signal_is_recorded(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.start("--memory-cgroup", monitored.memory_cgroup)
    with monitored.client() as client:
        client.kill(signal.SIGKILL)
    record = monitored.wait()
    assert (record["exitCode"], record["signal"], record["oomKilled"]) == (137, 9, False)


def test_running_out_of_memory_is_recorded(monitored: Monitored) -> None:
    monitored.bundle.linux["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
    monitored.bundle.args("tail", "/dev/zero")
    record = monitored.run("--memory-cgroup", monitored.memory_cgroup)
    assert (record["exitCode"], record["signal"], record["oomKilled"]) == (137, 9, True)


def test_a_child_that_ran_out_of_memory_counts(monitored: Monitored) -> None:
    monitored.bundle.linux["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
    monitored.bundle.shell("tail /dev/zero; exit 3")
    record = monitored.run("--memory-cgroup", monitored.memory_cgroup)
    assert (record["exitCode"], record["signal"], record["oomKilled"]) == (3, 0, True)


def test_the_counters_of_both_hierarchies_are_read(monitored: Monitored, place: Path) -> None:
    """The format of v2's memory.events, counted up from what it was at the start."""
    folder = place / "group"
    folder.mkdir()
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 2\noom_kill 2\noom_group_kill 0\n")
    monitored.bundle.mount("/group", "bind", str(folder), "bind")
    monitored.bundle.shell("sed -i 's/oom_kill 2/oom_kill 3/' /group/memory.events")
    assert monitored.run("--memory-cgroup", folder)["oomKilled"] is True


def test_the_report_names_the_process_as_the_host_sees_it(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    created, started = monitored.start()
    assert started == "started"
    assert created == f"created {monitored.pid}"
    assert monitored.runtime("state", monitored.id).stdout.find(f'"pid": {monitored.pid}') > 0


def test_created_waits_for_start_by_the_runtime(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    assert monitored.create().startswith("created ")
    assert monitored.read("monitor.json")["status"] == "created"
    monitored.runtime("start", monitored.id)
    wait_until(lambda: monitored.read("monitor.json")["status"] == "running")


def test_killed_before_it_was_started(monitored: Monitored) -> None:
    monitored.create("--restart", "always")
    with monitored.client() as client:
        client.kill(signal.SIGKILL)
    record = monitored.wait()
    assert (record["exitCode"], record["startedAt"], record["restarts"]) == (137, None, 0)


@pytest.mark.parametrize(("command", "status"), [("/no/such", 127), ("/etc/passwd", 126)])
def test_a_command_that_is_not_there_leaves_nothing(monitored: Monitored, command: str, status: int) -> None:
    monitored.bundle.args(command)
    report = monitored.start()
    assert report[-1].startswith(f"failed {status} "), report
    assert command in report[-1]
    wait_until(lambda: not (monitored.folder / "monitor.lock").exists())
    assert not monitored.state_folder.exists()
    assert list(monitored.folder.iterdir()) == []


def test_a_late_failure_is_reported_and_recorded(monitored: Monitored) -> None:
    (monitored.bundle.rootfs / "bad").write_text("#!/no/such/interpreter\n")
    (monitored.bundle.rootfs / "bad").chmod(0o755)
    monitored.bundle.args("/bad")
    report = monitored.start("--restart", "always")
    assert report[0].startswith("created ")
    assert report[1].startswith("failed 127 ")
    record = monitored.wait()
    assert record["exitCode"] == 127
    assert "no such file or directory" in record["error"]


def test_a_set_up_that_fails_leaves_nothing(monitored: Monitored) -> None:
    monitored.bundle.mount("/x", "bind", "/no/such/source", "bind")
    (report,) = monitored.start()
    assert report.startswith("failed 1 ")
    assert "/no/such/source" in report
    wait_until(lambda: not (monitored.folder / "monitor.lock").exists())
    assert not monitored.state_folder.exists()


def test_the_last_command_runs_after_the_record(monitored: Monitored) -> None:
    script = f"cat {monitored.folder}/exit.json > {monitored.folder}/copy"
    monitored.bundle.shell("exit 5")
    monitored.run("--on-exit", "/bin/sh", "--on-exit=-c", "--on-exit", script)
    wait_until(lambda: (monitored.folder / "copy").exists() and (monitored.folder / "copy").read_text())
    assert monitored.read("copy") == monitored.read("exit.json")


def test_delete_removes_the_runtimes_state(monitored: Monitored) -> None:
    monitored.bundle.shell("exit 5")
    monitored.run("--delete")
    assert not monitored.state_folder.exists()
    assert not monitored.memory_cgroup.exists()
    assert sorted(path.name for path in monitored.folder.iterdir()) == ["exit.json", "monitor.json", "monitor.lock"]


def test_a_second_monitor_is_refused(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.start()
    read, write = os.pipe()
    plan_fd = os.open(monitored.state_folder / "plan", os.O_RDONLY)
    command = monitored.command(plan_fd, write)
    subprocess.run(command, pass_fds=(plan_fd, write), stderr=subprocess.DEVNULL, check=True)
    os.close(write)
    os.close(plan_fd)
    with os.fdopen(read) as report:
        assert report.read() == "failed 1 another monitor is at work for this container\n"
    assert is_alive(monitored.pid)
    assert monitored.is_monitored


def test_processes_that_outlive_the_container_hold_nothing_up(monitored: Monitored) -> None:
    monitored.bundle.without_namespace("pid").shell("sleep 1000 & exit 4")
    assert monitored.run("--delete", *monitored.log_options())["exitCode"] == 4


def on_exit(monitored: Monitored) -> tuple[str, ...]:
    return ("--on-exit", "/bin/touch", "--on-exit", f"{monitored.folder}/ran")


def test_a_client_that_claimed_cleans_up_itself(monitored: Monitored) -> None:
    monitored.create(*on_exit(monitored))
    pid = monitored.monitor_pid
    with monitored.client() as client, monitored.client() as other:
        client.claim()
        client.start()
        assert next_of(client, Exit).final
        assert next_of(other, Exit).final
        assert other.receive() is None
        assert is_alive(pid)
        assert not monitored.is_monitored
        client.cleaned()
        assert client.receive() is None
    wait_until(lambda: not is_alive(pid))
    assert not (monitored.folder / "ran").exists()


def test_a_client_that_claimed_and_died_is_replaced(monitored: Monitored) -> None:
    monitored.create(*on_exit(monitored))
    with monitored.client() as client:
        client.claim()
        client.start()
        assert next_of(client, Exit).final
    wait_until(lambda: (monitored.folder / "ran").exists())


def test_a_claim_ends_with_its_client(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.start(*on_exit(monitored))
    with monitored.client() as client:
        client.claim()
    with monitored.client() as client:
        client.kill(signal.SIGKILL)
    wait_until(lambda: (monitored.folder / "ran").exists())


def test_nothing_is_waited_for_when_there_is_nothing_to_clean(monitored: Monitored) -> None:
    monitored.create()
    with monitored.client() as client:
        client.claim()
        client.start()
        assert next_of(client, Exit).final
        assert client.receive() is None
