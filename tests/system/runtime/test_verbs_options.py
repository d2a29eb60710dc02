"""Global options, the log, and where containers are kept."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from ..runtimes import Container, Runtime


def test_version(runtime: Runtime) -> None:
    for flag in ("--version", "-v"):
        text = subprocess.run([runtime.executable, flag], check=True, capture_output=True, text=True).stdout
        lines = text.splitlines()
        assert re.fullmatch(r"\S+ version \S+", lines[0])
        assert lines[1].startswith("commit: ")
        assert any(re.fullmatch(r"spec: \d+\.\d+\.\d+.*", line) for line in lines)


def test_the_log_is_what_engines_parse(runtime: Runtime, place: Path, only) -> None:
    only("wherry-runtime", "runc")
    log = place / "log.json"
    result = runtime("--log", str(log), "--log-format", "json", "state", "nope", check=False)
    assert result.status == 1
    record = json.loads(log.read_text().splitlines()[-1])
    assert record["level"] == "error"
    assert "does not exist" in record["msg"]
    assert record["time"]
    assert "does not exist" in result.stderr


def test_the_log_as_text(runtime: Runtime, place: Path, only) -> None:
    only("wherry-runtime", "runc")
    log = place / "log"
    log.write_text("kept\n")
    runtime(f"--log={log}", "state", "nope", check=False)
    kept, line = log.read_text().splitlines()
    assert kept == "kept"
    assert re.fullmatch(r'time="[^"]+Z?" level=error msg="container does not exist"', line)


@pytest.mark.parametrize(
    ("log", "mounts", "wanted"),
    [
        (
            "journald:me",
            "mount -t tmpfs t /run; mkdir -p /run/systemd/journal; mount --bind {} /run/systemd/journal",
            b"PRIORITY=3\nSYSLOG_IDENTIFIER=me\nMESSAGE=container does not exist\n",
        ),
        (
            "syslog:me",
            "mount -t tmpfs t /dev; touch /dev/log; mount --bind {}/socket /dev/log",
            b"<11>me: container does not exist",
        ),
    ],
)
def test_the_log_in_the_systems_journal(runtime: Runtime, place: Path, only, log: str, mounts: str, wanted) -> None:
    only("wherry-runtime")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(place / "socket"))
        command = runtime.command("--log", log, "state", "nope")
        script = f'set -e; {mounts.format(place)}; exec "$0" "$@"'
        result = subprocess.run(["unshare", "-m", "sh", "-c", script, *command], check=False)
        assert result.returncode == 1
        journal.settimeout(10)
        assert journal.recv(4096) == wanted


def test_an_unwritable_log_is_an_error(runtime: Runtime, place: Path) -> None:
    result = runtime("--log", str(place / "no/such/folder"), "state", "nope", check=False)
    assert result.status != 0
    assert "no such file" in result.stderr.lower()


def test_a_wrong_log_format(runtime: Runtime) -> None:
    result = runtime("--log-format", "xml", "state", "nope", check=False)
    assert result.status != 0


@pytest.mark.parametrize(
    "flags",
    [
        ("--debug",),
        ("--systemd-cgroup=false",),
        ("--rootless", "false"),
        ("--rootless=auto",),
        ("-debug",),
        ("--log-level=error",),
        ("--cgroup-manager", "cgroupfs"),
    ],
)
def test_options_of_the_known_runtimes(runtime: Runtime, only, flags) -> None:
    only("wherry-runtime")
    assert runtime(*flags, "list", "-q").stdout == ""


def test_names_that_look_like_help(make_container, runtime: Runtime, only) -> None:
    only("wherry-runtime")
    for name in ("h", "help"):
        container = make_container()
        container.id = name
        container.create()
        assert container.status == "created"
        container.delete()


def test_the_root_follows_the_session(runtime_path: str, place: Path, only) -> None:
    only("wherry-runtime")
    folder = place / "session/wherry/runtime/some"
    folder.mkdir(parents=True)
    (place / "session").chmod(0o755)
    listing = subprocess.run(
        [runtime_path, "list", "-q"],
        check=True,
        capture_output=True,
        text=True,
        user=65534,
        env={"XDG_RUNTIME_DIR": str(place / "session")},
    )
    assert listing.stdout == "some\n"


def test_a_root_in_tmp_that_others_can_write_is_refused(runtime_path: str, only) -> None:
    only("wherry-runtime")
    uid = 54321
    folder = Path(f"/tmp/wherry-{uid}")
    folder.mkdir()
    try:
        result = subprocess.run(
            [runtime_path, "list", "-q"], capture_output=True, text=True, user=uid, env={}, check=False
        )
    finally:
        folder.rmdir()
    assert result.returncode == 1
    assert "not a directory that only this user can write" in result.stderr


def test_a_relative_root(created: Container, only) -> None:
    only("wherry-runtime", "runc")
    runtime = created.runtime
    command = [runtime.executable, "--root", os.path.relpath(runtime.root, "/usr"), "list", "-q"]
    assert subprocess.check_output(command, cwd="/usr", text=True).split() == [created.id]
