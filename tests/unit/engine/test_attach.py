from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.engine import attach
from wherry.errors import CODES, DATA_LOSS, NOT_FOUND, UNAVAILABLE, WherryError

EXAMPLES = [
    (b"\x80\x03", attach.Done(attach.RESIZE)),
    (b"\x81hello", attach.Output(attach.STDOUT, b"hello")),
    (b"\x82", attach.Output(attach.STDERR, b"")),
    (b"\x83\x00\x01\0\0\0\0\0\0", attach.Dropped(256)),
    (b"\x84\x05\0\0\0\0\0\0\0\x00\x10\0\0\0\0\0\0", attach.Following(5, 4096)),
    (b"\x85\x39\x05\0\0", attach.Started(1337)),
    (b"\x86\x89\0\0\0\x09\0\0\0\x02\0\0\0\x01\x00", attach.Exit(137, 9, 2, True, False)),
    (b"\x87\x06\x7fno such file", attach.Refused(attach.START, 127, "no such file")),
    (b"\x88\x02", attach.Health("unhealthy")),
]


@pytest.mark.parametrize(("frame", "event"), EXAMPLES)
def test_decodes_every_event(frame: bytes, event: attach.Event) -> None:
    assert attach.decode(frame) == event


@pytest.mark.parametrize("frame", [b"", b"\x88\x03", b"\x80", b"\x83\0", b"\x86", b"\x87\x01", b"\x01x", b"\xff"])
def test_refuses_what_is_no_event(frame: bytes) -> None:
    with pytest.raises(WherryError) as caught:
        attach.decode(frame)
    assert caught.value.code == DATA_LOSS


@given(st.binary(max_size=64))
def test_any_bytes_decode_or_are_refused_by_one_error(frame: bytes) -> None:
    try:
        attach.decode(frame)
    except WherryError as error:
        assert error.code in CODES


@given(st.binary(max_size=100_000))
def test_stdin_is_cut_into_frames_that_fit(data: bytes) -> None:
    frames = list(attach.encode_stdin(data))
    assert b"".join(frame[1:] for frame in frames) == data
    assert all(frame[0] == attach.STDIN and 1 < len(frame) <= attach.PAYLOAD_LIMIT_BYTES + 1 for frame in frames)


def test_a_payload_over_the_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="32768"):
        attach.encode(attach.STDIN, bytes(32769))


def test_resize_is_rows_then_columns() -> None:
    assert attach.encode_resize(24, 80) == b"\x03\x18\x00\x50\x00"


@pytest.fixture
def monitor(tmp_path):
    """A socket that plays the monitor's part, one frame in, the given frames out."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(str(tmp_path / "attach.sock"))
    server.listen()
    received: list[bytes] = []
    threads = []

    def answer(*frames: bytes) -> attach.Client:
        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                received.append(peer.recv(65536))
                for frame in frames:
                    peer.send(frame)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return attach.Client(str(tmp_path))

    yield answer, received
    for thread in threads:
        thread.join()
    server.close()


def test_events_that_come_before_an_answer_are_not_lost(monitor) -> None:
    answer, received = monitor
    with answer(b"\x85\x01\0\0\0", b"\x81early", b"\x80\x06") as client:
        client.start()
        assert list(client.events()) == [attach.Started(1), attach.Output(attach.STDOUT, b"early")]
    assert received == [b"\x06"]


def test_a_refused_request_raises_its_message(monitor) -> None:
    answer, _ = monitor
    with answer(b"\x87\x06\x7fno such command") as client, pytest.raises(WherryError, match="no such command"):
        client.start()


def test_follow_tells_where_the_log_ends(monitor) -> None:
    answer, received = monitor
    with answer(b"\x84" + (7).to_bytes(8, "little") + (99).to_bytes(8, "little")) as client:
        assert client.follow(stderr=False, lossless=True) == attach.Following(7, 99)
    assert received == [b"\x04\x05"]


def test_a_monitor_that_leaves_before_the_answer_is_an_error(monitor) -> None:
    answer, _ = monitor
    with answer() as client, pytest.raises(WherryError) as caught:
        client.kill(9)
    assert caught.value.code == UNAVAILABLE


def test_no_folder_and_no_listener_are_told_apart(tmp_path) -> None:
    with pytest.raises(WherryError) as caught:
        attach.Client(str(tmp_path / "none"))
    assert caught.value.code == NOT_FOUND
    with pytest.raises(WherryError) as caught:
        attach.Client(str(tmp_path))
    assert caught.value.code == UNAVAILABLE


def test_long_paths_connect(tmp_path) -> None:
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    with pytest.raises(WherryError) as caught:
        attach.Client(str(folder))
    assert caught.value.code == UNAVAILABLE


def test_it_loads_neither_socket_nor_dataclasses() -> None:
    script = "import sys; before = set(sys.modules); import wherry.engine.attach; print(*set(sys.modules) - before)"
    source = str(Path(attach.__file__).parents[2])
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {source!r}); {script}"]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert not {"socket", "dataclasses", "typing", "re", "enum"} & set(loaded)
