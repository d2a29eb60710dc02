"""The state folder of a container, `<root>/<id>` (see ARCHITECTURE.md for its files).

A folder appears under its name by one rename, complete with its lock held: nobody ever sees half of it. Folders in
preparation have a `~` in their name, which no container's id can have.
"""

from __future__ import annotations

import posix
from fcntl import LOCK_EX, LOCK_NB, flock

from wherry.errors import (
    ALREADY_EXISTS,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    PERMISSION_DENIED,
    UNAVAILABLE,
    WherryError,
)
from wherry.runtime.host import variable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.runtime.compile.exec import Target

ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-")
SEEK_SET = 0
FROZEN_STATES = ("FROZEN", "FREEZING", "1")


def check_id(container_id: str) -> None:
    """Raises WherryError(INVALID_ARGUMENT) for what cannot name a container."""
    for character in container_id:
        if character not in ID_CHARACTERS:
            text = f"invalid container ID format: invalid character `{character}` in container ID"
            raise WherryError(INVALID_ARGUMENT, text)
    if container_id in ("", ".", "..") or len(container_id) > 255:
        raise WherryError(INVALID_ARGUMENT, f"invalid container ID format: `{container_id}` cannot name a container")


def default_root(euid: int, in_userns: bool) -> str:
    """Where state folders are when `--root` does not say; the native verbs decide the same (native/state.c)."""
    xdg = variable("XDG_RUNTIME_DIR")
    if xdg and (euid != 0 or (in_userns and variable("USER") != "root")):
        return f"{xdg}/wherry/runtime"
    if euid == 0:
        return "/run/wherry/runtime"
    own = f"/run/user/{euid}"
    try:
        if posix.stat(own).st_uid == euid:
            return f"{own}/wherry/runtime"
    except OSError:
        pass
    return _private_root(euid)


def _private_root(euid: int) -> str:
    """A directory in /tmp may have been made by anyone: it must be a real one of ours that nobody else writes."""
    path = f"/tmp/wherry-{euid}"
    try:
        posix.mkdir(path, 0o700)
    except FileExistsError:
        pass
    found = posix.lstat(path)
    if found.st_mode & 0o170022 != 0o040000 or found.st_uid != euid:
        text = f"{path} is not a directory that only this user can write"
        raise WherryError(PERMISSION_DENIED, text, hint="set XDG_RUNTIME_DIR or --root")
    return f"{path}/runtime"


class StateFolder:
    """A folder made for a new container: its path, and the descriptors of its lock (held) and its plan."""

    __slots__ = ("lock_fd", "path", "plan_fd")

    def __init__(self, path: str, lock_fd: int, plan_fd: int) -> None:
        self.path = path
        self.lock_fd = lock_fd
        self.plan_fd = plan_fd

    def discard(self) -> None:
        """Remove the folder of a container that is not going to be."""
        _remove(self.path)
        posix.close(self.lock_fd)
        posix.close(self.plan_fd)


def check_free(root: str, container_id: str, native: str) -> None:
    """Nothing bears the name. What a killed creator left behind is removed by `delete --force`.

    Raises WherryError(ALREADY_EXISTS).
    """
    path = f"{root}/{container_id}"
    if not posix.access(path, posix.F_OK):
        return
    if posix.access(f"{path}/state.json", posix.F_OK) or not _lock_is_free(path):
        raise _exists(container_id)
    words = [native, "--root", root, "delete", "--force", container_id]
    pid = posix.posix_spawn(native, words, posix.environ)
    posix.waitpid(pid, 0)
    if posix.access(path, posix.F_OK):
        raise _exists(container_id)


def create(root: str, container_id: str, plan: bytes, config: bytes) -> StateFolder:
    """Make the folder with its plan, document and lock. Raises WherryError(ALREADY_EXISTS) and for I/O errors."""
    path = f"{root}/{container_id}"
    draft = f"{path}~{posix.getpid()}"
    lock_fd = plan_fd = -1
    try:
        _make_directory(root, draft)
        lock_fd = posix.open(f"{draft}/lock", posix.O_RDWR | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600)
        flock(lock_fd, LOCK_EX | LOCK_NB)
        _write(f"{draft}/config.json", config)
        plan_fd = _write(f"{draft}/plan", plan, keep=True)
        posix.rename(draft, path)
    except OSError as error:
        _remove(draft)
        for fd in (lock_fd, plan_fd):
            if fd >= 0:
                posix.close(fd)
        if posix.access(path, posix.F_OK):
            raise _exists(container_id) from None
        raise WherryError(
            UNAVAILABLE, f"cannot make the container's state folder: {error.strerror}", path=error.filename or path
        ) from None
    return StateFolder(path, lock_fd, plan_fd)


