"""Namespaces: which are new, which are joined, the id maps, and the clone that enters them.

config-linux.md "Namespaces", "User namespace mappings", "Offset for Time Namespace".
"""

from __future__ import annotations

from wherry.oci.check import INT64_MAX, UINT32_MAX
from wherry.plan.instructions import INIT, NONE, STAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.oci.check import Document
    from wherry.runtime.compile.draft import Draft

NEWTIME, NEWNS, NEWCGROUP, NEWUTS = 0x80, 0x20000, 0x2000000, 0x4000000
NEWIPC, NEWUSER, NEWPID, NEWNET = 0x8000000, 0x10000000, 0x20000000, 0x40000000
CLONE_PARENT = 0x8000

# type in the document: (CLONE_NEW*, name in /proc/PID/ns)
TYPES = {
    "user": (NEWUSER, "user"),
    "pid": (NEWPID, "pid"),
    "network": (NEWNET, "net"),
    "ipc": (NEWIPC, "ipc"),
    "uts": (NEWUTS, "uts"),
    "time": (NEWTIME, "time"),
    "cgroup": (NEWCGROUP, "cgroup"),
    "mount": (NEWNS, "mnt"),
}
_AT_CLONE = NEWPID | NEWNET | NEWIPC | NEWUTS | NEWNS
MAPS_WANTED, MAPS_WRITTEN = 4, 5
SIGKILL = 9
OPEN_NAMESPACE = 0o2000000  # O_RDONLY | O_CLOEXEC


class Joined:
    """A namespace to join: its flag, path, place in the document, and the slot it is opened into."""

    __slots__ = ("flag", "path", "slot", "where")

    def __init__(self, flag: int, path: str, where: str) -> None:
        self.flag = flag
        self.path = path
        self.where = where
        self.slot = NONE


class Namespaces:
    """`new` and `all` are sets of CLONE_NEW* flags; a type in neither is shared with the host."""

    __slots__ = ("all", "gid_map", "joined", "new", "offsets", "stage", "uid_map", "where")

    def __init__(self, draft: Draft) -> None:
        self.new = 0
        self.all = 0
        self.joined: list[Joined] = []
        self.where: dict[int, str] = {}
        for entry in draft.linux.documents("namespaces"):
            self._add(draft, entry)
        self.uid_map = read_map(draft.linux, "uidMappings")
        self.gid_map = read_map(draft.linux, "gidMappings")
        self._check_maps(draft)
        self.offsets = self._time_offsets(draft.linux)
        self.joined.sort(key=_join_order)
        flags = 0
        for joined in self.joined:
            flags |= joined.flag
        own_user = self.new & NEWUSER and flags
        self.stage = bool(flags & (NEWUSER | NEWPID) or own_user or self.new & NEWTIME)
        if draft.linux.has("netDevices") and flags & NEWNET:
            self.stage = True  # the device is moved as soon as the child is cloned

    def _add(self, draft: Draft, entry: Document) -> None:
        name = entry.required_text("type")
        known = TYPES.get(name)
        if known is None:
            raise entry.error("type", f"{name!r} is not a namespace", f"one of {', '.join(TYPES)}")
        flag, kind = known
        if self.all & flag or flag in self.where:
            raise entry.error("type", f"namespace {name} is given twice")
        path = entry.text("path")
        self.where[flag] = entry.path
        if not path:
            self.new |= flag
        elif path[0] != "/":
            raise entry.error("path", "must be absolute")
        elif flag == NEWUSER and draft.host.own_namespace(kind, path):
            return  # the kernel refuses to enter it again
        else:
            self.joined.append(Joined(flag, path, entry.at("path")))
        self.all |= flag

    def _check_maps(self, draft: Draft) -> None:
        linux = draft.linux
        if self.new & NEWUSER:
            for name, ids in (("uidMappings", self.uid_map), ("gidMappings", self.gid_map)):
                if not ids:
                    raise linux.error(name, "is required: a user namespace needs an id mapping")
        elif not self.all & NEWUSER and NEWUSER not in self.where:
            for name, ids in (("uidMappings", self.uid_map), ("gidMappings", self.gid_map)):
                if ids:
                    hint = 'add {"type": "user"} to linux.namespaces'
                    raise linux.error(name, "is given, but there is no user namespace", hint)

    def _time_offsets(self, linux: Document) -> str:
        offsets = linux.document("timeOffsets")
        if offsets is None or not offsets.value:
            return ""
        if not self.new & NEWTIME:
            raise linux.error("timeOffsets", "needs a new time namespace in linux.namespaces")
        lines = ""
        for clock in offsets.value:
            if clock not in ("boottime", "monotonic"):
                raise offsets.error(clock, "is not a clock with an offset", "boottime or monotonic")
            entry = offsets.document(clock)
            if entry is not None:
                secs = entry.number("secs", -INT64_MAX, INT64_MAX)
                lines += f"{clock} {secs} {entry.number('nanosecs', 0, 999_999_999)}\n"
        return lines

    def has(self, flag: int) -> bool:
        """Whether the container has this namespace to itself, new or joined."""
        return bool(self.all & flag)

    def host_root(self) -> tuple[int, int]:
        """Uid and gid, on the host, of the container's root."""
        if not self.new & NEWUSER:
            return -1, -1
        return to_host(self.uid_map, 0), to_host(self.gid_map, 0)


