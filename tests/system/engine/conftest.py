"""A host of its own for the engine: store, run root and network namespace, with a busybox image."""

from __future__ import annotations

import os
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from ..runtimes import cgroups_named, mounts_below

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = Path(__file__).parents[3] / ".venv/bin"
IMAGE = "busybox:test"


class Wherry:
    """The command on a store of its own, in a network namespace of its own."""

    def __init__(self, place: Path, netns: str) -> None:
        self.place = place
        self.netns = netns
        self.root = place / "root"
        self.run_root = place / "run"

    def command(self, *words: str) -> list[str]:
        enter = ["nsenter", f"--net=/run/netns/{self.netns}"] if self.netns else []
        return [*enter, str(BIN / "wherry"), "--root", str(self.root), "--run-root", str(self.run_root), *words]

    def __call__(self, *words: str, check: bool = True, input: str = "", timeout_s: float = 60, env=None):
        done = subprocess.run(
            self.command(*words), input=input, capture_output=True, text=True, timeout=timeout_s, env=env, check=False
        )
        if check:
            assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def out(self, *words: str, **more) -> str:
        return self(*words, **more).stdout.strip()


def busybox_tarball(path: Path) -> None:
    """A root file system of Debian's static busybox."""
    listed = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    with tarfile.open(path, "w") as archive:
        for name in ("bin", "etc", "tmp", "root", "dev", "proc", "sys", "var"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(entry)
        archive.add("/bin/busybox", "bin/busybox", filter=_as_root)
        for applet in listed:
            if applet != "busybox":
                entry = tarfile.TarInfo(f"bin/{applet}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(entry)
        for name, text in {
            "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
            "etc/group": "root:x:0:\nuser:x:1000:\n",
        }.items():
            source = path.with_suffix(".text")
            source.write_text(text)
            archive.add(source, name, filter=_as_root)
            source.unlink()


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


@pytest.fixture(scope="module")
def host() -> Iterator[Wherry]:
    """One store for the tests of a module; nothing may be left of it at the end."""
    netns = f"wt{uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", netns], check=True)
    subprocess.run(["nsenter", f"--net=/run/netns/{netns}", "ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="wherry-engine-", ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        wherry = Wherry(place, netns)
        busybox_tarball(place / "busybox.tar")
        wherry("import", "-c", 'CMD ["sh"]', str(place / "busybox.tar"), IMAGE)
        yield wherry
        wherry("rm", "-f", "--all")
        assert not mounts_below(place)
        rules = subprocess.run(
            ["nsenter", f"--net=/run/netns/{netns}", "nft", "list", "ruleset"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert " : 10." not in rules, "a published port is left"
    subprocess.run(["ip", "netns", "delete", netns], check=True)


@pytest.fixture
def wherry(host: Wherry) -> Iterator[Wherry]:
    """The host's command; every container is removed after the test, and its cgroups with it."""
    yield host
    ids = host.out("ps", "-aq", "--no-trunc").split()
    host("rm", "-f", "--all")
    assert not [group for identifier in ids for group in cgroups_named(identifier)]
    assert not list((host.run_root / "containers").glob("*"))
    assert not list((host.run_root / "netns").glob("*"))


@pytest.fixture
def name() -> str:
    return f"c-{uuid4().hex[:8]}"


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, **more}
