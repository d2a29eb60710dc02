"""Compile another process of a running container to a plan: STAGE only where this user's rights require it."""

from __future__ import annotations

import posix

from wherry.oci.check import Document
from wherry.plan.instructions import INIT, NONE, PIDFD_SOCKET, PIVOT_CHROOT, STAGE
from wherry.runtime.compile.draft import Draft
from wherry.runtime.compile.namespaces import CLONE_PARENT, NEWNS, NEWPID, NEWUSER, SIGKILL, TYPES, Namespaces
from wherry.runtime.compile.process import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from wherry.plan.encode import Plan
    from wherry.runtime.host import Host
    from wherry.runtime.options import Options

CHILD_READY = 1
# What a process of `exec` takes from the container's own when it does not say otherwise.
INHERITED = (
    "capabilities",
    "apparmorProfile",
    "selinuxLabel",
    "rlimits",
    "noNewPrivileges",
    "oomScoreAdj",
    "execCPUAffinity",
)


class Target:
    """The running container: its init process and the cgroup that META names."""

    __slots__ = ("cgroup", "pid", "start_time", "user_namespace")

    def __init__(self, *, pid: int, start_time: int, cgroup: str) -> None:
        self.pid = pid
        self.start_time = start_time
        self.cgroup = cgroup
        self.user_namespace = False  # whether it is in another one than we; found by compile_exec


def compile_exec(
    process: dict[str, Any],
    config: dict[str, Any],
    host: Host,
    target: Target,
    options: Options,
    *,
    sub_cgroups: Sequence[str] = (),
) -> Plan:
    """The plan that runs `process` (config.md "Process") in the container that `config` made.

    `sub_cgroups` are `[controllers:]PATH` below the container's group. Raises WherryError(INVALID_ARGUMENT) whose
    path names the wrong field.
    """
    draft = Draft(Document(config), host, options)
    draft.target = target
    draft.namespaces = Namespaces(draft)
    flags = _flags(draft, target)
    target.user_namespace = bool(flags & NEWUSER)
    document = Document(merge_process(process, config), "process")
    command = Process(draft, document, draft.init)
    _join_cgroup(draft, sub_cgroups)
    setup, init = draft.setup, draft.init

    command.connect(draft)
    if options.pidfd_socket:
        setup.emit("CONNECT", PIDFD_SOCKET, options.pidfd_socket, where="--pidfd-socket")
    draft.cgroup.before_clone(setup)
    _enter(draft, document, flags)
    draft.cgroup.after_clone(setup)
    command.limit(draft)
    command.score(draft)
    command.schedule(draft)
    setup.emit("POST", CHILD_READY)
    if options.pidfd_socket:
        setup.emit("PIDFD_SEND", PIDFD_SOCKET)
    if options.pid_file:
        setup.emit("PID_FILE", options.pid_file)

    if not options.no_new_keyring:
        init.emit("KEYRING", f"_ses.{options.id}")
    command.become(draft)
    command.execute(draft)
    plan = draft.plan
    plan.programs = {number: program for number, program in plan.programs.items() if program.steps}
    return plan


def merge_process(process: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """`process` with what it leaves to the container's own."""
    own = config.get("process")
    merged = dict(process)
    if isinstance(own, dict):
        for name in INHERITED:
            if merged.get(name) is None and own.get(name) is not None:
                merged[name] = own[name]
    return merged


def _join_cgroup(draft: Draft, sub_cgroups: Sequence[str]) -> None:
    from wherry.runtime.cgroup.group import exec_cgroup

    target, host = draft.target, draft.host
    assert target is not None
    rootless = not host.privileged if draft.options.rootless is None else draft.options.rootless
    draft.cgroup = exec_cgroup(
        target.pid,
        target.cgroup,
        host.cgroups,
        sub_cgroups=list(sub_cgroups),
        rootless=rootless,
        new_slot=draft.slot,
    )
    draft.options.warnings += draft.cgroup.warnings


def _enter(draft: Draft, process: Document, flags: int) -> None:
    """The clone into the container's namespaces.

    A pid namespace is joined by children only. With root's rights HOST itself joins it, for its child; without
    them STAGE has to enter the user namespace first.
    """
    setup, init, target, host = draft.setup, draft.init, draft.target, draft.host
    assert target is not None
    pidfd = draft.slot()
    setup.emit("PIDFD", pidfd, target.pid, target.start_time)
    place = "linux.namespaces"
    first, stage = init, flags & NEWPID and host.euid != 0
    if stage:
        first = draft.stage
        setup.emit("CLONE", STAGE, 0, draft.cgroup.clone_slot, where=place)
        setup.emit("ADOPT")
    else:
        if flags & NEWPID:
            setup.emit("SETNS", pidfd, NEWPID, where=place)
            flags &= ~NEWPID
        setup.emit("CLONE", INIT, 0, draft.cgroup.clone_slot, where=place)
    final = _affinity(process, first)
    draft.cgroup.enter(first)
    first.emit("PDEATHSIG", SIGKILL)
    if stage:
        _join(first, pidfd, flags)
        first.emit("CLONE", INIT, CLONE_PARENT, NONE, where=place)
        init.emit("PDEATHSIG", SIGKILL)
    init.emit("DUMPABLE", 0)
    init.emit("AWAIT", CHILD_READY)
    if final is not None:
        init.emit("AFFINITY", final, where=process.at("execCPUAffinity"))
    if not stage:
        _join(init, pidfd, flags)
    if draft.namespaces.has(NEWNS):
        init.emit("ROOTFS", "/", 0)
        init.emit("PROCFS")
    else:
        init.emit("ROOTFS", f"/proc/{target.pid}/root", 0)
        init.emit("PROCFS")
        init.emit("PIVOT", PIVOT_CHROOT)


def _join(program: Any, pidfd: int, flags: int) -> None:
    if flags:
        program.emit("SETNS", pidfd, flags, where="linux.namespaces")
    if flags & NEWUSER:
        program.emit("BECOME", 0, 0, where="linux.namespaces")


def _flags(draft: Draft, target: Target) -> int:
    """The namespaces to join: those of the document, and others in which the container differs from us."""
    flags = draft.namespaces.all
    for flag, name in TYPES.values():
        if not flags & flag:
            try:
                if posix.readlink(f"/proc/self/ns/{name}") != posix.readlink(f"/proc/{target.pid}/ns/{name}"):
                    flags |= flag
            except OSError:
                pass  # no such kind of namespace, or no right to look: then it is one that we share
    return flags


def _affinity(process: Document, first: Any) -> bytes | None:
    """The CPUs before the control group is entered, as a step; those after it as the result.

    Without the field the CPUs are reset to all; None: they stay as they are.
    """
    document = process.document("execCPUAffinity")
    if document is None:
        return b""
    from wherry.runtime.compile.attributes import parse_numbers

    initial = parse_numbers(document, "initial")
    if initial:
        first.emit("AFFINITY", initial, where=document.at("initial"))
    return parse_numbers(document, "final") or None
