"""Every step of real plans fails, or is where the process is killed: nothing is left, and the next start works."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from wherry.plan.decode import decode
from wherry.plan.instructions import PROGRAMS

from ..bundle import Bundle
from ..runtimes import Container, Runtime, children, mounts_below, process_state, wait_until
from .conftest import PROJECT

OURS = "wherry-runtime"
HOST, STAGE, INIT, START, DELETE = (PROGRAMS.index(name) for name in ("HOST", "STAGE", "INIT", "START", "DELETE"))


@pytest.fixture(scope="session")
def faulty(installed: Path) -> Path:
    """A copy of the package whose native program fails on demand (WHERRY_FAIL)."""
    subprocess.run(["make", "-s", "-C", PROJECT / "native", "faults"], check=True, stdout=subprocess.DEVNULL)
    place = installed.with_name("faulty")
    shutil.copytree(installed, place, symlinks=True)
    shutil.copy(PROJECT / ".build/native/wherry-faults", place / "bin/wherry-runtime")
    return place / "bin/wherry-runtime"


@pytest.fixture
def failing(runtime: Runtime, faulty: Path, only) -> Runtime:
    only(OURS)
    runtime.executable = str(faulty)
    runtime.prefix = [runtime.executable]
    return runtime


def plain(bundle: Bundle) -> None:
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro").mount("/new/target", "tmpfs", "tmpfs", "tmpcopyup", "ro")
    bundle.linux["resources"] |= {"pids": {"limit": 50}, "memory": {"limit": 1 << 30}}
    bundle.linux["devices"] = [{"path": "/dev/own", "type": "c", "major": 1, "minor": 5}]
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    bundle.config["hooks"] = {
        kind: [{"path": "/bin/true"}]
        for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    }


def with_stage(bundle: Bundle) -> None:
    """A user namespace, a time namespace with offsets (they need a process in between), seccomp, its own cgroups."""
    bundle.map_root().namespace("time").namespace("cgroup")
    bundle.linux["timeOffsets"] = {"monotonic": {"secs": 5, "nanosecs": 0}}
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    bundle.mount("/bound", "bind", str(bundle.path), "bind", "ro")


def steps(container: Container, program: int) -> int:
    """How many steps a program of the created container's plan has."""
    plan = decode((container.runtime.root / container.id / "plan").read_bytes())
    found = plan.programs.get(program)
    return len(found.steps) if found else 0