def to_host(ids: list[tuple[int, int, int]], container_id: int) -> int:
    """The host's id for a container's id, -1 when it is not mapped. No map at all maps everything to itself."""
    for first, host, size in ids:
        if first <= container_id < first + size:
            return host + container_id - first
    return -1 if ids else container_id


def map_text(ids: list[tuple[int, int, int]]) -> str:
    """The lines of /proc/PID/uid_map."""
    return "".join([f"{first} {host} {size}\n" for first, host, size in ids])


def read_map(document: Document, name: str) -> list[tuple[int, int, int]]:
    """(container id, host id, size) of an id mapping."""
    ids: list[tuple[int, int, int]] = []
    for entry in document.documents(name):
        first = entry.required_number("containerID", 0, UINT32_MAX - 1)
        host = entry.required_number("hostID", 0, UINT32_MAX - 1)
        size = entry.required_number("size", 1, UINT32_MAX)
        if first + size > UINT32_MAX or host + size > UINT32_MAX:
            raise entry.error("size", f"{size} goes beyond the last id")
        for other_first, other_host, other_size in ids:
            if first < other_first + other_size and other_first < first + size:
                raise entry.error("containerID", "overlaps with an earlier mapping")
            if host < other_host + other_size and other_host < host + size:
                raise entry.error("hostID", "overlaps with an earlier mapping")
        ids.append((first, host, size))
    return ids


def _join_order(joined: Joined) -> tuple[bool, bool, bool]:
    """The user namespace gives the right to join the others; the mount namespace hides the host's paths."""
    return joined.flag != NEWUSER, joined.flag == NEWNS, joined.flag == NEWCGROUP


def open_namespaces(draft: Draft) -> None:
    """HOST opens what is joined while it sees the host's paths."""
    for joined in draft.namespaces.joined:
        joined.slot = draft.slot()
        draft.setup.emit("OPEN", joined.slot, NONE, joined.path, OPEN_NAMESPACE, 0, 0, where=joined.where)


