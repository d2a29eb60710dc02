"""The system call filter with its listener, and Landlock's rules, as steps of the plan."""

from __future__ import annotations

from wherry.errors import INVALID_ARGUMENT, WherryError
from wherry.oci.json_text import dumps
from wherry.runtime.compile.draft import OCI_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.oci.check import Document
    from wherry.plan.encode import Program
    from wherry.runtime.compile.draft import Draft
    from wherry.runtime.seccomp.filter import Filter

LISTENER_FD_NAME = "seccompFd"
FLAG_NEW_LISTENER = 8
PID = "\x01"  # replaced by the process's pid when the message is sent


def compile_profile(draft: Draft, document: Document) -> Filter:
    """The filter of linux.seccomp, compiled or from the cache."""
    from wherry.runtime.seccomp.filter import cached_filter

    host = draft.host
    compiled = cached_filter(document.value, host_arch=host.machine, cache_dir=host.cache_folder)
    draft.options.warnings += compiled.warnings
    if compiled.flags & FLAG_NEW_LISTENER and not compiled.listener_path:
        raise document.error("listenerPath", "is required when a rule uses SCMP_ACT_NOTIFY")
    return compiled


def listener_message(draft: Draft, compiled: Filter) -> tuple[str, str]:
    """The container process state (config-linux.md) before and after the pid."""
    target = draft.target
    head, tail = draft.state("creating" if target is None else "running")
    pid = PID if target is None else str(target.pid)
    message = f'{{"ociVersion":"{OCI_VERSION}","fds":["{LISTENER_FD_NAME}"],'
    if compiled.listener_metadata:
        message += f'"metadata":{dumps(compiled.listener_metadata)},'
    return f'{message}"state":{head}{pid}{tail},"pid":', "}"


def restrict_files(draft: Draft, init: Program, text: str, process: Document, no_new_privs: bool) -> None:
    """The Landlock rules of an annotation."""
    from wherry.runtime.landlock import ANNOTATION, compile_landlock

    place = f"annotations[{ANNOTATION}]"
    if not no_new_privs:
        raise WherryError(INVALID_ARGUMENT, "needs process.noNewPrivileges", hint="set it to true", path=place)
    abi = draft.host.landlock_abi
    if abi < 1:
        raise WherryError(INVALID_ARGUMENT, "the kernel has no Landlock", path=place)
    rules = compile_landlock(text, place).for_abi(abi)
    paths = [path for _, path in rules.paths]
    access = b"".join([mask.to_bytes(8, "little") for mask, _ in rules.paths])
    ports = b"".join([port.to_bytes(8, "little") + mask.to_bytes(8, "little") for mask, port in rules.ports])
    arguments = (rules.handled_fs, rules.handled_net, rules.scoped, paths, access, ports)
    init.emit("LANDLOCK", *arguments, where=place)
