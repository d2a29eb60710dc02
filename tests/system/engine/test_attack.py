"""What the world does to an engine: wiped folders, full and read-only disks, names that are not names."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wherry.engine.processes import owner_token

from ..runtimes import cgroups_named, mounts_below, wait_until
from .conftest import BIN, IMAGE, Wherry, busybox_tarball

if TYPE_CHECKING:
    from collections.abc import Iterator


def refused(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """One clear line, with what to do on a second; never a traceback."""
    assert done.returncode == status, done
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert 1 <= len(lines) <= 2 and lines[0].startswith("Error: "), done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def test_a_wiped_run_root_ends_what_it_hid(wherry: Wherry, name: str) -> None:
    identifier = wherry.out("run", "-d", "--name", name, "-p", "18300:80", IMAGE, "sleep", "1000")
    pid = int(wherry.out("inspect", "-f", "{{.State.Pid}}", name))
    subprocess.run(f"umount -l {wherry.run_root}/netns/*; rm -r {wherry.run_root}/*", shell=True, check=True)
    assert "Exited (255)" in wherry.out("ps", "-a")
    assert not os.path.exists(f"/proc/{pid}")
    assert cgroups_named(identifier) == []
    assert wherry.out("start", name) == name
    assert wherry.out("exec", name, "echo", "again") == "again"


@pytest.fixture
def small() -> Iterator[Wherry]:
    """A store and run root on a disk of 6 MiB."""
    place = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    busybox_tarball(place.with_suffix(".tar"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", place], check=True)
    wherry = Wherry(place, "")
    wherry("import", str(place.with_suffix(".tar")), IMAGE)
    yield wherry
    (place / "fill").unlink(missing_ok=True)
    wherry("rm", "-f", "--all")
    assert mounts_below(place) == [str(place)]
    wait_until(lambda: subprocess.run(["umount", place], capture_output=True, check=False).returncode == 0)
    place.rmdir()
    place.with_suffix(".tar").unlink()


def fill(place: Path) -> None:
    with (place / "fill").open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_a_full_disk(small: Wherry) -> None:
    options = ("--network", "none", "--log-driver", "none")
    small("run", "-d", "--name", "lives", *options, IMAGE, "sleep", "1000")
    small("create", "--name", "waits", *options, IMAGE, "true")
    fill(small.place)
    assert small.out("exec", "lives", "echo", "hi") == "hi"
    assert "lives" in small.out("ps")
    assert small.out("rm", "-f", "waits") == "waits"
    assert small.out("rm", "-f", "lives") == "lives"
    fill(small.place)
    refused(small("run", "--rm", *options, IMAGE, "true", check=False), 125, "o space")
    (small.place / "fill").unlink()
    assert small.out("ps", "-aq") == ""


def test_a_store_that_cannot_be_written(small: Wherry) -> None:
    small("create", "--name", "here", "--network", "none", IMAGE, "true")
    root = small.root
    subprocess.run(["mount", "--bind", root, root], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", root], check=True)
    try:
        assert "here" in small.out("ps", "-a")
        assert IMAGE.partition(":")[0] in small.out("images")
        refused(small("run", "--rm", "--network", "none", IMAGE, "true", check=False), 125, "cannot be written")
        refused(small("rm", "here", check=False), 1, "cannot be written")
        refused(small("rmi", IMAGE, check=False), 1)
        refused(small("tag", IMAGE, "other:1", check=False), 1, "cannot be written")
    finally:
        subprocess.run(["umount", root], check=True)


def test_a_container_that_another_process_is_making(wherry: Wherry, name: str) -> None:
    """Its row is there before anything else: it is nobody's yet, and no reason to fail."""
    with sqlite3.connect(wherry.root / "wherry.db") as database:
        database.execute(
            "INSERT INTO engine_containers (id, name, image, image_id, state, owner, created_ns)"
            " VALUES (?, ?, 'i', 'i', 'creating', ?, 1)",
            ("f" * 64, name, owner_token()),
        )
    database.close()
    assert name not in wherry.out("ps", "-a")
    for command in (["inspect"], ["stop"], ["start"], ["logs"], ["rm", "-f"], ["wait"], ["kill"]):
        refused(wherry(*command, name, check=False), 1, "being created")
    refused(wherry("exec", name, "true", check=False), 125, "being created")
    refused(wherry("run", "--name", name, IMAGE, "true", check=False), 125, "already in use")
    with sqlite3.connect(wherry.root / "wherry.db") as database:
        database.execute("UPDATE engine_containers SET owner = '' WHERE id = ?", ("f" * 64,))
    database.close()
    assert wherry.out("run", "--rm", "--name", name, IMAGE, "echo", "mine") == "mine"


