"""The attach socket."""

from __future__ import annotations

import os
import select
import signal

import pytest

from wherry.engine import attach
from wherry.errors import WherryError

from ..runtimes import wait_until
from .driver import Monitored, is_alive, next_of, output_of
from .test_log import k8s_text

MEGABYTES = 8


def lines(output: bytes) -> list[bytes]:
    """Lines of a terminal, whichever way it ends them."""
    return output.replace(b"\r", b"").splitlines()


def test_two_clients_see_the_same(monitored: Monitored) -> None:
    monitored.bundle.shell("read line; echo got $line; echo err >&2")
    monitored.create("--stdin")
    with monitored.client() as first, monitored.client() as second:
        for client in (first, second):
            client.follow()
        first.start()
        second.send_stdin(b"hello\n")
        for client in (first, second):
            events = list(client.events())
            outputs = {(event.stream, event.data) for event in events if isinstance(event, attach.Output)}
            assert outputs == {(attach.STDOUT, b"got hello\n"), (attach.STDERR, b"err\n")}
            assert isinstance(events[0], attach.Started)
            assert events[-1] == attach.Exit(0, 0, 0, False, True)


def test_a_client_may_follow_one_stream(monitored: Monitored) -> None:
    monitored.bundle.shell("echo out; echo err >&2")
    monitored.create()
    with monitored.client() as client:
        client.follow(stdout=False)
        client.start()
        assert output_of(client) == b"err\n"


def test_closing_stdin_comes_after_the_bytes_before_it(monitored: Monitored) -> None:
    data = os.urandom(1_000_000)
    monitored.bundle.args("cat")
    monitored.create("--stdin")
    with monitored.client() as reader, monitored.client() as writer:
        reader.follow(lossless=True)
        writer.start()
        got = []
        sender = iter(attach.encode_stdin(data))
        frame: bytes | None = next(sender)
        writer.socket.setblocking(False)
        while frame is not None:  # what comes back must be read, or all three wait for each other
            ready, writable, _ = select.select([reader], [writer], [])
            if writable:
                writer.socket.send(frame)
                frame = next(sender, None)
            if ready and isinstance(event := reader.receive(), attach.Output):
                got.append(event.data)
        writer.socket.setblocking(True)
        writer.close_stdin()
        assert b"".join([*got, output_of(reader)]) == data
    assert monitored.wait()["exitCode"] == 0


def test_stdin_ends_with_its_first_giver_if_asked(monitored: Monitored) -> None:
    monitored.bundle.args("cat")
    monitored.start("--stdin", "--stdin-once")
    with monitored.client() as client:
        client.send_stdin(b"x")
    assert monitored.wait()["exitCode"] == 0


def test_stdin_outlives_its_givers_otherwise(monitored: Monitored) -> None:
    monitored.bundle.shell("read a; read b; test $a$b = onetwo")
    monitored.start("--stdin")
    for word in (b"one\n", b"two\n"):
        with monitored.client() as client:
            client.send_stdin(word)
            client.detach()
    assert monitored.wait()["exitCode"] == 0


def test_without_stdin_the_container_reads_nothing(monitored: Monitored) -> None:
    monitored.bundle.shell("cat; sleep 1000")
    monitored.start()
    with monitored.client() as client:
        client.send_stdin(b"x")
        refused = next_of(client, attach.Refused)
    assert (refused.request, refused.message) == (attach.STDIN, "the container has no stdin")


def test_a_terminal_is_resized_and_echoes(monitored: Monitored) -> None:
    monitored.bundle.process["terminal"] = True
    monitored.bundle.shell("read line; stty size; test -t 0 -a -t 1 -a -t 2 && echo all terminals")
    monitored.create("--tty", "--stdin")
    with monitored.client() as client:
        client.follow()
        client.resize(33, 120)
        client.start()
        client.send_stdin(b"go\n")
        assert lines(output_of(client)) == [b"go", b"33 120", b"all terminals"]


def test_a_terminal_changes_while_the_container_runs(monitored: Monitored) -> None:
    monitored.bundle.process["terminal"] = True
    monitored.bundle.shell("trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done")
    monitored.create("--tty")
    with monitored.client() as client:
        client.follow()
        client.start()
        assert lines(next_of(client, attach.Output).data) == [b"ready"]
        client.resize(10, 20)
        assert lines(output_of(client)) == [b"10 20"]


