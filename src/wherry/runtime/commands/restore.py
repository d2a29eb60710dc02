"""`restore`: bring back a container from disk, under a new state folder."""

from __future__ import annotations

import os
import subprocess
import time

from wherry.errors import FAILED_PRECONDITION, INVALID_ARGUMENT, NOT_IMPLEMENTED, WherryError
from wherry.oci import config
from wherry.runtime import criu
from wherry.runtime.arguments import FLAG, TEXT, Arguments, parse
from wherry.runtime.commands.checkpoint import OPTIONS as CHECKPOINT_OPTIONS
from wherry.runtime.commands.checkpoint import common_words, directories
from wherry.runtime.commands.create import make_options
from wherry.runtime.state_folder import check_free, check_id, start_time
from wherry.runtime.state_folder import create as create_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.runtime.arguments import Table
    from wherry.runtime.command_line import Context

OPTIONS: Table = (
    *[row for row in CHECKPOINT_OPTIONS if row[0] not in ("leave-running", "pre-dump", "page-server", "status-fd")],
    ("bundle", "b", TEXT),
    ("detach", "d", FLAG),
    ("pid-file", "", TEXT),
    ("no-subreaper", "", FLAG),
    ("no-pivot", "", FLAG),
    ("console-socket", "", TEXT),
    ("lsm-profile", "", TEXT),
    ("lsm-mount-context", "", TEXT),
)


def run(context: Context) -> int:
    """Restore it and, unless detached, wait for its end; returns its exit status then."""
    arguments = parse(OPTIONS, context.words, intermixed=True)
    if len(arguments.operands) != 1:
        raise WherryError(INVALID_ARGUMENT, "requires exactly 1 argument, the container's ID")
    for name in ("lazy-pages", "console-socket"):
        if arguments.values.get(name):
            raise WherryError(NOT_IMPLEMENTED, "is not supported by restore", path=f"--{name}")
    program = criu.find_criu(context.arguments.text("criu"))
    root, container_id = context.root(), arguments.operands[0]
    check_id(container_id)
    options = make_options(context, arguments, container_id, root)
    check_free(root, container_id, context.native)
    path = f"{options.bundle}/config.json"
    data = config.read(path)
    document = config.parse(data, path)

    from wherry.runtime.compile.container import compile_container
    from wherry.runtime.host import Host

    plan = compile_container(document, Host.probe(), options)
    folder = create_folder(root, container_id, plan.encode(), data)
    try:
        pid = _restore(program, arguments, document, options.bundle, folder.path)
    except BaseException:
        folder.discard()
        raise
    if options.pid_file:
        _write(options.pid_file, str(pid))
    os.close(folder.lock_fd)
    if arguments.flag("detach"):
        return 0
    return _wait(context, root, container_id, pid)


def _restore(program: str, arguments: Arguments, document: dict[str, Any], bundle: str, state_dir: str) -> int:
    """Have criu rebuild the processes; the pid of the first."""
    images, work = directories(arguments)
    rootfs = os.path.join(bundle, str(document["root"]["path"]))
    pid_file = f"{state_dir}/restored.pid"
    command = [program, "restore", *common_words(arguments, images, work, "restore.log")]
    command += ["--restore-detached", "--pidfile", pid_file, "--root", rootfs]
    for option, word in (("lsm-profile", "--lsm-profile"), ("lsm-mount-context", "--lsm-mount-context")):
        if arguments.text(option):
            command += [word, arguments.text(option)]
    for target, source in criu.external_mounts(document, bundle):
        command += ["--external", f"mnt[{target}]:{source}"]
    words, numbers = criu.inherited_descriptors(images)
    # criu takes only a mount point as root.
    _mount("--bind", rootfs, rootfs)
    try:
        _mount("--make-private", rootfs)
        criu.run_criu([*command, *words], work, "restore.log", pass_fds=numbers, verb="restore")
    finally:
        subprocess.run(["umount", "--lazy", rootfs], check=False)
    with open(pid_file, encoding="ascii") as file:
        pid = int(file.read())
    os.unlink(pid_file)
    now_ns = time.time_ns()
    created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_ns // 10**9)) + f".{now_ns % 10**9:09}Z"
    state = f'{{"version":1,"pid":{pid},"startTime":{start_time(pid)},"created":"{created}"}}\n'
    _write(f"{state_dir}/state.json", state)
    return pid


def _mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise WherryError(FAILED_PRECONDITION, done.stderr.strip() or "mount failed")


def _write(path: str, text: str) -> None:
    draft = f"{path}.new"
    with open(draft, "w", encoding="ascii") as file:
        file.write(text)
    os.rename(draft, path)


def _wait(context: Context, root: str, container_id: str, pid: int) -> int:
    """The restored process is nobody's child here: its end shows in its pidfd, its status is unknown."""
    import select

    pidfd = os.pidfd_open(pid)
    try:
        select.select([pidfd], [], [])
    finally:
        os.close(pidfd)
    words = [context.native, "--root", root, "delete", "--force", container_id]
    os.waitpid(os.posix_spawn(context.native, words, os.environ), 0)
    return 0
