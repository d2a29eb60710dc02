"""The container's control group in the plan, and mounts of type cgroup (config-linux.md "Control groups")."""

from __future__ import annotations

from wherry.plan.instructions import KIND_DIRECTORY, MOUNT_MAY_BIND, NONE
from wherry.runtime.compile.mount_options import MS_RDONLY
from wherry.runtime.compile.namespaces import NEWCGROUP, NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.runtime.cgroup.group import Cgroup, CgroupMount
    from wherry.runtime.compile.draft import Draft
    from wherry.runtime.compile.mounts import Mount


def create_cgroup(draft: Draft) -> Cgroup:
    """Decide on the group; with systemd its scope exists from here on, until `abandon`."""
    from wherry.runtime.cgroup.group import compile_cgroup

    options, host = draft.options, draft.host
    rootless = not host.privileged if options.rootless is None else options.rootless
    cgroup = compile_cgroup(
        draft.document.value,
        options.id,
        host.cgroups,
        manager=options.cgroup_manager,
        rootless=rootless,
        new_slot=draft.slot,
        native_path=options.native_path,
    )
    options.warnings += cgroup.warnings
    options.memory_cgroup = cgroup.memory_path
    draft.cgroup = cgroup
    return cgroup


def mount_cgroups(draft: Draft, mount: Mount) -> None:
    """One mount of the unified hierarchy, or a directory with one mount per v1 hierarchy and its links."""
    entries = draft.cgroup.mounts
    if len(entries) == 1 and entries[0].version == 2:
        _mount_group(draft, mount, entries[0], mount.target)
        return
    from wherry.runtime.compile.mounts import directory_flags

    init, where = draft.init, mount.where
    flags = directory_flags(mount.options)
    arguments = (flags, "mode=755", KIND_DIRECTORY, 0o755, 0)
    init.emit("MOUNT", "tmpfs", "cgroup", mount.target, *arguments, where=where)
    for entry in entries:
        _mount_group(draft, mount, entry, f"{mount.target}/{entry.name}")
        for link in entry.links:
            init.emit("SYMLINK", 0, f"{mount.target}/{link}", entry.name, where=where)
    if mount.options.flags & MS_RDONLY:
        draft.deferred_readonly.append((mount.target, where))


def _mount_group(draft: Draft, mount: Mount, entry: CgroupMount, target: str) -> None:
    namespaces, init, where, options = draft.namespaces, draft.init, mount.where, mount.options
    if namespaces.has(NEWCGROUP):
        type = "cgroup2" if entry.version == 2 else "cgroup"
        how, source = 0, "cgroup"
        if namespaces.has(NEWUSER) or draft.host.in_userns:
            how, source = MOUNT_MAY_BIND, entry.path
        data = entry.data if entry.version == 1 else options.data
        arguments = (options.flags, data, KIND_DIRECTORY, 0o755, how)
        init.emit("MOUNT", type, source, target, *arguments, where=where)
        return
    slot = draft.scratch_slot()
    init.emit("TREE", slot, NONE, entry.path, 0, where=where)
    if options.attr_set or options.attr_clr:
        init.emit("TREE_ATTR", slot, options.attr_set, options.attr_clr, 0, NONE, 0, where=where)
    init.emit("ATTACH", slot, target, KIND_DIRECTORY, 0, where=where)