def test_killed_clients_leave_no_locks(wherry: Wherry) -> None:
    identifier = wherry.out("run", "-d", IMAGE, "true")
    wherry("wait", identifier)
    waiting = [subprocess.Popen(wherry.command("rm", "-f", identifier), stderr=subprocess.PIPE) for _ in range(6)]
    for process in waiting:
        process.communicate()
    assert not (wherry.run_root / "locks" / identifier).exists()


def test_a_reader_that_stopped_reading_does_not_keep_a_container_from_its_end(wherry: Wherry, name: str) -> None:
    """As `wherry run … | less` does."""
    command = wherry.command("run", "--name", name, "--network", "none", IMAGE, "yes")
    with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        reader.stdout.read(1)
        log = wherry.root / "engine" / wherry.out("inspect", "-f", "{{.Id}}", name) / "container.log"
        wait_until(lambda: (size := log.stat().st_size) > 0 and not wait_for_growth(log, size))
        assert wherry.out("stop", "-t", "0", name) == name
        assert wherry.out("inspect", "-f", "{{.State.ExitCode}}", name) == "137"
        reader.stdout.close()


def wait_for_growth(path: Path, size_bytes: int) -> bool:
    """Whether a file still grows; the one wait that must see nothing happen."""
    subprocess.run(["sleep", "0.2"], check=True)
    return path.stat().st_size > size_bytes


def test_a_paused_container(wherry: Wherry, name: str) -> None:
    identifier = wherry.out("run", "-d", "--name", name, "--network", "none", IMAGE, "sleep", "1000")
    runtime = [str(BIN / "wherry-runtime"), "--root", str(wherry.run_root / "runtime")]
    subprocess.run([*runtime, "pause", identifier], check=True)
    assert "Paused" in wherry.out("ps")
    refused(wherry("exec", name, "true", check=False), 1, "paused")
    assert wherry.out("stop", "-t", "0", name) == name
    wherry("start", name)
    subprocess.run([*runtime, "pause", identifier], check=True)
    assert wherry.out("rm", "-f", name) == name


def test_roots_that_are_none(wherry: Wherry, tmp_path: Path) -> None:
    """An empty one would be the current folder."""
    command = [str(BIN / "wherry"), "--root", "", "images"]
    refused(subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False), 125, "needs a folder")
    assert os.listdir(tmp_path) == []
    for root in ("/proc/none", "/dev/null", f"{tmp_path}/{'x' * 300}"):
        command = [str(BIN / "wherry"), "--root", root, "--run-root", str(tmp_path / "run"), "images"]
        refused(subprocess.run(command, capture_output=True, text=True, check=False), 1)
    command = [str(BIN / "wherry"), "--root", str(tmp_path / "root"), "--run-root", "/dev/null", "images"]
    refused(subprocess.run(command, capture_output=True, text=True, check=False), 1, "/dev/null", "--run-root")


@pytest.mark.parametrize(
    "options",
    [
        ("-l", ""),
        ("-l", "=value"),
        ("-v", "/tmp:/x:ro,nonsense"),
        ("-v", "/:/"),
        ("-v", "/tmp:/etc/passwd"),
        ("-v", "/tmp:.."),
        ("-v", "no/../where:/x"),
        ("-v", "/no\nwhere:/x"),
        ("--name", "../x"),
        ("--name", "a\nb"),
        ("-e", "=x"),
        ("-p", "0:80"),
        ("-p", "65536:80"),
        ("--network", "host", "-p", "80:80"),
    ],
)
def test_options_that_cannot_be(wherry: Wherry, options: tuple[str, ...]) -> None:
    refused(wherry("run", "--rm", *options, IMAGE, "true", check=False), 125)
