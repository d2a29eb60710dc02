"""The runtime for Python programs: one object, one method per verb.

runtime = Runtime()
runtime.create("demo", "/srv/bundle")
runtime.start("demo")
"""

from __future__ import annotations

import os

from wherry.errors import FAILED_PRECONDITION, NOT_FOUND, WherryError
from wherry.oci.json_text import loads
from wherry.runtime import launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Runtime:
    """Containers below one state root. Every method raises WherryError with the runtime's own sentence."""

    def __init__(self, root: str = "", executable: str = "") -> None:
        from wherry.runtime.host import Host
        from wherry.runtime.state_folder import default_root

        self._host = Host.probe()
        self.root = os.path.abspath(root) if root else default_root(self._host.euid, self._host.in_userns)
        self.executable = executable or launch.native_path()

    def create(self, id: str, bundle: str, config: dict[str, Any] | None = None, **settings: Any) -> int:
        """Create a container and return its pid; `settings` are those of `options.Options`."""
        settings.setdefault("native_path", self.executable)
        return launch.create(bundle, id=id, root=self.root, config=config, host=self._host, **settings)

    def start(self, id: str) -> None:
        """Let a created container run."""
        self._verb("start", id)

    def state(self, id: str) -> dict[str, Any]:
        """Its state (runtime.md "State")."""
        state = loads(self._verb("state", id))
        assert isinstance(state, dict)
        return state

    def kill(self, id: str, signal: str | int = "TERM", *, all: bool = False) -> None:
        """Signal its init process, or all of its processes."""
        self._verb("kill", *(("--all",) if all else ()), id, str(signal))

    def delete(self, id: str, *, force: bool = False) -> None:
        """Remove a stopped container; with `force` any, and a missing one is no error."""
        self._verb("delete", *(("--force",) if force else ()), id)

    def pause(self, id: str) -> None:
        """Freeze its processes."""
        self._verb("pause", id)

    def resume(self, id: str) -> None:
        """Thaw its processes."""
        self._verb("resume", id)

    def processes(self, id: str) -> list[int]:
        """The host pids of its processes."""
        pids = loads(self._verb("ps", "--format", "json", id))
        return list(pids or ())

    def list(self) -> list[dict[str, Any]]:
        """The states of all containers."""
        states = loads(self._verb("list", "--format", "json"))
        return list(states or ())

    def exec(self, id: str, process: dict[str, Any], **settings: Any) -> int:
        """Run another process with this program's standard streams; returns its exit status."""
        plan = launch.exec_plan(self.root, id, process, host=self._host, **settings)
        plan_fd = os.memfd_create("plan", 0)
        try:
            os.write(plan_fd, plan)
            os.lseek(plan_fd, 0, os.SEEK_SET)
            argv = [self.executable, "@exec", str(plan_fd)]
            _, status = os.waitpid(os.posix_spawn(self.executable, argv, os.environ), 0)
        finally:
            os.close(plan_fd)
        code = os.waitstatus_to_exitcode(status)
        return 128 - code if code < 0 else code

    def _verb(self, *words: str) -> bytes:
        out_fd, error_fd = (os.memfd_create(name, os.MFD_CLOEXEC) for name in ("out", "error"))
        try:
            actions = [(os.POSIX_SPAWN_DUP2, out_fd, 1), (os.POSIX_SPAWN_DUP2, error_fd, 2)]
            argv = [self.executable, "--root", self.root, *words]
            pid = os.posix_spawn(self.executable, argv, os.environ, file_actions=actions)
            _, status = os.waitpid(pid, 0)
            if status != 0:
                raise _failure(words[0], _read(error_fd))
            return _read(out_fd)
        finally:
            os.close(out_fd)
            os.close(error_fd)


def _read(fd: int) -> bytes:
    size = os.lseek(fd, 0, os.SEEK_END)
    return os.pread(fd, size, 0)


def _failure(verb: str, text: bytes) -> WherryError:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    line = lines[-1] if lines else f"{verb} failed"
    return WherryError(NOT_FOUND if "does not exist" in line else FAILED_PRECONDITION, line)