def test_without_a_terminal_resize_is_refused(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.start()
    with monitored.client() as client, pytest.raises(WherryError, match="no terminal"):
        client.resize(1, 1)


def test_detaching_leaves_the_container_alone(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.start()
    with monitored.client() as client:
        client.follow()
        client.detach()
        assert client.receive() == attach.Started(monitored.pid)
        assert client.receive() is None
    assert is_alive(monitored.pid)


def test_a_slow_reader_loses_output_and_learns_how_much(monitored: Monitored) -> None:
    monitored.bundle.shell(f"head -c {MEGABYTES}000000 /dev/zero; read line; echo end")
    monitored.create("--stdin")
    with monitored.client() as slow, monitored.client() as careful:
        slow.follow()
        careful.follow(lossless=True)
        careful.start()
        got = b""
        while len(got) < MEGABYTES * 1_000_000:
            got += next_of(careful, attach.Output).data
        careful.send_stdin(b"\n")
        events = list(slow.events())
        assert got + output_of(careful) == bytes(MEGABYTES * 1_000_000) + b"end\n"
    dropped = sum(event.size_bytes for event in events if isinstance(event, attach.Dropped))
    seen = sum(len(event.data) for event in events if isinstance(event, attach.Output))
    assert dropped > 0
    assert dropped + seen == MEGABYTES * 1_000_000 + 4


def test_a_client_that_never_reads_does_not_stop_the_container(monitored: Monitored) -> None:
    monitored.bundle.shell(f"head -c {MEGABYTES}000000 /dev/zero")
    monitored.create(*monitored.log_options())
    with monitored.client() as client:
        client.follow()
        client.start()
        wait_until(lambda: (monitored.folder / "exit.json").exists())
    assert monitored.wait()["exitCode"] == 0
    assert len(k8s_text(monitored.log.read_bytes())) == MEGABYTES * 1_000_000


def test_following_continues_exactly_where_the_log_ends(monitored: Monitored) -> None:
    monitored.bundle.shell("i=0; until test -e /enough; do echo line $i; printf part; i=$((i+1)); done")
    monitored.create(*monitored.log_options())
    with monitored.client() as starter, monitored.client() as client:
        starter.start()
        wait_until(lambda: monitored.log.stat().st_size > 10000)
        place = client.follow(lossless=True)
        assert place.log_inode == monitored.log.stat().st_ino
        before = k8s_text(monitored.log.read_bytes()[: place.log_size_bytes])
        (monitored.bundle.rootfs / "enough").touch()
        after = output_of(client)
    count = (before + after).count(b"\n")
    assert before + after == b"".join(b"line %d\npart" % i for i in range(count))
    assert k8s_text(monitored.log.read_bytes()) == before + after


def test_a_signal_is_sent_to_the_container(monitored: Monitored) -> None:
    monitored.bundle.shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done")
    monitored.create()
    with monitored.client() as client:
        client.follow()
        client.start()
        next_of(client, attach.Output)
        client.kill(signal.SIGTERM)
    assert monitored.wait()["exitCode"] == 7


def test_requests_that_make_no_sense_are_refused(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.start()
    with monitored.client() as client:
        for frame in (b"\x00", b"\xff" * 100, b"\x03\x01", b"\x04", b"\x04\x40", b"\x09", b"\x06"):
            client.socket.send(frame)
            assert next_of(client, attach.Refused).request == frame[0]
        client.socket.send(bytes(60000))
        assert next_of(client, attach.Refused).message == "frame too long"
    assert is_alive(monitored.pid)


def test_more_clients_than_there_is_room_for_are_turned_away(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.start()
    clients = [monitored.client() for _ in range(33)]
    assert [isinstance(client.receive(), attach.Started) for client in clients] == [True] * 32 + [False]
    clients[0].close()
    for client in clients[1:]:
        client.close()
    with monitored.client() as client:
        assert next_of(client, attach.Started)


def test_a_command_that_cannot_be_executed_is_told_to_the_starter(monitored: Monitored) -> None:
    (monitored.bundle.rootfs / "bad").write_text("#!/no/such/interpreter\n")
    (monitored.bundle.rootfs / "bad").chmod(0o755)
    monitored.bundle.args("/bad")
    monitored.create()
    with monitored.client() as client:
        client.socket.send(attach.encode(attach.START))
        refused = next_of(client, attach.Refused)
        assert refused.status == 127
        assert "no such file or directory" in refused.message
        assert next_of(client, attach.Exit) == attach.Exit(127, 0, 0, False, True)


def test_other_users_are_turned_away(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.start()
    assert (monitored.folder / "attach.sock").stat().st_mode & 0o777 == 0o600
