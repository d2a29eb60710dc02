"""Plans written by hand, executed by the native program on the real kernel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, NamedTuple

from wherry.plan import instructions as i
from wherry.plan.encode import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.plan.encode import Program

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWTIME = 0x10000000, 0x20000000, 0x40000000, 0x80
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REC, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 14, 1 << 18, 1 << 19, 1 << 20
USUAL = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET
PATH = "/bin:/sbin"


class Result(NamedTuple):
    status: int
    stdout: str
    stderr: str


class Box:
    """A root directory, a state folder, and the plan of one container.

    `HOST` and `INIT` begin with what every plan needs; the test adds its steps in between by `mounts`
    (before pivot), `inside` (after it) and `host` (before the clone).
    """

    def __init__(self, executable: str, place: Path) -> None:
        self.executable = executable
        self.place = place
        self.rootfs = place / "rootfs"
        self.root = place / "state"
        self.id = "box"
        self.namespaces = USUAL
        self.host: list[tuple[object, ...]] = []
        self.after_clone: list[tuple[object, ...]] = []
        self.early: list[tuple[object, ...]] = []
        self.mounts: list[tuple[object, ...]] = []
        self.inside: list[tuple[object, ...]] = []
        self.late: list[tuple[object, ...]] = []
        self.start: list[tuple[object, ...]] = []
        self.delete: list[tuple[object, ...]] = []
        self.args = ["/bin/true"]
        self.env = [f"PATH={PATH}"]
        self.exec_flags = 0
        self.keep_fds = 0
        self.pivot = i.PIVOT_ROOT
        self.root_flags = i.ROOT_BIND
        make_rootfs(self.rootfs)
        (self.root / self.id).mkdir(parents=True)

    @property
    def state(self) -> Path:
        return self.root / self.id

    def shell(self, script: str) -> None:
        self.args = ["/bin/sh", "-c", script]

    def mount(
        self, kind: str, target: str, flags: int = 0, data: str = "", how: int = 0, source: str = "", mode: int = 0o755
    ) -> None:
        """A MOUNT step before the pivot."""
        self.mounts.append(("MOUNT", kind, source or kind, target, flags, data, i.KIND_DIRECTORY, mode, how))

    def bind(self, source: str, target: str, *, flags: int = 0, recursive: bool = True) -> None:
        """TREE and ATTACH steps before the pivot."""
        tree = i.TREE_RECURSIVE if recursive else 0
        self.mounts += [("TREE", 9, i.NONE, source, tree), ("ATTACH", 9, target, i.KIND_LIKE_SOURCE, flags)]

    def plan(self) -> Plan:
        plan = Plan()
        host = plan.program(i.HOST)
        _add(host, self.host, "host")
        host.emit("FIFO", i.NONE, f"{self.state}/exec.fifo", 0o622, -1, -1)
        host.emit("OPEN", i.FIFO, i.NONE, f"{self.state}/exec.fifo", os.O_PATH, 0, 0)
        host.emit("CLONE", i.INIT, self.namespaces, i.NONE)
        _add(host, self.after_clone, "after")
        host.emit("POST", 1)
        host.emit("AWAIT", 2)
        host.emit("SAVE_STATE")
        self._init(plan.program(i.INIT))
        _add(plan.program(i.START), self.start, "start")
        _add(plan.program(i.DELETE), self.delete, "delete")
        return plan

    def _init(self, init: Program) -> None:
        init.emit("PDEATHSIG", 9)
        init.emit("AWAIT", 1)
        _add(init, self.early, "early")
        init.emit("PROPAGATION", "/", MS_SLAVE | MS_REC)
        init.emit("ROOTFS", str(self.rootfs), self.root_flags, where="root")
        init.emit("PROCFS")
        _add(init, self.mounts, "mounts")
        init.emit("POST", 2)
        init.emit("PIVOT", self.pivot)
        _add(init, self.inside, "inside")
        init.emit("FIND", self.args[0], PATH, where="process.args[0]")
        init.emit("WAIT_START")
        _add(init, self.late, "late")
        init.emit("CLOSE_RANGE", 3 + self.keep_fds)
        init.emit("EXEC", self.args, self.env, self.exec_flags, self.keep_fds)

    def execute(
        self, verb: str, *flags: str, plan: Plan | None = None, before: tuple[str, ...] = (), **more: object
    ) -> Result:
        """`verb` with this box's plan, behind the command `before`.

        The streams are files, so that nothing blocks on what outlives it.
        """
        with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            file.write((plan or self.plan()).encode())
            file.flush()
            number = file.fileno()
            place = [] if verb == "@exec" else ["--root", str(self.root), "--id", self.id]
            command = [*before, self.executable, verb, *place, *flags, str(number)]
            options: dict[str, object] = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err, "timeout": 60}
            options |= more
            options["pass_fds"] = (number, *more.get("pass_fds", ()))  # type: ignore[misc]
            done = subprocess.run(command, **options, check=False)  # type: ignore[call-overload]
            out.seek(0)
            err.seek(0)
            return Result(done.returncode, out.read().decode(), err.read().decode("utf-8", "replace"))

    def created(self) -> int:
        """@create; the pid of INIT, which waits for start."""
        result = self.execute("@create")
        assert result.status == 0, result
        return int(json.loads((self.state / "state.json").read_text())["pid"])

    def exec_plan(self, pid: int, *argv: str, inside: tuple[tuple[object, ...], ...] = ()) -> Plan:
        """A plan that executes something in the container of process `pid`."""
        plan = Plan()
        host, init = plan.program(i.HOST), plan.program(i.INIT)
        host.emit("PIDFD", i.TARGET, pid, start_time(pid))
        host.emit("SETNS", i.TARGET, CLONE_NEWPID)
        host.emit("CLONE", i.INIT, 0, i.NONE)
        host.emit("POST", 1)
        init.emit("PDEATHSIG", 9)
        init.emit("DUMPABLE", 0)
        init.emit("AWAIT", 1)
        init.emit("SETNS", i.TARGET, self.namespaces & ~CLONE_NEWPID)
        init.emit("ROOTFS", "/", 0)
        init.emit("PROCFS")
        _add(init, list(inside), "inside")
        init.emit("FIND", argv[0], PATH)
        init.emit("CLOSE_RANGE", 3)
        init.emit("EXEC", argv, self.env, 0, 0)
        return plan

    def run(self, *flags: str, before: tuple[str, ...] = (), **more: object) -> Result:
        (self.state).mkdir(parents=True, exist_ok=True)
        return self.execute("@run", *flags, before=before, **more)

    def output(self, script: str) -> str:
        """What a shell script prints inside; it must succeed."""
        self.shell(script)
        result = self.run()
        assert result.status == 0, result
        assert not self.state.exists()
        return result.stdout


def _add(program: Program, steps: list[tuple[object, ...]], where: str) -> None:
    for number, step in enumerate(steps):
        program.emit(str(step[0]), *step[1:], where=f"{where}[{number}]")  # type: ignore[arg-type]


def wait_until(condition: Callable[[], object]) -> None:
    """Return when `condition()` holds; fail when it never does."""
    for _ in range(2000):
        if condition():
            return
        sleep(0.01)
    raise AssertionError("it did not come to pass")


def start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[19])


def make_rootfs(path: Path) -> None:
    """A busybox root directory with applet links."""
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "data"):
        (path / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", path / "bin/busybox")
    applets = subprocess.run(["/bin/busybox", "--list"], check=True, capture_output=True, text=True).stdout
    for name in applets.split():
        if name != "busybox":
            (path / "bin" / name).symlink_to("busybox")