def groups(name: str) -> list[Path]:
    """Groups of this name below our own: a walk through all of them would be too slow here."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    bases = [(controllers.removeprefix("name=") or "unified", own.lstrip("/")) for _, controllers, own in lines]
    places = [Path("/sys/fs/cgroup", folder, own, name) for folder, own in bases]
    return [place for place in places if place.exists()]


def collect() -> None:
    """Reap every child that ended. Killed before setsid, a process still has our session: `reap` leaves it."""
    for pid in children():
        if process_state(pid) == "Z":
            os.waitpid(pid, 0)


def nothing_left(container: Container, place: Path) -> dict[str, object]:
    """What of a container is still on the host."""
    collect()
    left: dict[str, object] = {
        "state": os.listdir(container.runtime.root),
        "groups": groups(container.id),
        "mounts": mounts_below(place),
        "processes": [pid for pid in children() if process_state(pid) not in ("", "Z")],
    }
    return {name: things for name, things in left.items() if things}


def settled(container: Container, place: Path) -> None:
    """INIT ends by itself when its creator is gone; that takes a moment."""
    wait_until(lambda: not nothing_left(container, place), 10, f"left: {nothing_left(container, place)}")


@pytest.fixture
def sleeper(request: pytest.FixtureRequest, failing: Runtime, container: Container) -> Container:
    """A container that sleeps; of the document that the test names, else of the plain one."""
    getattr(request, "param", plain)(container.bundle)
    container.bundle.args("sleep", "1000")
    return container


# Between the two documents every kind of step comes at least once.
PLANS = pytest.mark.parametrize(
    ("sleeper", "program"),
    [(plain, HOST), (plain, INIT), (with_stage, STAGE), (with_stage, INIT)],
    indirect=["sleeper"],
    ids=["HOST", "INIT", "STAGE", "INIT of a user namespace"],
)


@PLANS
def test_every_step_of_creation_may_fail(sleeper: Container, place: Path, program: int) -> None:
    """The failing verb undoes everything by itself."""
    sleeper.create()
    count = steps(sleeper, program)
    sleeper.delete("--force")
    for step in range(count):
        result = sleeper.create(env={"WHERRY_FAIL": f"{PROGRAMS[program]}:{step}"}, check=False)
        if result.status == 0:  # steps that only run after `start`
            assert program == INIT
            sleeper.start(check=False)
            sleeper.wait()
            sleeper.delete()
        else:
            assert "injected fault" in result.stderr, (step, result.stderr)
            assert len(result.stderr.splitlines()) == 1, (step, result.stderr)
        settled(sleeper, place)
    sleeper.create()
    sleeper.start()
    assert sleeper.status == "running"


@PLANS
def test_creation_may_be_killed_at_every_step(sleeper: Container, place: Path, program: int) -> None:
    """Then nobody is left to undo it: `list` shows it at most as stopped, and delete takes all away."""
    sleeper.create()
    count = steps(sleeper, program)
    sleeper.delete("--force")
    for step in range(count):
        result = sleeper.create(env={"WHERRY_FAIL": f"{PROGRAMS[program]}:{step}:kill"}, check=False)
        if result.status == 0:
            assert program == INIT
            sleeper.start(check=False)
            sleeper.wait()
        assert sleeper.runtime("list", "--format", "json").status == 0
        collect()
        sleeper.delete("--force")
        settled(sleeper, place)
    sleeper.create()
    sleeper.start()
    assert sleeper.status == "running"


@pytest.mark.parametrize("how", ["", ":kill"])
def test_every_step_of_start_may_fail(sleeper: Container, place: Path, how: str) -> None:
    sleeper.create()
    count = steps(sleeper, START)
    sleeper.delete("--force")
    for step in range(count):
        sleeper.create()
        result = sleeper.runtime("start", sleeper.id, env={"WHERRY_FAIL": f"START:{step}{how}"}, check=False)
        assert result.status == (137 if how else 1)
        sleeper.delete("--force")
        settled(sleeper, place)


@pytest.mark.parametrize("how", ["", ":kill"])
def test_every_step_of_delete_may_fail(sleeper: Container, place: Path, how: str) -> None:
    """A second delete finishes what the first one began."""
    sleeper.create()
    count = steps(sleeper, DELETE)
    sleeper.delete("--force")
    for step in range(count):
        sleeper.create()
        fault = {"WHERRY_FAIL": f"DELETE:{step}{how}"}
        result = sleeper.runtime("delete", "--force", sleeper.id, env=fault, check=False)
        assert result.status == 137 or not how
        assert sleeper.runtime("list", "--quiet").status == 0
        sleeper.delete("--force")
        settled(sleeper, place)


@pytest.mark.parametrize("how", ["", ":kill"])
@pytest.mark.parametrize("program", [HOST, INIT], ids=["HOST", "INIT"])
def test_every_step_of_exec_may_fail(sleeper: Container, place: Path, program: int, how: str) -> None:
    """The container lives on."""
    sleeper.create()
    sleeper.start()
    for step in range(80):
        result = sleeper.exec("true", env={"WHERRY_FAIL": f"{PROGRAMS[program]}:{step}{how}"}, check=False)
        collect()
        if result.status == 0:
            break
        assert sleeper.status == "running", (step, result.stderr)
    assert result.status == 0, "the plan ended before the steps"
    assert step > 3, "steps did fail"
    assert sleeper.exec("echo", "alive").stdout == "alive\n"
    sleeper.delete("--force")
    settled(sleeper, place)


def test_run_may_be_killed_at_any_moment(sleeper: Container, place: Path) -> None:
    """SIGKILL of the foreground runtime after ever longer moments of its life."""
    sleeper.bundle.save()
    for turn in range(25):
        process = subprocess.Popen(
            sleeper.runtime.command("run", "--bundle", sleeper.bundle.path, sleeper.id),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(turn * 0.004)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert sleeper.runtime("list").status == 0
        sleeper.runtime("delete", "--force", sleeper.id)
        settled(sleeper, place)
    sleeper.bundle.shell("echo fine")
    assert sleeper.run().stdout == "fine\n"
