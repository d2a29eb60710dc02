"""Run one more process in a running container."""

from __future__ import annotations

import os

from wherry.errors import FAILED_PRECONDITION, INVALID_ARGUMENT, WherryError
from wherry.start import keep_modules

from . import users

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .container import Container
    from .engine import Engine


class ExecResult:
    """How an exec ended: its exit status and what it wrote."""

    __slots__ = ("errors", "exit_code", "output")

    def __init__(self, exit_code: int, output: bytes, errors: bytes) -> None:
        self.exit_code = exit_code
        self.output = output
        self.errors = errors


class ExecRequest:
    """What to run: `env` is added to the container's own; `user` and `working_dir` default to its own too."""

    __slots__ = ("command", "env", "privileged", "tty", "user", "working_dir")

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: str = "",
        working_dir: str = "",
        tty: bool = False,
        privileged: bool = False,
    ) -> None:
        if not command:
            raise WherryError(INVALID_ARGUMENT, "no command given to exec")
        self.command = tuple(command)
        self.env = dict(env or {})
        self.user = user
        self.working_dir = working_dir
        self.tty = tty
        self.privileged = privileged

    def process(self, engine: Engine, container: Container) -> dict[str, Any]:
        """The runtime-spec process document."""
        process: dict[str, Any] = dict(container.config()["process"])
        process["args"] = list(self.command)
        process["terminal"] = self.tty
        if self.working_dir:
            process["cwd"] = self.working_dir
        given = [f"{name}={value}" for name, value in self.env.items()]
        kept = [item for item in process["env"] if item.partition("=")[0] not in self.env]
        process["env"] = kept + given
        if self.tty and not any(item.startswith("TERM=") for item in process["env"]):
            process["env"].append("TERM=xterm")
        if self.user:
            root = engine.store.snapshots.get(container.id)
            user = users.resolve(self.user, (root.upperdir, *root.lowerdirs))
            process["user"] = {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)}
            process["env"] = [item for item in process["env"] if not item.startswith("HOME=")]
            process["env"].append(f"HOME={self.env.get('HOME', user.home)}")
            bounding = process["capabilities"]["bounding"]
            effective = bounding if user.uid == 0 else []
            process["capabilities"] = {"bounding": bounding, "effective": effective, "permitted": effective}
        if self.privileged:
            from wherry.runtime.capabilities import CAPABILITIES

            every = list(CAPABILITIES)
            process["capabilities"] = {"bounding": every, "effective": every, "permitted": every}
        return process

    def command_line(self, engine: Engine, container: Container) -> tuple[list[str], int]:
        """The native program's argument list and the descriptor of the plan it reads (inheritable)."""
        from wherry.runtime import launch

        status = container.status()
        if status != "running":
            why = status if status in ("paused", "restarting") else "not running"
            raise WherryError(FAILED_PRECONDITION, f"container {container.name} is {why}")
        state_root = os.path.join(engine.run_root, "runtime")
        plan = launch.exec_plan(state_root, container.id, self.process(engine, container))
        descriptor = os.memfd_create("exec-plan", 0)
        os.write(descriptor, plan)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return [launch.native_path(), "@exec", str(descriptor)], descriptor

    def replace_process(self, engine: Engine, container: Container, *, detach: bool = False) -> None:
        """Become the exec: standard streams, terminal, signals and exit status are the command's own."""
        argv, _ = self.command_line(engine, container)
        if detach:
            argv.insert(2, "--detach")
        engine.close()
        keep_modules()
        os.execve(argv[0], argv, os.environ)

    def run(self, engine: Engine, container: Container, *, input: bytes = b"") -> ExecResult:
        """Run to the end and collect the output."""
        import subprocess

        argv, descriptor = self.command_line(engine, container)
        try:
            done = subprocess.run(argv, input=input, capture_output=True, pass_fds=(descriptor,), check=False)
        finally:
            os.close(descriptor)
        return ExecResult(done.returncode, done.stdout, done.stderr)
