"""The runtime in process: compile a plan here, let the native program execute it, wait until it reports."""

from __future__ import annotations

import os
import sys

from wherry.errors import FAILED_PRECONDITION, INTERNAL, NOT_FOUND, WherryError
from wherry.oci.json_text import dumps, loads
from wherry.runtime.host import Host
from wherry.runtime.options import Options
from wherry.runtime.state_folder import StateFolder, check_free, check_id, open_target, read_state
from wherry.runtime.state_folder import create as create_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

PROGRAM = "wherry-runtime"


class Prepared:
    """A state folder whose plan waits to be executed; `lock_fd` and `plan_fd` are open and not inherited."""

    __slots__ = ("folder", "lock_fd", "plan_fd", "state_dir", "warnings")

    def __init__(self, folder: StateFolder, warnings: list[str]) -> None:
        self.folder = folder
        self.state_dir = folder.path
        self.lock_fd = folder.lock_fd
        self.plan_fd = folder.plan_fd
        self.warnings = warnings

    def close(self) -> None:
        """Close the descriptors, once the native program has them."""
        os.close(self.lock_fd)
        os.close(self.plan_fd)

    def discard(self) -> None:
        """Remove the folder: nothing is going to be created."""
        self.folder.discard()


def native_path() -> str:
    """The absolute path of the native executable, `wherry-runtime`. Raises WherryError(NOT_FOUND)."""
    given = os.environ.get("WHERRY_RUNTIME")
    if given:
        return os.path.abspath(given)
    folders = [os.path.dirname(path) for path in (sys.argv[0], sys.executable or "") if "/" in path]
    folders.append(os.path.join(sys.prefix, "bin"))
    folders += os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":")
    for folder in folders:
        path = os.path.join(folder, PROGRAM)
        if folder and os.access(path, os.X_OK):
            return os.path.abspath(path)
    raise WherryError(NOT_FOUND, f"the program {PROGRAM} is not installed", hint="or set WHERRY_RUNTIME")


def prepare(
    config: dict[str, Any], options: Options, *, host: Host | None = None, config_bytes: bytes | None = None
) -> Prepared:
    """Compile `config` and make the state folder with its lock held, for @create, @run or @monitor.

    Raises WherryError: INVALID_ARGUMENT for a wrong document, ALREADY_EXISTS for a name that is taken.
    """
    from wherry.runtime.compile.container import compile_container

    check_id(options.id)
    if not options.native_path:
        options.native_path = native_path()
    check_free(options.root, options.id, options.native_path)
    plan = compile_container(config, host or Host.probe(), options)
    data = dumps(config).encode() if config_bytes is None else config_bytes
    return Prepared(create_folder(options.root, options.id, plan.encode(), data), options.warnings)


def create(
    bundle: str,
    *,
    id: str,
    root: str,
    config: dict[str, Any] | None = None,
    host: Host | None = None,
    stdio: Sequence[int] = (0, 1, 2),
    **settings: Any,
) -> int:
    """Create a container; returns the pid of its process, which waits for `start`.

    `settings` are those of `Options`; `stdio` are the descriptors the process gets. Raises WherryError with the
    line that the native program reports; nothing is left behind then.
    """
    from wherry.oci import config as documents

    bundle = os.path.abspath(bundle)
    data = None
    if config is None:
        path = f"{bundle}/config.json"
        data = documents.read(path)
        config = documents.parse(data, path)
    options = Options(id=id, bundle=bundle, root=os.path.abspath(root), **settings)
    prepared = prepare(config, options, host=host, config_bytes=data)
    words = ["@create", "--root", options.root, "--id", id]
    if options.kept_fds:
        words += ["--preserve-fds", str(options.kept_fds)]
    try:
        status, message = _execute(options.native_path, words, prepared, stdio)
    except OSError:
        prepared.discard()
        raise
    prepared.close()
    if status != 0:
        raise WherryError(FAILED_PRECONDITION, message or f"the container was not created (status {status})")
    state, _ = read_state(options.root, id)
    pid = state.get("pid")
    if not isinstance(pid, int):
        raise WherryError(INTERNAL, "the container was created without a state", path=options.state_dir)
    return pid


def _execute(native: str, words: list[str], prepared: Prepared, stdio: Sequence[int]) -> tuple[int, str]:
    """Spawn the native program, wait, and give its exit status with the last error it logged."""
    log_fd = os.memfd_create("log", os.MFD_CLOEXEC)
    try:
        # Numbers above those of the container's stdio and preserved descriptors would be safer still; the native
        # program closes everything it is not told to keep before anything of the container runs.
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(stdio) if fd != number]
        numbers = []
        for fd in (prepared.lock_fd, prepared.plan_fd, log_fd):
            os.set_inheritable(fd, True)
            numbers.append(str(fd))
        lock, plan, log = numbers
        argv = [native, *words, "--lock-fd", lock, "--log", f"/proc/self/fd/{log}", "--log-format", "json", plan]
        pid = os.posix_spawn(native, argv, os.environ, file_actions=actions)
        _, waited = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(waited), _last_error(os.pread(log_fd, 1 << 20, 0))
    finally:
        os.close(log_fd)


def _last_error(log: bytes) -> str:
    for line in reversed(log.splitlines()):
        try:
            entry = loads(line)
        except WherryError:
            continue
        if isinstance(entry, dict) and entry.get("level") == "error":
            return str(entry.get("msg", ""))
    return ""


def exec_plan(
    root: str,
    id: str,
    process: dict[str, Any],
    *,
    ignore_paused: bool = False,
    sub_cgroups: Sequence[str] = (),
    host: Host | None = None,
    **settings: Any,
) -> bytes:
    """The plan that runs `process` in a running container, for @exec and for health checks.

    Raises WherryError: NOT_FOUND, FAILED_PRECONDITION when it does not run, INVALID_ARGUMENT for a wrong process.
    """
    from wherry.oci import config as documents
    from wherry.runtime.compile.exec import compile_exec

    check_id(id)
    target = open_target(root, id, ignore_paused=ignore_paused)
    document = documents.load(f"{root}/{id}/config.json")
    options = Options(id=id, root=root, **settings)
    plan = compile_exec(process, document, host or Host.probe(), target, options, sub_cgroups=sub_cgroups)
    return plan.encode()