def _make_directory(root: str, path: str) -> None:
    try:
        posix.mkdir(path, 0o711)
    except FileNotFoundError:
        import os

        os.makedirs(root, 0o700, exist_ok=True)
        posix.mkdir(path, 0o711)
    except FileExistsError:  # of a killed creator whose pid has come round again
        _remove(path)
        posix.mkdir(path, 0o711)


def _write(path: str, data: bytes, *, keep: bool = False) -> int:
    fd = posix.open(path, posix.O_RDWR | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[posix.write(fd, view) :]
    except OSError:
        posix.close(fd)
        raise
    if keep:
        posix.lseek(fd, 0, SEEK_SET)
        return fd
    posix.close(fd)
    return -1


def _remove(path: str) -> None:
    try:
        for name in posix.listdir(path):
            posix.unlink(f"{path}/{name}")
        posix.rmdir(path)
    except OSError:
        pass


def _exists(container_id: str) -> WherryError:
    return WherryError(ALREADY_EXISTS, f"container with given ID already exists: {container_id}")


def _lock_is_free(path: str) -> bool:
    try:
        fd = posix.open(f"{path}/lock", posix.O_RDWR | posix.O_CLOEXEC)
    except OSError:
        return True
    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except OSError:
        return False
    finally:
        posix.close(fd)
    return True


# A container that exists


def open_target(root: str, container_id: str, *, ignore_paused: bool = False) -> Target:
    """The running container for `exec`.

    Raises WherryError: NOT_FOUND when it does not exist, FAILED_PRECONDITION when it is stopped or paused.
    """
    from wherry.plan.meta import read_meta
    from wherry.runtime.compile.exec import Target

    state, plan = read_state(root, container_id)
    facts = read_meta(plan)
    pid, started = state.get("pid"), state.get("startTime")
    if not isinstance(pid, int) or not isinstance(started, int) or start_time(pid) != started:
        raise WherryError(FAILED_PRECONDITION, "cannot exec in a stopped container: container not running")
    if not ignore_paused and is_frozen(facts.get("freezer", "")):
        raise WherryError(
            FAILED_PRECONDITION,
            "cannot exec in a paused container",
            hint="use --ignore-paused to override",
        )
    return Target(pid=pid, start_time=started, cgroup=facts.get("cgroup", ""))


def read_state(root: str, container_id: str) -> tuple[dict[str, Any], bytes]:
    """state.json (empty while the container is created) and the plan. Raises WherryError(NOT_FOUND)."""
    from wherry.oci import config
    from wherry.oci.json_text import loads

    path = f"{root}/{container_id}"
    try:
        plan = config.read(f"{path}/plan")
    except WherryError as error:
        if error.code != NOT_FOUND:
            raise
        raise WherryError(NOT_FOUND, f"container does not exist: {container_id}") from None
    try:
        state = loads(config.read(f"{path}/state.json"), f"{path}/state.json")
    except WherryError as error:
        if error.code != NOT_FOUND:
            raise
        state = {}
    return state if isinstance(state, dict) else {}, plan


def start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat; 0 when the process is gone or dead."""
    try:
        fd = posix.open(f"/proc/{pid}/stat", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return 0
    try:
        fields = posix.read(fd, 4096).rpartition(b") ")[2].split()
    except OSError:
        return 0
    finally:
        posix.close(fd)
    return 0 if len(fields) < 20 or fields[0] in (b"Z", b"X") else int(fields[19])


def is_frozen(freezer: str) -> bool:
    """Whether the freezer's directory says that its processes are stopped."""
    if not freezer:
        return False
    for name in ("cgroup.freeze", "freezer.state"):
        try:
            fd = posix.open(f"{freezer}/{name}", posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError:
            continue
        try:
            return posix.read(fd, 64).decode().strip() in FROZEN_STATES
        except OSError:
            return False
        finally:
            posix.close(fd)
    return False
