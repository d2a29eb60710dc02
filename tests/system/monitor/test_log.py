"""The container's log: formats, parts, rotation."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
from pathlib import Path

import pytest

from ..runtimes import wait_until
from .driver import Monitored

ENTRY = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) (stdout|stderr) ([FP]) (.*)\n", re.DOTALL)
COUNT = 30000


def k8s_entries(raw: bytes) -> list[tuple[str, str, bytes]]:
    """(stream, tag, text) of each line; every line must be one."""
    entries = []
    for line in raw.splitlines(keepends=True) if b"\r" not in raw else re.findall(rb"[^\n]*\n", raw):
        match = ENTRY.fullmatch(line)
        assert match, line
        entries.append((match[2].decode(), match[3].decode(), match[4]))
    return entries


def k8s_text(raw: bytes, stream: str = "stdout") -> bytes:
    lines = [ENTRY.fullmatch(line) for line in re.findall(rb"[^\n]*\n", raw)]
    assert all(lines)
    return b"".join(m[4] + b"\n" * (m[3] == b"F") for m in lines if m and m[2].decode() == stream)


def json_text(raw: bytes, stream: str = "stdout") -> str:
    entries = [json.loads(line) for line in raw.splitlines()]
    assert all(list(entry) == ["log", "stream", "time"] for entry in entries)
    return "".join(entry["log"] for entry in entries if entry["stream"] == stream)


def as_go_would(data: bytes) -> str:
    """Every byte that is no UTF-8 becomes one U+FFFD."""
    text = data.decode("utf-8", "surrogateescape")
    return "".join("\ufffd" if "\udc80" <= c <= "\udcff" else c for c in text)


def awkward_bytes() -> bytes:
    """Bytes that have broken log formats before: control characters, cut characters, no end of line."""
    source = random.Random(20261128)
    lines = [bytes(source.randrange(256) for _ in range(source.randrange(300))) for _ in range(400)]
    lines += [
        b"",
        b"\r",
        b'"\\\x00\x1b[0m\x7f',
        "é€😀".encode(),
        b"\xe2\x82",
        b"\xf0\x9f",
        b"\xed\xa0\x80",
        b"\xc0\xaf",
    ]
    lines += [b"x" * size for size in (16383, 16384, 16385, 32768, 70000)]
    lines += ["€".encode() * 20000, b"\x01" * 40000, b"no end of line"]
    return b"\n".join(lines)


def test_k8s_lines_name_stream_and_part(monitored: Monitored) -> None:
    monitored.bundle.shell("echo out; echo err >&2; printf part")
    monitored.run(*monitored.log_options())
    entries = k8s_entries(monitored.log.read_bytes())
    assert sorted(entries) == [("stderr", "F", b"err"), ("stdout", "F", b"out"), ("stdout", "P", b"part")]


def test_json_lines_are_dockers(monitored: Monitored) -> None:
    monitored.bundle.shell("echo out; echo err >&2; printf part")
    monitored.run(*monitored.log_options("json-file"))
    entries = [json.loads(line) for line in monitored.log.read_text().splitlines()]
    assert sorted((entry["stream"], entry["log"]) for entry in entries) == [
        ("stderr", "err\n"),
        ("stdout", "out\n"),
        ("stdout", "part"),
    ]


@pytest.mark.parametrize("driver", ["k8s-file", "json-file"])
def test_any_bytes_come_back_from_the_log(monitored: Monitored, driver: str) -> None:
    data = awkward_bytes()
    (monitored.bundle.rootfs / "data").write_bytes(data)
    monitored.bundle.args("cat", "/data")
    monitored.run(*monitored.log_options(driver))
    raw = monitored.log.read_bytes()
    if driver == "k8s-file":
        assert k8s_text(raw) == data
    else:
        assert json_text(raw) == as_go_would(data)


def test_long_lines_are_cut_at_16_kib(monitored: Monitored) -> None:
    monitored.bundle.shell("head -c 40000 /dev/zero | tr '\\0' x; echo; head -c 16384 /dev/zero | tr '\\0' y; echo")
    monitored.run(*monitored.log_options())
    entries = k8s_entries(monitored.log.read_bytes())
    text = b"".join(part for _, _, part in entries)
    assert text == b"x" * 40000 + b"y" * 16384
    assert all(len(part) <= 16384 for _, _, part in entries)
    assert [tag for _, tag, _ in entries].count("F") == 2


def test_a_prompt_is_logged_before_its_line_ends(monitored: Monitored) -> None:
    monitored.bundle.shell("printf 'name? '; sleep 1000")
    monitored.start(*monitored.log_options())
    wait_until(lambda: b"stdout P name? \n" in monitored.log.read_bytes())


@pytest.mark.parametrize("driver", ["k8s-file", "json-file"])
def test_rotation_under_load_neither_loses_nor_doubles_a_line(monitored: Monitored, driver: str) -> None:
    monitored.bundle.shell(f"seq 1 {COUNT} & seq 1 {COUNT} >&2; wait")
    limits = ("--log-max-size", "50000", "--log-max-files", "1000")
    monitored.run(*monitored.log_options(driver, *limits))
    files = sorted(monitored.log.parent.glob(f"{monitored.log.name}*"), key=lambda path: -rank(path.suffix))
    assert len(files) > 20
    assert all(path.stat().st_size <= 50000 for path in files)
    raw = b"".join(path.read_bytes() for path in files)
    expected = "".join(f"{n}\n" for n in range(1, COUNT + 1))
    for stream in ("stdout", "stderr"):
        got = k8s_text(raw, stream).decode() if driver == "k8s-file" else json_text(raw, stream)
        assert got == expected


def rank(suffix: str) -> int:
    return int(suffix[1:]) if suffix[1:].isdigit() else 0


def test_only_so_many_files_are_kept(monitored: Monitored) -> None:
    monitored.bundle.shell(f"seq 1 {COUNT}")
    monitored.run(*monitored.log_options("k8s-file", "--log-max-size", "20000", "--log-max-files", "3"))
    names = sorted(path.name.removeprefix(monitored.log.name) for path in monitored.log.parent.glob("*.log*"))
    assert names == ["", ".1", ".2"]
    raw = b"".join((monitored.log.parent / (monitored.log.name + name)).read_bytes() for name in reversed(names))
    numbers = [int(text) for _, _, text in k8s_entries(raw)]
    assert numbers == list(range(numbers[0], COUNT + 1))


def test_one_file_begins_anew_when_it_is_full(monitored: Monitored) -> None:
    monitored.bundle.shell(f"seq 1 {COUNT}")
    monitored.run(*monitored.log_options("k8s-file", "--log-max-size", "20000"))
    assert monitored.log.stat().st_size <= 20000
    assert k8s_entries(monitored.log.read_bytes())[-1] == ("stdout", "F", b"%d" % COUNT)


def test_the_log_is_appended_to_by_the_next_start(monitored: Monitored) -> None:
    monitored.log.write_bytes(b"2026-11-28T00:00:00.000000000Z stdout F before\n")
    monitored.bundle.shell("echo after")
    monitored.run(*monitored.log_options())
    assert [text for _, _, text in k8s_entries(monitored.log.read_bytes())] == [b"before", b"after"]


def test_reopening_follows_an_outside_rotation(monitored: Monitored) -> None:
    monitored.bundle.shell("echo one; read line; echo $line; sleep 1000")
    monitored.start(*monitored.log_options(), "--stdin")
    wait_until(lambda: b"one" in monitored.log.read_bytes())
    rotated = monitored.log.rename(monitored.log.with_suffix(".old"))
    with monitored.client() as client:
        client.reopen_log()
        client.send_stdin(b"two\n")
        wait_until(lambda: monitored.log.exists() and b"two" in monitored.log.read_bytes())
    assert b"two" not in rotated.read_bytes()


def test_without_a_log_output_is_read_and_forgotten(monitored: Monitored) -> None:
    monitored.bundle.shell("head -c 1000000 /dev/zero; echo >&2")
    assert monitored.run()["exitCode"] == 0
    assert not monitored.log.exists()


def test_a_full_disk_does_not_stop_the_container(monitored: Monitored) -> None:
    monitored.bundle.shell(f"seq 1 {COUNT}")
    assert monitored.run("--log-driver", "k8s-file", "--log-path", "/dev/full")["exitCode"] == 0


def test_passthrough_leaves_the_starters_streams(monitored: Monitored, place: Path) -> None:
    monitored.bundle.shell("cat; echo err >&2")
    plan_fd = os.open(monitored.prepare(), os.O_RDONLY)
    report, report_end = os.pipe()
    (place / "in").write_text("hello")
    command = monitored.command(plan_fd, report_end, "--detach-start", "--log-driver", "passthrough")
    with (place / "in").open() as stdin, (place / "out").open("w") as out, (place / "err").open("w") as err:
        subprocess.run(command, pass_fds=(plan_fd, report_end), stdin=stdin, stdout=out, stderr=err, check=True)
    os.close(plan_fd)
    os.close(report_end)
    with os.fdopen(report) as lines:
        assert lines.read().endswith("started\n")
    assert monitored.wait()["exitCode"] == 0
    assert ((place / "out").read_text(), (place / "err").read_text()) == ("hello", "err\n")


def test_another_user_may_open_its_streams_again(monitored: Monitored) -> None:
    monitored.bundle.process["user"] = {"uid": 1000, "gid": 1000}
    monitored.bundle.shell("echo out > /dev/stdout; echo err > /dev/stderr")
    assert monitored.run(*monitored.log_options())["exitCode"] == 0
    assert sorted(k8s_entries(monitored.log.read_bytes())) == [("stderr", "F", b"err"), ("stdout", "F", b"out")]


def test_a_user_namespace_writes_like_any(monitored: Monitored) -> None:
    monitored.bundle.map_root()
    monitored.bundle.shell("echo out > /dev/stdout; id -u >&2")
    assert monitored.run(*monitored.log_options(), "--stdio-uid", "100000", "--stdio-gid", "100000")["exitCode"] == 0
    assert sorted(k8s_entries(monitored.log.read_bytes())) == [("stderr", "F", b"0"), ("stdout", "F", b"out")]
