"""Mounts, in the document's order (config.md "Mounts", config-linux.md)."""

from __future__ import annotations

from wherry.oci.check import Document
from wherry.plan.instructions import (
    ATTACH_COPY_SYMLINK,
    ATTACH_NOFOLLOW,
    ATTR_RECURSIVE,
    KIND_DIRECTORY,
    KIND_LIKE_SOURCE,
    MOUNT_COPY_UP,
    MOUNT_KEEP_MODE,
    MOUNT_MAY_BIND,
    MOUNT_REAL_DIRECTORY,
    NONE,
    SLOTS,
    TREE_NOFOLLOW,
    TREE_RECURSIVE,
)
from wherry.runtime.compile.mount_options import (
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    MS_SLAVE,
    MountOptions,
    parse_options,
)
from wherry.runtime.compile.namespaces import NEWIPC, NEWNS, NEWPID, NEWUSER, to_host
from wherry.runtime.paths import join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.plan.encode import Program
    from wherry.runtime.compile.draft import Draft

# File systems whose superblock carries no security label of its own.
_UNLABELLED = ("proc", "sysfs", "mqueue", "cgroup", "cgroup2")
_LABEL_TYPES = ("context", "fscontext", "defcontext", "rootcontext")
# Slots left for what is not a mount.
_RESERVED_SLOTS = 16


class Mount:
    """One entry of `mounts`, checked."""

    __slots__ = ("document", "options", "source", "target", "type", "where")

    def __init__(self, draft: Draft, document: Document) -> None:
        self.document = document
        self.where = document.path
        target = document.required_text("destination")
        self.target = target if target[0] == "/" else "/" + target
        if not self.target.strip("/."):
            raise document.error("destination", "must not be the root directory")
        self.options = parse_options(document.texts("options"), document.at("options"))
        self.type = document.text("type")
        if self.type == "bind":
            self.options.bind = True
        if not self.type and not self.options.bind and not self.options.flags & MS_REMOUNT:
            raise document.error("type", "is required, unless bind or rbind is among the options")
        self.source = document.text("source")
        if self.options.bind and not self.options.flags & MS_REMOUNT:
            if not self.source:
                raise document.error("source", "is required for a bind mount")
            self.source = join(draft.options.bundle, self.source)


def make_mounts(draft: Draft) -> None:
    """Every mount of the document, and the runtime's own."""
    for document in draft.document.documents("mounts"):
        mount = Mount(draft, document)
        if mount.options.flags & MS_REMOUNT:
            _remount(draft, mount)
        elif mount.options.bind:
            _bind(draft, mount)
        elif mount.type in ("cgroup", "cgroup2"):
            from wherry.runtime.compile.cgroups import mount_cgroups

            mount_cgroups(draft, mount)
        else:
            _mount(draft, mount)
    if draft.options.notify_socket[:1] == "/":
        target = "/run/notify/notify.sock"
        bind_path(draft, draft.options.notify_socket, target, "NOTIFY_SOCKET")


def bind_path(draft: Draft, source: str, target: str, where: str, kind: int = KIND_LIKE_SOURCE) -> None:
    """A plain bind mount of a host path that INIT can reach."""
    slot = draft.scratch_slot()
    draft.init.emit("TREE", slot, NONE, source, 0, where=where)
    draft.init.emit("ATTACH", slot, target, kind, 0, where=where)


def _bind(draft: Draft, mount: Mount) -> None:
    options, where = mount.options, mount.where
    userns = _idmap(draft, mount)
    if userns != NONE or _sources_need_host(draft):
        opener: Program = draft.setup
        slot = draft.slot()
    else:
        opener = draft.init
        slot = draft.scratch_slot()
    flags = TREE_RECURSIVE if options.recursive else 0
    if options.src_nofollow or options.copy_symlink:
        flags |= TREE_NOFOLLOW
    opener.emit("TREE", slot, NONE, mount.source, flags, where=where)
    if userns != NONE:
        recursive = ATTR_RECURSIVE if options.idmap == "ridmap" else 0
        opener.emit("TREE_ATTR", slot, 0, 0, 0, userns, recursive, where=where)
    if options.attr_set or options.attr_clr:
        opener.emit("TREE_ATTR", slot, options.attr_set, options.attr_clr, 0, NONE, 0, where=where)
    if options.rec_attr_set or options.rec_attr_clr:
        attributes = (options.rec_attr_set, options.rec_attr_clr)
        opener.emit("TREE_ATTR", slot, *attributes, 0, NONE, ATTR_RECURSIVE, where=where)
    propagation = options.propagation
    if opener is draft.setup and not propagation:
        # Cloned from the host's own mount namespace, where INIT's cut has not been made.
        propagation = [MS_SLAVE | MS_REC]
    for change in propagation:
        recursive = ATTR_RECURSIVE if change & MS_REC else 0
        opener.emit("TREE_ATTR", slot, 0, 0, change & ~MS_REC, NONE, recursive, where=where)
    attach = (ATTACH_NOFOLLOW if options.dest_nofollow else 0) | (ATTACH_COPY_SYMLINK if options.copy_symlink else 0)
    draft.init.emit("ATTACH", slot, mount.target, KIND_LIKE_SOURCE, attach, where=where)


def _sources_need_host(draft: Draft) -> bool:
    """INIT may be unable to reach the sources: as another user, or in a mount namespace it joined."""
    namespaces = draft.namespaces
    if draft.host.euid != 0 or draft.next_slot >= SLOTS - _RESERVED_SLOTS:
        return False
    return namespaces.has(NEWUSER) or (namespaces.has(NEWNS) and not namespaces.new & NEWNS)


