"""Compile a config.json to a launch plan (runtime-spec 1.3, Linux): a pure function of document, host, options."""

from __future__ import annotations

from wherry.oci.check import Document
from wherry.plan.instructions import FIFO, NONE, PIDFD_SOCKET, START
from wherry.runtime.compile.cgroups import create_cgroup
from wherry.runtime.compile.devices import make_devices
from wherry.runtime.compile.draft import Draft
from wherry.runtime.compile.hooks import Hooks
from wherry.runtime.compile.meta import describe
from wherry.runtime.compile.mounts import make_mounts
from wherry.runtime.compile.namespaces import Namespaces, clone, enter_namespaces, open_namespaces
from wherry.runtime.compile.process import Process
from wherry.runtime.compile.rootfs import enter_root, leave_host_root, restrict_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.plan.encode import Plan
    from wherry.runtime.host import Host
    from wherry.runtime.intel_rdt import Rdt
    from wherry.runtime.options import Options

# What HOST and INIT tell each other.
CHILD_READY_TO_SET_UP, ROOT_READY, HOOKS_DONE = 1, 2, 3


def compile_container(config: dict[str, Any], host: Host, options: Options) -> Plan:
    """The plan that creates, starts, pauses, resumes and deletes the container.

    Raises WherryError(INVALID_ARGUMENT) whose path names the wrong field. Warnings go to `options.warnings`.
    """
    draft = Draft(Document(config), host, options)
    check_version(draft.document)
    draft.namespaces = Namespaces(draft)
    hooks = Hooks(draft)
    process = Process.of_container(draft)
    describe(draft)

    _open_sockets(draft)
    process.connect(draft)
    cgroup = create_cgroup(draft)
    try:
        _compile_steps(draft, process, hooks)
    except BaseException:
        cgroup.abandon()
        raise
    plan = draft.plan
    plan.programs = {number: program for number, program in plan.programs.items() if program.steps}
    return plan


def _compile_steps(draft: Draft, process: Process, hooks: Hooks) -> None:
    setup, init, options, cgroup = draft.setup, draft.init, draft.options, draft.cgroup
    open_namespaces(draft)
    make_root(draft)
    rdt = _cache_class(draft)
    cgroup.before_clone(setup)
    if rdt is not None:
        rdt.before_clone(setup)
    clone(draft)
    cgroup.after_clone(setup)
    if rdt is not None:
        rdt.after_clone(setup)
    process.limit(draft)  # by HOST and before INIT takes other ids: prlimit asks for the same ids, or more rights
    process.score(draft)
    process.schedule(draft)
    _configure_host_devices(draft)
    setup.emit("POST", CHILD_READY_TO_SET_UP)
    setup.emit("AWAIT", ROOT_READY)
    hooks.emit(setup, "prestart", "creating")
    hooks.emit(setup, "createRuntime", "creating")
    setup.emit("POST", HOOKS_DONE)
    setup.emit("SAVE_STATE")
    if options.pidfd_socket:
        setup.emit("PIDFD_SEND", PIDFD_SOCKET)
    if options.pid_file:
        setup.emit("PID_FILE", options.pid_file)

    init.emit("POST", ROOT_READY)
    init.emit("AWAIT", HOOKS_DONE)
    hooks.emit(init, "createContainer", "creating")
    leave_host_root(draft)
    process.become(draft)
    init.emit("WAIT_START")
    hooks.emit(init, "startContainer", "created", process.env)
    process.execute(draft)

    hooks.emit(draft.plan.program(START), "poststart", "running")
    cgroup.finish(draft.plan)
    if rdt is not None:
        rdt.delete(draft.delete)
    hooks.emit_poststop(draft)


def check_version(document: Document) -> None:
    """ociVersion is SemVer and its major is 1."""
    version = document.required_text("ociVersion")
    parts = version.split("+")[0].split("-")[0].split(".")
    if len(parts) != 3 or not all(part.isdigit() and part.isascii() for part in parts):
        raise document.error("ociVersion", f"{version!r} is not a version of the form 1.2.3")
    if parts[0] != "1":
        raise document.error("ociVersion", f"{version} is not supported; versions 1.x are")


def make_root(draft: Draft) -> None:
    """INIT from its birth to a complete root directory, still outside of it."""
    init = draft.init
    enter_namespaces(draft, CHILD_READY_TO_SET_UP)
    if not draft.options.no_new_keyring:
        init.emit("KEYRING", f"_ses.{draft.options.id}")
    enter_root(draft)
    _configure_namespaces(draft)
    make_mounts(draft)
    make_devices(draft)
    restrict_paths(draft)


def _open_sockets(draft: Draft) -> None:
    setup, options = draft.setup, draft.options
    fifo = f"{options.state_dir}/exec.fifo"
    setup.emit("FIFO", NONE, fifo, 0o622, *draft.namespaces.host_root())
    setup.emit("OPEN", FIFO, NONE, fifo, 0o12000000, 0, 0)  # O_PATH | O_CLOEXEC
    if options.pidfd_socket:
        setup.emit("CONNECT", PIDFD_SOCKET, options.pidfd_socket, where="--pidfd-socket")


def _configure_namespaces(draft: Draft) -> None:
    from wherry.runtime.compile.network import bring_up_loopback, set_names

    set_names(draft)
    bring_up_loopback(draft)
    if draft.linux.has("sysctl"):
        from wherry.runtime.compile.sysctl import set_sysctls

        set_sysctls(draft)


def _cache_class(draft: Draft) -> Rdt | None:
    if not draft.linux.has("intelRdt"):
        return None
    from wherry.runtime.intel_rdt import compile_rdt

    return compile_rdt(draft.document.value, draft.options.id)


def _configure_host_devices(draft: Draft) -> None:
    if draft.linux.has("netDevices"):
        from wherry.runtime.compile.network import move_devices

        move_devices(draft)