def clone(draft: Draft) -> None:
    """HOST clones INIT, by way of STAGE where one clone cannot do it, and writes the id maps."""
    namespaces, setup, cgroup_slot = draft.namespaces, draft.setup, draft.cgroup.clone_slot
    where = "linux.namespaces"
    flags = namespaces.new & (_AT_CLONE | NEWUSER)
    if not namespaces.stage:
        setup.emit("CLONE", INIT, flags, cgroup_slot, where=where)
        if flags & NEWUSER:
            _write_maps(draft)
        return
    stage = draft.stage
    draft.cgroup.enter(stage)
    setup.emit("CLONE", STAGE, 0, cgroup_slot, where=where)
    stage.emit("PDEATHSIG", SIGKILL)
    for joined in namespaces.joined:
        if joined.flag not in (NEWNS, NEWCGROUP):
            stage.emit("SETNS", joined.slot, joined.flag, where=joined.where)
    if flags & NEWUSER:
        stage.emit("UNSHARE", NEWUSER, where=where)
        stage.emit("POST", MAPS_WANTED)
        stage.emit("AWAIT", MAPS_WRITTEN)
        setup.emit("AWAIT", MAPS_WANTED)
        _write_maps(draft)
        setup.emit("POST", MAPS_WRITTEN)
    if namespaces.has(NEWUSER):
        stage.emit("BECOME", 0, 0, where=where)
    if namespaces.new & NEWTIME:
        stage.emit("UNSHARE", NEWTIME, where=namespaces.where[NEWTIME])
        if namespaces.offsets:
            stage.emit("TIME_OFFSETS", namespaces.offsets, where="linux.timeOffsets")
    stage.emit("CLONE", INIT, flags & ~NEWUSER | CLONE_PARENT, NONE, where=where)
    setup.emit("ADOPT")


def _write_maps(draft: Draft) -> None:
    namespaces, host = draft.namespaces, draft.host
    uids, gids = namespaces.uid_map, namespaces.gid_map
    if host.euid == 0:
        setgroups, newuidmap, newgidmap = True, None, None
    else:
        alone = len(uids) == 1 and uids[0][1:] == (host.euid, 1)
        alone = alone and len(gids) == 1 and gids[0][1:] == (host.egid, 1)
        newuidmap = None if alone else _helper(draft, "newuidmap")
        newgidmap = None if alone else _helper(draft, "newgidmap")
        setgroups = not alone
    setup = draft.setup
    texts = map_text(uids), map_text(gids)
    setup.emit("MAPS", *texts, 0 if setgroups else 1, newuidmap, newgidmap, where="linux.uidMappings")


def _helper(draft: Draft, program: str) -> str:
    found = draft.host.find(program)
    if found is None:
        hint = "install it (package uidmap), or map only your own id"
        raise draft.linux.error("uidMappings", f"{program} is needed to map these ids", hint)
    return found


def setgroups_denied(draft: Draft) -> bool:
    """Whether the kernel refuses setgroups in the container's user namespace."""
    namespaces, host = draft.namespaces, draft.host
    if not namespaces.new & NEWUSER or host.euid == 0:
        return False
    uids, gids = namespaces.uid_map, namespaces.gid_map
    return len(uids) == 1 and uids[0][2] == 1 and len(gids) == 1 and gids[0][1:] == (host.egid, 1)


def enter_namespaces(draft: Draft, ready: int) -> None:
    """INIT's first steps: it waits until HOST has set it up, then joins and makes what is left."""
    namespaces, init = draft.namespaces, draft.init
    if not namespaces.stage:
        draft.cgroup.enter(init)
    init.emit("PDEATHSIG", SIGKILL)
    # The maps of a process that is not dumpable can be written by root only.
    if draft.host.euid == 0:
        init.emit("DUMPABLE", 0)
    init.emit("AWAIT", ready)
    if draft.host.euid != 0:
        init.emit("DUMPABLE", 0)
    init.emit("AFFINITY", b"")  # runtimes are often pinned to a CPU, containers are not
    for joined in namespaces.joined:
        if not namespaces.stage or joined.flag in (NEWNS, NEWCGROUP):
            init.emit("SETNS", joined.slot, joined.flag, where=joined.where)
    if namespaces.new & NEWUSER and not namespaces.stage:
        init.emit("BECOME", 0, 0, where=namespaces.where[NEWUSER])
    if namespaces.new & NEWCGROUP:
        init.emit("UNSHARE", NEWCGROUP, where=namespaces.where[NEWCGROUP])