def _idmap(draft: Draft, mount: Mount) -> int:
    """The slot of the user namespace that maps the mount's ids, NONE for none."""
    from wherry.runtime.compile.namespaces import map_text, read_map

    document, options = mount.document, mount.options
    if options.idmap is None and not document.has("uidMappings") and not document.has("gidMappings"):
        return NONE
    uids, gids = read_map(document, "uidMappings"), read_map(document, "gidMappings")
    if bool(uids) != bool(gids):
        missing = "gidMappings" if uids else "uidMappings"
        raise document.error(missing, "is required: an id-mapped mount needs both mappings or none")
    if not uids and (options.uid_map or options.gid_map):
        uids, gids = _inline_maps(draft, options)
    namespaces = draft.namespaces
    if not uids:
        for joined in namespaces.joined:
            if joined.flag == NEWUSER:
                return joined.slot
        uids, gids = namespaces.uid_map, namespaces.gid_map
    if not uids:
        raise document.error("uidMappings", "is required: there is no user namespace to take the mapping from")
    slot = draft.slot()
    draft.setup.emit("USERNS", slot, map_text(uids), map_text(gids), where=document.at("uidMappings"))
    return slot


def _inline_maps(draft: Draft, options: MountOptions) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """The maps of an `idmap=` option, relative ones carried over to the host's ids."""
    uids = options.uid_map or options.gid_map
    gids = options.gid_map or options.uid_map
    if not options.map_relative:
        return uids, gids
    namespaces = draft.namespaces
    return (
        [(first, to_host(namespaces.uid_map, host), size) for first, host, size in uids],
        [(first, to_host(namespaces.gid_map, host), size) for first, host, size in gids],
    )


def _mount(draft: Draft, mount: Mount) -> None:
    options, where, init = mount.options, mount.where, draft.init
    flags, how, source = options.flags, 0, mount.source or mount.type
    if mount.type in ("proc", "sysfs"):
        how |= MOUNT_REAL_DIRECTORY
    if _may_be_refused(draft, mount.type):
        how |= MOUNT_MAY_BIND
        source = {"sysfs": "/sys", "proc": "/proc", "mqueue": "/dev/mqueue"}[mount.type]
    if mount.type == "tmpfs":
        how |= MOUNT_COPY_UP if options.tmpcopyup else 0
        how |= 0 if "mode=" in options.data else MOUNT_KEEP_MODE
        if flags & MS_RDONLY:
            # What comes later may have to make its mount point, or its device, in it.
            flags &= ~MS_RDONLY
            draft.deferred_readonly.append((mount.target, where))
    data = _data(draft, mount)
    init.emit("MOUNT", mount.type, source, mount.target, flags, data, KIND_DIRECTORY, 0o755, how, where=where)
    if options.rec_attr_set or options.rec_attr_clr:
        attributes = (options.rec_attr_set, options.rec_attr_clr)
        init.emit("ATTR", mount.target, *attributes, ATTR_RECURSIVE, where=where)
    for change in options.propagation:
        init.emit("PROPAGATE", mount.target, change, where=where)


def _may_be_refused(draft: Draft, type: str) -> bool:
    """In a user namespace the kernel mounts these only for the owner of the namespace they show."""
    namespaces = draft.namespaces
    if not (namespaces.has(NEWUSER) or draft.host.in_userns):
        return False
    if type == "proc":
        return not namespaces.new & NEWPID
    return type == "sysfs" or (type == "mqueue" and not namespaces.new & NEWIPC)


def _data(draft: Draft, mount: Mount) -> str:
    """The file system's own options: without ids that are not mapped, with the security label."""
    data = mount.options.data
    namespaces = draft.namespaces
    if namespaces.uid_map and mount.type in ("devpts", "tmpfs") and ("gid=" in data or "uid=" in data):
        kept = []
        for word in data.split(","):
            ids = {"uid": namespaces.uid_map, "gid": namespaces.gid_map}.get(word[:3])
            if ids and word[3:4] == "=" and word[4:].isdigit() and to_host(ids, int(word[4:])) < 0:
                draft.warn(f"{mount.where}.options: {word} is ignored, the id is not mapped")
                continue
            kept.append(word)
        data = ",".join(kept)
    label = draft.linux.text("mountLabel")
    if label and mount.type not in _UNLABELLED and "context=" not in data and draft.host.selinux:
        kind = draft.annotations.get("run.oci.mount_context_type", "context")
        if kind not in _LABEL_TYPES:
            raise draft.document.error("annotations.run.oci.mount_context_type", f"{kind!r} is not known")
        data = f'{data},{kind}="{label}"' if data else f'{kind}="{label}"'
    return data


def _remount(draft: Draft, mount: Mount) -> None:
    """Change what an earlier entry mounted."""
    options, where, init = mount.options, mount.where, draft.init
    if options.bind or not options.data:
        init.emit("ATTR", mount.target, options.attr_set, options.attr_clr, 0, where=where)
    else:
        arguments = (options.flags, options.data, KIND_DIRECTORY, 0o755, 0)
        init.emit("MOUNT", mount.type, mount.source, mount.target, *arguments, where=where)


def directory_flags(options: MountOptions) -> int:
    """Flags of a tmpfs that only holds mount points."""
    return options.flags & ~MS_RDONLY & (MS_NOSUID | MS_NODEV | MS_NOEXEC)
