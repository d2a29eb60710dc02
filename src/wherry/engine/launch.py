"""From an OCI document to a running monitor: the only place where the engine starts processes for containers."""

from __future__ import annotations

import os

from wherry.errors import FAILED_PRECONDITION, INTERNAL, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from wherry.runtime.launch import Prepared
    from wherry.runtime.options import RootfsMount
    from wherry.store.base import ContainerRoot

    from .monitor_folder import MonitorFolder


class StartFailed(WherryError):
    """The container's command could not be started; `exit_status` is docker's 125, 126 or 127."""

    __slots__ = ("exit_status",)

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(FAILED_PRECONDITION, message)
        self.exit_status = exit_status


class Report:
    """The monitor's account of a start, line by line over a pipe."""

    __slots__ = ("_buffer", "_fd")

    def __init__(self, descriptor: int) -> None:
        self._fd = descriptor
        self._buffer = b""

    def expect(self, word: str) -> str:
        """Wait for the line that begins with `word`; return its rest. Raises StartFailed."""
        line = self._line()
        first, _, rest = line.partition(" ")
        if first == word:
            return rest
        if first == "failed":
            status, _, message = rest.partition(" ")
            raise StartFailed(message, 125 if status == "1" else int(status))
        raise WherryError(INTERNAL, f"the monitor ended without a word (expected {word!r}, got {line!r})")

    def close(self) -> None:
        """Stop listening."""
        os.close(self._fd)

    def _line(self) -> str:
        while b"\n" not in self._buffer:
            data = os.read(self._fd, 4096)
            if not data:
                break
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode("utf-8", "replace")


def rootfs_mount(root: ContainerRoot) -> RootfsMount | None:
    """How INIT mounts the container's root file system in its own mount namespace."""
    from wherry.runtime.options import RootfsMount

    if not root.lowerdirs:
        return None
    layers = [f"lowerdir+={layer}" for layer in root.lowerdirs]
    rest = [f"upperdir={root.upperdir}", f"workdir={root.workdir}", *root.options]
    data = ",".join(root.overlay_options(relative=True))
    return RootfsMount(type="overlay", path=root.mountpoint, options=(*layers, *rest), data=data, base=root.base)


def prepare(
    config: dict[str, Any], container_id: str, *, run_root: str, root: ContainerRoot, bundle: str, init: bool
) -> tuple[Prepared, str]:
    """Compile the plan and make the runtime's state folder; also the container's memory cgroup, or ""."""
    from wherry.runtime import launch
    from wherry.runtime.options import Options

    state_root = os.path.join(run_root, "runtime")
    os.makedirs(state_root, mode=0o700, exist_ok=True)
    options = Options(
        id=container_id,
        bundle=bundle,
        root=state_root,
        state_dir=os.path.join(state_root, container_id),
        rootfs_mount=rootfs_mount(root),
        init=init,
        monitor=True,
    )
    return launch.prepare(config, options), options.memory_cgroup


def spawn_monitor(
    prepared: Prepared, container_id: str, *, run_root: str, folder: MonitorFolder, arguments: Sequence[str]
) -> Report:
    """Start the monitor on a prepared plan; it takes over the plan and the creation lock."""
    from wherry.runtime.launch import native_path

    read_end, write_end = os.pipe()
    program = native_path()
    argv = [program, "@monitor", "--root", os.path.join(run_root, "runtime"), "--id", container_id]
    argv += ["--dir", folder.path, "--report-fd", str(write_end), "--lock-fd", str(prepared.lock_fd)]
    argv += [*arguments, str(prepared.plan_fd)]
    inherited = (write_end, prepared.lock_fd, prepared.plan_fd)
    try:
        for descriptor in inherited:
            os.set_inheritable(descriptor, True)
        pid = os.posix_spawn(program, argv, os.environ)
    except BaseException:
        os.close(read_end)
        raise
    finally:
        for descriptor in inherited:
            os.close(descriptor)
    os.waitpid(pid, 0)  # leaves at once: the monitor is its child, in a session of its own
    return Report(read_end)
