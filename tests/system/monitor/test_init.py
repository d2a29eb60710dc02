"""The container init (`--init`): pid 1 that runs the command as its child."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from wherry.engine import attach

from ..runtimes import wait_until
from .driver import Monitored, next_of
from .test_log import k8s_text


@pytest.fixture
def with_init(monitored: Monitored) -> Monitored:
    monitored.init = True
    return monitored


def test_the_command_is_a_child_of_pid_1(with_init: Monitored) -> None:
    with_init.bundle.shell("test $$ != 1 && exit 42")
    assert with_init.run()["exitCode"] == 42


def test_a_signal_that_ends_the_command_is_its_status(with_init: Monitored) -> None:
    with_init.bundle.shell("kill -SEGV $$")
    record = with_init.run()
    assert (record["exitCode"], record["signal"]) == (128 + signal.SIGSEGV, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH])
def test_signals_are_forwarded(with_init: Monitored, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    with_init.bundle.shell(f"trap 'exit 7' {name}; echo ready; while :; do sleep 0.02; done")
    with_init.create()
    with with_init.client() as client:
        client.follow()
        client.start()
        next_of(client, attach.Output)
        client.kill(number)
    assert with_init.wait()["exitCode"] == 7


def test_a_command_that_ignores_nothing_ends_by_term(with_init: Monitored) -> None:
    with_init.bundle.args("sleep", "1000")
    with_init.start()
    with with_init.client() as client:
        client.kill(signal.SIGTERM)
    assert with_init.wait()["exitCode"] == 143


def test_orphans_are_reaped(with_init: Monitored) -> None:
    with_init.bundle.shell("for i in 1 2 3 4 5; do sh -c 'sleep 0.01 & exit'; done; echo made; exec sleep 1000")
    with_init.start(*with_init.log_options())
    wait_until(lambda: b"made" in with_init.log.read_bytes())
    children = Path(f"/proc/{with_init.pid}/task/{with_init.pid}/children")
    wait_until(lambda: len(children.read_text().split()) == 1)


def test_the_init_keeps_no_descriptor(with_init: Monitored) -> None:
    with_init.bundle.args("sleep", "1000")
    with_init.start()
    assert sorted(os.listdir(f"/proc/{with_init.pid}/fd")) == ["0", "1", "2"]


def test_the_command_is_the_terminals_foreground_group(with_init: Monitored) -> None:
    with_init.bundle.process["terminal"] = True
    with_init.bundle.args("sh", "-c", "trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 0.02; done")
    with_init.create("--tty", "--stdin", *with_init.log_options())
    with with_init.client() as client:
        client.follow()
        client.start()
        next_of(client, attach.Output)
        client.send_stdin(b"\x03")
    assert with_init.wait()["exitCode"] == 3
    assert b"interrupted" in k8s_text(with_init.log.read_bytes())


@pytest.mark.parametrize(("command", "status"), [("/bad", 127)])
def test_a_command_that_cannot_be_executed(with_init: Monitored, command: str, status: int) -> None:
    (with_init.bundle.rootfs / "bad").write_text("#!/no/such/interpreter\n")
    (with_init.bundle.rootfs / "bad").chmod(0o755)
    with_init.bundle.args(command)
    report = with_init.start()
    assert report[-1].startswith(f"failed {status} ")


def test_signals_begin_unblocked_and_unignored(with_init: Monitored) -> None:
    with_init.bundle.args("grep", "-E", "^Sig(Blk|Ign)|^ShdPnd", "/proc/self/status")
    with_init.run(*with_init.log_options())
    text = k8s_text(with_init.log.read_bytes()).split()
    assert text[3::2] == [b"0" * 16, b"0" * 16]
