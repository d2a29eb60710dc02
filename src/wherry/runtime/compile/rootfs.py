"""The root directory: opened, entered, its masked and read-only paths (config.md "Root", config-linux.md)."""

from __future__ import annotations

from wherry.plan.instructions import PIVOT_CHROOT, PIVOT_MOVE, PIVOT_ROOT, ROOT_BIND
from wherry.runtime.compile.mount_options import MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE, MS_UNBINDABLE
from wherry.runtime.compile.namespaces import NEWNS
from wherry.runtime.paths import join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.runtime.compile.draft import Draft

PROPAGATION = {
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE | MS_REC,
    "shared": MS_SHARED,
    "rshared": MS_SHARED | MS_REC,
    "unbindable": MS_UNBINDABLE,
    "runbindable": MS_UNBINDABLE | MS_REC,
}


def root_propagation(draft: Draft) -> int:
    """MS_* of linux.rootfsPropagation, 0 when it is not given."""
    name = draft.linux.text("rootfsPropagation")
    if name and name not in PROPAGATION:
        hint = f"one of {', '.join(PROPAGATION)}"
        raise draft.linux.error("rootfsPropagation", f"{name!r} is not a propagation", hint)
    return PROPAGATION[name] if name else 0


def enter_root(draft: Draft) -> None:
    """INIT opens the root directory, in a mount namespace cut off from the host's."""
    root = draft.document.document("root")
    if root is None:
        raise draft.document.error("root", "is required")
    path = join(draft.options.bundle, root.required_text("path"))
    init = draft.init
    if not draft.namespaces.has(NEWNS):
        _check_shared_mounts(draft)
        init.emit("ROOTFS", path, 0, where="root.path")
        init.emit("PROCFS")
        return
    propagation = root_propagation(draft)
    # A shared or unbindable root is made so at the end: until then nothing may leak out or fail to be bound.
    early = propagation if propagation and not propagation & MS_UNBINDABLE else MS_SLAVE | MS_REC
    where = "linux.rootfsPropagation" if propagation else ""
    init.emit("PROPAGATION", "/", early, where=where)
    mount = draft.options.rootfs_mount
    if mount is not None:
        arguments = (mount.type, mount.path, mount.options, mount.data, mount.base)
        init.emit("ROOTFS_MOUNT", *arguments, where="root")
    init.emit("ROOTFS", path, ROOT_BIND, where="root.path")
    init.emit("PROCFS")


def _check_shared_mounts(draft: Draft) -> None:
    """Without a mount namespace every mount would be made on the host."""
    hint = 'add {"type": "mount"} to linux.namespaces'
    if draft.document.list("mounts"):
        raise draft.document.error("mounts", "cannot be made without a mount namespace", hint)
    for name in ("maskedPaths", "readonlyPaths", "rootfsPropagation"):
        if draft.linux.value.get(name):
            raise draft.linux.error(name, "cannot be applied without a mount namespace", hint)


def restrict_paths(draft: Draft) -> None:
    """Masked and read-only paths."""
    for instruction, name in (("MASK", "maskedPaths"), ("READONLY", "readonlyPaths")):
        for index, path in enumerate(draft.linux.texts(name)):
            if path[:1] != "/":
                raise draft.linux.error(f"{name}[{index}]", "must be absolute")
            draft.init.emit(instruction, path, where=f"linux.{name}[{index}]")


def leave_host_root(draft: Draft) -> None:
    """INIT enters the root directory for good."""
    init = draft.init
    if not draft.namespaces.has(NEWNS):
        init.emit("PIVOT", PIVOT_CHROOT, where="root.path")
        return
    init.emit("PIVOT", PIVOT_MOVE if draft.options.no_pivot else PIVOT_ROOT, where="root.path")
    propagation = root_propagation(draft)
    if propagation:
        init.emit("PROPAGATE", "/", propagation, where="linux.rootfsPropagation")
    root = draft.document.document("root")
    if root is not None and root.flag("readonly"):
        draft.deferred_readonly.append(("/", "root.readonly"))
