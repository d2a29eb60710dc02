"""Any step may fail, any process may be killed at any step: nothing is left behind, and the step is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wherry.plan import instructions as i

from .harness import wait_until

if TYPE_CHECKING:
    from .harness import Box

HOST_STEPS, INIT_STEPS = 7, 18


@pytest.fixture
def full(box: Box) -> Box:
    """A box whose plan touches many things, with a mark that its processes carry."""
    box.mount("proc", "/proc")
    box.mount("tmpfs", "/data")
    box.bind("/etc", "/etc")
    box.mounts += [("MASK", "/proc/uptime"), ("READONLY", "/proc/sys")]
    box.inside += [("UMASK", 0o22), ("CHDIR", "/data", 0)]
    box.delete += [("WRITE", i.NONE, str(box.place / "deleted"), b"yes", i.WRITE_CREATE)]
    box.shell("exit 0")
    return box


def children() -> set[str]:
    own = f"/proc/self/task/{os.getpid()}/children"
    return set(Path(own).read_text().split())


def steps(box: Box, program: int) -> int:
    return len(box.plan().program(program).steps)


def test_every_step_of_host_and_init_may_fail(full: Box) -> None:
    for name, program in (("HOST", i.HOST), ("INIT", i.INIT)):
        for number in range(steps(full, program)):
            full.state.mkdir(parents=True, exist_ok=True)
            (full.place / "deleted").unlink(missing_ok=True)
            result = full.run(env={"WHERRY_FAIL": f"{name}:{number}"})
            assert result.status == 1, (name, number, result)
            assert result.stderr.endswith("injected fault\n"), (name, number, result)
            assert not full.state.exists(), (name, number)
            assert (full.place / "deleted").exists(), (name, number)


def test_init_may_be_killed_at_every_step(full: Box) -> None:
    for number in range(steps(full, i.INIT)):
        full.state.mkdir(parents=True, exist_ok=True)
        result = full.run(env={"WHERRY_FAIL": f"INIT:{number}:kill"})
        assert result.status in (1, 137), (number, result)
        assert not full.state.exists(), number


def test_init_ends_when_host_is_killed_at_any_step(full: Box) -> None:
    """What a killed HOST leaves is a folder without a process; @create of the same container works after a delete."""
    full.shell("sleep 1000")
    for number in range(steps(full, i.HOST)):
        full.state.mkdir(parents=True, exist_ok=True)
        result = full.execute("@create", env={"WHERRY_FAIL": f"HOST:{number}:kill"})
        assert result.status == -9, (number, result)
        wait_until(lambda: not processes_below(full.rootfs))
        for entry in full.state.iterdir():
            entry.unlink()


def processes_below(rootfs: Path) -> list[str]:
    """Processes that see this root directory's files, by their mounts."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            if str(rootfs) in Path(f"/proc/{entry}/cmdline").read_text() + Path(f"/proc/{entry}/mountinfo").read_text():
                found.append(entry)
        except OSError:
            continue
    return found
