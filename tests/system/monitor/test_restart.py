"""The restart policy."""

from __future__ import annotations

import json
import signal

import pytest

from wherry.engine import attach

from ..runtimes import process_state, wait_until
from .driver import Monitored, is_alive, next_of
from .test_log import k8s_text


def runs(monitored: Monitored) -> int:
    return monitored.log.read_bytes().count(b"stdout F run\n") if monitored.log.exists() else 0


@pytest.mark.parametrize(
    ("policy", "status", "expected"),
    [("no", 1, 1), ("on-failure:2", 1, 3), ("on-failure:2", 0, 1), ("on-failure", 0, 1)],
)
def test_a_bounded_policy_runs_so_often(monitored: Monitored, policy: str, status: int, expected: int) -> None:
    monitored.bundle.shell(f"echo run; exit {status}")
    record = monitored.run(*monitored.log_options(), "--restart", policy)
    assert runs(monitored) == expected
    assert (record["exitCode"], record["restarts"], record["final"]) == (status, expected - 1, True)


@pytest.mark.parametrize("policy", ["always", "unless-stopped"])
def test_an_unbounded_policy_ends_with_the_mark(monitored: Monitored, policy: str) -> None:
    monitored.bundle.shell("echo run")
    monitored.start(*monitored.log_options(), "--restart", policy)
    wait_until(lambda: runs(monitored) >= 3)
    (monitored.folder / "stopped").touch()
    assert monitored.wait()["final"] is True


def test_on_failure_goes_on_until_success(monitored: Monitored) -> None:
    monitored.bundle.shell("echo run >> /runs; test $(wc -l < /runs) = 3")
    record = monitored.run("--restart", "on-failure")
    assert (record["exitCode"], record["restarts"]) == (0, 2)


def test_a_stopped_container_is_not_started_again(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.start("--restart", "always")
    (monitored.folder / "stopped").touch()
    with monitored.client() as client:
        client.kill(signal.SIGKILL)
        assert next_of(client, attach.Exit).final
    assert monitored.wait()["restarts"] == 0


def test_a_killed_container_is_started_again(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.start("--restart", "always")
    with monitored.client() as client:
        first = next_of(client, attach.Started).pid
        client.kill(signal.SIGKILL)
        assert next_of(client, attach.Exit) == attach.Exit(137, 9, 0, False, False)
        second = next_of(client, attach.Started).pid
        assert process_state(first) == ""
        assert is_alive(second)
        assert monitored.read("monitor.json")["restarts"] == 1
        state = json.loads(monitored.runtime("state", monitored.id).stdout)
        assert (state["pid"], state["status"]) == (second, "running")


def test_a_restart_that_is_waited_for_is_called_off(monitored: Monitored) -> None:
    monitored.bundle.shell("echo run; exit 1")
    monitored.start(*monitored.log_options(), "--restart", "always")
    with monitored.client() as client:
        for event in client.events():  # the wait doubles: after six runs there is time for a word
            if isinstance(event, attach.Exit) and event.restarts >= 5:
                break
        assert monitored.read("monitor.json")["status"] == "restarting"
        assert monitored.read("monitor.json")["restartAt"]
        client.forbid_restart()
        assert next_of(client, attach.Exit).final
    record = monitored.wait()
    assert record["final"] is True
    assert runs(monitored) == record["restarts"] + 1


def test_a_deleted_container_is_not_started_again(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.start("--restart", "always")
    monitored.runtime("delete", "--force", monitored.id)
    assert monitored.wait()["final"] is True
    assert not monitored.state_folder.exists()


def test_streams_and_input_work_after_a_restart(monitored: Monitored) -> None:
    monitored.bundle.shell("read line; echo got $line")
    monitored.start(*monitored.log_options(), "--stdin", "--restart", "always")
    with monitored.client() as client:
        for word in (b"one", b"two", b"three"):
            next_of(client, attach.Started)
            client.send_stdin(word + b"\n")
    wait_until(lambda: k8s_text(monitored.log.read_bytes()) == b"got one\ngot two\ngot three\n")


def test_a_terminal_works_after_a_restart(monitored: Monitored) -> None:
    monitored.bundle.process["terminal"] = True
    monitored.bundle.shell("test -t 0 && read line && echo got $line")
    monitored.start("--tty", "--stdin", "--restart", "always")
    with monitored.client() as client:
        client.follow()
        for word in (b"one", b"two"):
            next_of(client, attach.Started)
            client.send_stdin(word + b"\n")
            got = b""
            while b"got" not in got:
                got += next_of(client, attach.Output).data


def test_a_start_that_fails_later_counts_as_a_failed_run(monitored: Monitored) -> None:
    monitored.bundle.shell("rm /bin/sh; ln -s /gone /bin/sh")
    record = monitored.run("--restart", "on-failure:2")
    assert record["exitCode"] == 0
    (monitored.bundle.rootfs / "bin/sh").unlink()
    (monitored.bundle.rootfs / "bin/sh").symlink_to("busybox")
    monitored.runtime("delete", monitored.id)
    monitored.bundle.shell("rm /bin/sh; exit 9")
    record = monitored.run("--restart", "on-failure:2")
    assert (record["exitCode"], record["restarts"]) == (127, 2)
    assert record["error"]
