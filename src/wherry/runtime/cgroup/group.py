"""The control groups of one container: what is made, entered and removed, as steps of its launch plan.

Version 1 groups are entered by the container's own process: a task that moves itself by the `tasks` file
spares the kernel the wait for all CPUs that a move by the parent costs. The version 2 group is entered by
clone3 itself.
"""

from __future__ import annotations

import posix

from wherry.errors import FAILED_PRECONDITION, INVALID_ARGUMENT, PERMISSION_DENIED, WherryError
from wherry.oci.check import Document
from wherry.plan.instructions import (
    CGROUP,
    CGROUP_CPUSET,
    CGROUP_NEW,
    CGROUP_OPTIONAL,
    DELETE,
    META,
    NONE,
    PAUSE,
    RESUME,
    WRITE_BEST_EFFORT,
)
from wherry.runtime.cgroup.layout import (
    CONTROLLERS,
    Hierarchy,
    Layout,
    parse_groups,
    parse_layout,
    read_layout,
    read_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from wherry.plan.encode import Plan, Program
    from wherry.runtime.cgroup.resources import DeviceRule, Setting
    from wherry.runtime.cgroup.systemd import Scope

__all__ = [
    "Cgroup",
    "CgroupMount",
    "Hierarchy",
    "Layout",
    "compile_cgroup",
    "exec_cgroup",
    "parse_layout",
    "read_layout",
]

MANAGERS = ("cgroupfs", "systemd", "disabled")
FREEZE_DEADLINE_MS = 10_000
REMOVE_DEADLINE_MS = 10_000
LATER_REMOVE_DEADLINE_MS = 1_000  # the first removal has done the waiting
_KILL = 9
_DELEGATE = "/sys/kernel/cgroup/delegate"
_DELEGATE_FILES = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")
# whose group stands for the container in version 1: the first that is there
_LEADERS = ("freezer", "pids", "devices", "name=systemd", "memory")


class Group:
    """The container's group in one hierarchy: its host directory, and where processes go (same or below)."""

    __slots__ = ("hierarchy", "inner", "path", "slot")

    def __init__(self, hierarchy: Hierarchy, path: str, slot: int) -> None:
        self.hierarchy = hierarchy
        self.path = path
        self.inner = path
        self.slot = slot


class CgroupMount:
    """What a mount of type cgroup shows of one hierarchy.

    `data` mounts it anew (inside a cgroup namespace), `path` is the host directory to bind without one,
    `links` are names that point to `name` beside it.
    """

    __slots__ = ("controllers", "data", "links", "mount_point", "name", "path", "version")

    def __init__(self, hierarchy: Hierarchy, path: str) -> None:
        self.version = hierarchy.version
        self.controllers = hierarchy.controllers
        self.data = hierarchy.data if hierarchy.version == 1 else ""
        self.mount_point = hierarchy.mount_point
        self.name = hierarchy.name
        self.path = path
        several = hierarchy.version == 1 and len(hierarchy.controllers) > 1
        self.links = tuple([c for c in hierarchy.controllers if c != self.name]) if several else ()


class Cgroup:
    """Steps for the programs of a plan; see the methods for where they belong."""

    __slots__ = (
        "clone_slot",
        "devices",
        "freezer",
        "freezer_version",
        "groups",
        "memory_path",
        "mounts",
        "owner_uid",
        "path",
        "rootless",
        "scope",
        "settings",
        "shared",
        "warnings",
    )

    def __init__(self, groups: list[Group], mounts: list[CgroupMount], *, rootless: bool, shared: bool) -> None:
        self.groups = groups
        self.mounts = mounts
        self.rootless = rootless
        self.shared = shared  # the groups exist already and are not ours to make or remove
        self.settings: list[Setting] = []
        self.devices: list[DeviceRule] | None = None
        self.owner_uid = -1
        self.scope: Scope | None = None
        self.warnings: list[str] = []
        unified = groups[0] if groups and groups[0].hierarchy.version == 2 else None
        self.clone_slot = NONE if unified is None else unified.slot
        self.path = _leader(groups)
        freezer = self.find("freezer") or unified
        self.freezer = freezer.path if freezer is not None else ""
        self.freezer_version = freezer.hierarchy.version if freezer is not None else 0
        memory = self.find("memory")
        self.memory_path = memory.path if memory is not None else ""

    def find(self, controller: str) -> Group | None:
        """The group of a controller; "cgroup" means version 2 itself."""
        for group in self.groups:
            if controller in group.hierarchy.controllers or (controller == "cgroup" and group.hierarchy.version == 2):
                return group
        return None

    def before_clone(self, host: Program) -> None:
        """HOST, right before CLONE: make the groups and limit them."""
        for group in self.groups:
            if self.shared:
                host.emit("OPEN", group.slot, NONE, group.inner, _PATH_DIRECTORY, 0, 0, where="control group")
            else:
                self._make(host, group)
        for setting in self.settings:
            if not self._is_late(setting):
                self._write(host, setting)
        if self.devices is not None:
            self._limit_devices(host, self.devices)
        for group in self.groups:
            if group.inner != group.path:
                _make_inner(host, group)
            if self.owner_uid >= 0 and group.hierarchy.version == 2:
                host.emit("CGROUP_OWN", group.slot, self.owner_uid, _delegated_files(), where="linux.cgroupsPath")

    def enter(self, program: Program) -> None:
        """The first steps of the process that CLONE makes: it moves itself into the version 1 groups.

        It keeps none of them open: a process of the container that may trace it could climb from such a directory
        to the host.
        """
        for group in self.groups:
            if group.hierarchy.version == 1:
                program.emit("CGROUP_ENTER", group.slot, where=_place(group))
            program.emit("CLOSE", group.slot)

    def after_clone(self, host: Program) -> None:
        """HOST, when the child's pid is known: what clone3 could not do, and the limit that would have stopped it."""
        if self.clone_slot != NONE:
            host.emit("CGROUP_ENTER", self.clone_slot, where=_place(self.groups[0]))
        for setting in self.settings:
            if self._is_late(setting):
                self._write(host, setting)
        if self.scope is not None:
            path = f"/proc/{self.scope.placeholder}/fd/0"
            host.emit("WRITE", NONE, path, b"\n", WRITE_BEST_EFFORT, where="systemd scope")

    def delete(self, program: Program) -> None:
        """The first steps of DELETE."""
        if self.shared or not self.path:
            return
        program.emit("CGROUP_KILL", self.path, _KILL, where="control group")
        if self.freezer_version == 1:
            program.emit("FREEZE", self.freezer, 1, 0, FREEZE_DEADLINE_MS, where="control group")
        deadline = REMOVE_DEADLINE_MS
        for group in self.groups:
            name = "CGROUP_VANISH" if self.scope is not None and _is_systemds(group) else "CGROUP_REMOVE"
            program.emit(name, group.path, deadline, where=_place(group))
            deadline = LATER_REMOVE_DEADLINE_MS

    def pause(self, program: Program) -> None:
        """PAUSE; no step where there is no freezer."""
        self._freeze(program, 1)

    def resume(self, program: Program) -> None:
        """RESUME."""
        self._freeze(program, 0)

    def meta(self, program: Program) -> None:
        """META: where the verbs find the processes and the freezer."""
        program.emit("META", "cgroup", self.path)
        program.emit("META", "freezer", self.freezer)
        program.emit("META", "freezer_version", str(self.freezer_version or ""))
        if self.scope is not None:
            program.emit("META", "scope", self.scope.unit + (" user" if self.rootless else ""))

    def finish(self, plan: Plan) -> None:
        """META, PAUSE, RESUME and the first steps of DELETE."""
        self.meta(plan.program(META))
        self.pause(plan.program(PAUSE))
        self.resume(plan.program(RESUME))
        self.delete(plan.program(DELETE))

    def abandon(self) -> None:
        """End and reap the placeholder of a systemd scope; nothing without one.

        For a plan that is not going to run, and after the run for a caller that does not become the native
        program: the scope of a container that runs stays.
        """
        if self.scope is not None:
            self.scope.abandon()

    def _make(self, host: Program, group: Group) -> None:
        hierarchy = group.hierarchy
        where = _place(group)
        if hierarchy.version == 2:
            names = " ".join([name for name in CONTROLLERS if name in hierarchy.controllers])
            for parent in _parents(hierarchy.mount_point, group.path) if names and self.scope is None else ():
                host.emit("CGROUP_CONTROLLERS", parent, names, where=where)
        flags = 0 if self.scope is not None else CGROUP_NEW
        if self.rootless and not self.settings:
            flags |= CGROUP_OPTIONAL
        if "cpuset" in hierarchy.controllers and hierarchy.version == 1:
            flags |= CGROUP_CPUSET
        host.emit("CGROUP_DIR", group.slot, group.path, flags, where=where)

    def _is_late(self, setting: Setting) -> bool:
        """The processes that set up the container may be more than it may have; a slot that moved on to the
        inner group can no longer limit the outer one.
        """
        return setting[1] == "pids.max" and all(group.inner == group.path for group in self.groups)

    def _write(self, host: Program, setting: Setting) -> None:
        controller, file, value, where, flags = setting
        group = self.find(controller)
        assert group is not None, controller
        host.emit("WRITE", group.slot, file, value.encode(), flags, where=where)

    def _limit_devices(self, host: Program, rules: list[DeviceRule]) -> None:
        group = self.find("devices")
        if group is not None:
            from wherry.runtime.cgroup.v1 import device_settings

            for setting in device_settings(rules):
                self._write(host, setting)
        elif self.clone_slot != NONE:
            from wherry.runtime.cgroup.device_filter import compile_devices

            where = "linux.resources.devices"
            host.emit("DEVICE_FILTER", self.clone_slot, compile_devices(rules), where=where)

    def _freeze(self, program: Program, frozen: int) -> None:
        if self.freezer and not self.shared:
            program.emit(
                "FREEZE", self.freezer, self.freezer_version, frozen, FREEZE_DEADLINE_MS, where="control group"
            )


def compile_cgroup(
    config: dict[str, Any],
    container_id: str,
    layout: Layout,
    *,
    manager: str = "cgroupfs",
    rootless: bool = False,
    new_slot: Callable[[], int],
    native_path: str = "",
) -> Cgroup:
    """The groups of a new container.

    With manager "systemd" the scope is made here, over D-Bus; `native_path` is then the runtime's executable.
    Raises WherryError for a request that is malformed or cannot be met here.
    """
    linux = Document(config.get("linux") or {}, "linux")
    if manager == "disabled" or layout.mode == "none":
        return _no_cgroup(linux, layout, rootless, manager)
    from wherry.runtime.cgroup.resources import resource_settings

    resources = linux.document("resources")
    settings = [] if resources is None else resource_settings(resources.value, layout, resources.path)
    inner = inner_group(config)
    scope = None
    if manager == "systemd":
        from wherry.runtime.cgroup.systemd import start_scope

        scope = start_scope(config, container_id, layout, settings, rootless=rootless, native_path=native_path)
    directories = _directories(linux, container_id, layout, scope)
    groups = [
        Group(hierarchy, path, CGROUP if hierarchy.version == 2 else new_slot()) for hierarchy, path in directories
    ]
    if rootless and scope is None:
        groups = _permitted(groups, settings)
    made = [group.hierarchy for group in groups]  # without a group of its own the container stays in ours
    mounts = [CgroupMount(each, path if each in made else each.own_directory) for each, path in directories]
    if inner and groups and groups[0].hierarchy.version == 2:
        groups[0].inner = f"{groups[0].path}/{inner}"
        mounts[0].path = groups[0].inner
    cgroup = Cgroup(groups, mounts, rootless=rootless, shared=False)
    cgroup.settings = settings
    cgroup.scope = scope
    if not rootless:
        from wherry.runtime.cgroup.resources import device_rules

        cgroup.devices = device_rules({} if resources is None else resources.value)
    if layout.mode == "v2":
        cgroup.owner_uid = delegated_uid(config)
    return cgroup


def exec_cgroup(
    pid: int,
    container_cgroup: str,
    layout: Layout,
    *,
    sub_cgroups: Sequence[str] = (),
    rootless: bool = False,
    new_slot: Callable[[], int],
) -> Cgroup:
    """The groups that another process joins: those of the container's init, `pid`.

    `container_cgroup` is META's "cgroup"; `sub_cgroups` are `--cgroup` values, `[controllers:]PATH`, of groups
    that exist below the container's.
    """
    if not container_cgroup:
        return Cgroup([], [], rootless=rootless, shared=True)
    current = parse_groups(read_text(f"/proc/{pid}/cgroup"))
    groups = []
    for hierarchy in layout.all():
        path = hierarchy.directory(current.get(hierarchy.controllers if hierarchy.version == 1 else (), ""))
        if path and not (rootless and not posix.access(f"{path}/cgroup.procs", posix.W_OK)):
            groups.append(Group(hierarchy, path, CGROUP if hierarchy.version == 2 else new_slot()))
    for value in sub_cgroups:
        _enter_below(groups, value, container_cgroup)
    return Cgroup(groups, [], rootless=rootless, shared=True)


def inner_group(config: dict[str, Any]) -> str:
    """The group below the limited one that crun's annotations ask for; "" when they do not."""
    annotations = Document(config, "").mapping("annotations")
    names = []
    for key in ("run.oci.systemd.subgroup", "run.oci.delegate-cgroup"):
        if value := annotations.get(key, ""):
            checked_path(value, f"annotations[{key}]")
            names.append(value.strip("/"))
    return "/".join(names)


def checked_path(path: str, where: str) -> str:
    """A group's path that stays below where it is put."""
    if ".." in path.split("/") or "\n" in path:
        raise WherryError(INVALID_ARGUMENT, f"{path!r} must not contain '..'", path=where)
    return path


def delegated_uid(config: dict[str, Any]) -> int:
    """The host's user to own a version 2 group, -1 when it stays ours (config-linux.md "Cgroup ownership")."""
    document = Document(config, "")
    linux = Document(config.get("linux") or {}, "linux")
    own_namespace = False
    for namespace in linux.documents("namespaces"):
        if namespace.text("type") == "cgroup":
            own_namespace = not namespace.text("path")
    writable = False
    for mount in document.documents("mounts"):
        if mount.text("type") == "cgroup" and mount.text("destination").rstrip("/") == "/sys/fs/cgroup":
            writable = "ro" not in mount.texts("options")
    if not own_namespace or not writable:
        return -1
    process = document.document("process")
    user = None if process is None else process.document("user")
    uid = 0 if user is None else user.number("uid", 0, 1 << 32)
    host = _host_id(linux, uid)
    return -1 if host == posix.geteuid() else host


def _host_id(linux: Document, uid: int) -> int:
    for entry in linux.documents("uidMappings"):
        first = entry.number("containerID", 0, 1 << 32)
        if first <= uid < first + entry.number("size", 0, 1 << 32):
            return uid - first + entry.number("hostID", 0, 1 << 32)
    return -1 if linux.list("uidMappings") else uid


def _no_cgroup(linux: Document, layout: Layout, rootless: bool, manager: str) -> Cgroup:
    mounts = [CgroupMount(hierarchy, hierarchy.own_directory) for hierarchy in layout.all()]
    resources = linux.document("resources")
    cgroup = Cgroup([], mounts, rootless=rootless, shared=False)
    if resources is not None and any(key != "devices" and value for key, value in resources.value.items()):
        why = "control groups are disabled" if manager == "disabled" else "no control groups are mounted"
        cgroup.warnings.append(f"linux.resources: ignored, {why}")
    return cgroup


def _directories(
    linux: Document, container_id: str, layout: Layout, scope: Scope | None
) -> list[tuple[Hierarchy, str]]:
    """Each hierarchy with the container's directory in it."""
    if scope is not None:
        return [(hierarchy, scope.directory(hierarchy)) for hierarchy in layout.all()]
    path = checked_path(linux.text("cgroupsPath"), linux.at("cgroupsPath"))
    if path.startswith("/"):
        inside = "/".join([part for part in path.split("/") if part not in ("", ".")])
        if not inside:
            raise linux.error("cgroupsPath", "the root of the control groups cannot be a container's")
        return [(hierarchy, f"{hierarchy.mount_point}/{inside}") for hierarchy in layout.all()]
    inside = "/".join([part for part in path.split("/") if part not in ("", ".")]) or container_id
    return [(hierarchy, f"{_base(hierarchy, layout)}/{inside}") for hierarchy in layout.all()]


def _base(hierarchy: Hierarchy, layout: Layout) -> str:
    """Where relative paths begin: our own group; in a version 2 layout its parent.

    There a group with processes cannot have children with controllers.
    """
    own = hierarchy.own_directory
    if layout.mode != "v2" or own == hierarchy.mount_point:
        return own
    return own.rpartition("/")[0]


def _parents(mount_point: str, path: str) -> list[str]:
    """The directories from the mount point down to the parent of `path`."""
    parents = [mount_point]
    for part in path[len(mount_point) + 1 :].split("/")[:-1]:
        parents.append(f"{parents[-1]}/{part}")
    return parents


def _permitted(groups: list[Group], settings: list[Setting]) -> list[Group]:
    """Without privileges: the groups that we may make. One that a limit needs and that we may not is an error."""
    permitted = [group for group in groups if _may_make(group.path)]
    controllers = {"cgroup"}
    for group in permitted:
        version_1 = group.hierarchy.version == 1
        controllers.update(group.hierarchy.controllers if version_1 else _delegated_controllers(group.path))
    for controller, file, _, where, flags in settings:
        if flags or controller in controllers:
            continue
        raise WherryError(
            PERMISSION_DENIED,
            f"{file} cannot be set: no permission to make a control group",
            hint="delegate the controller to this user (systemd: Delegate=yes, --systemd-cgroup) or remove the limit",
            path=where,
        )
    return permitted


def _may_make(path: str) -> bool:
    return posix.access(_existing_parent(path), posix.W_OK)


def _existing_parent(path: str) -> str:
    parent = path.rpartition("/")[0]
    while not posix.access(parent, posix.F_OK):
        parent = parent.rpartition("/")[0]
    return parent


def _delegated_controllers(path: str) -> list[str]:
    """What can be enabled for a version 2 group: what the topmost group that is ours has."""
    top = _existing_parent(path)
    while posix.access(above := top.rpartition("/")[0] + "/cgroup.subtree_control", posix.W_OK):
        top = above.rpartition("/")[0]
    return read_text(f"{top}/cgroup.controllers").split()


def _make_inner(host: Program, group: Group) -> None:
    names = " ".join([name for name in CONTROLLERS if name in group.hierarchy.controllers])
    for parent in _parents(group.path, group.inner) if names else ():
        host.emit("CGROUP_CONTROLLERS", parent, names, where="annotations")
    host.emit("CGROUP_DIR", group.slot, group.inner, 0, where="annotations")


def _enter_below(groups: list[Group], value: str, container_cgroup: str) -> None:
    """Apply one `--cgroup` value."""
    names, colon, path = value.rpartition(":")
    checked_path(path, "--cgroup")
    chosen = [group for group in groups if not colon or set(names.split(",")) & set(group.hierarchy.controllers)]
    if not chosen:
        raise WherryError(INVALID_ARGUMENT, f"no control group controller {names!r} here", path="--cgroup")
    for group in chosen:
        base = container_cgroup if container_cgroup.startswith(group.hierarchy.mount_point + "/") else group.path
        directory = f"{base}/{path.strip('/')}".rstrip("/")
        if not posix.access(directory, posix.F_OK):
            raise WherryError(FAILED_PRECONDITION, f"control group {directory} does not exist", path="--cgroup")
        group.inner = directory


def _leader(groups: list[Group]) -> str:
    if groups and groups[0].hierarchy.version == 2:
        return groups[0].path
    for name in _LEADERS:
        for group in groups:
            if name in group.hierarchy.controllers:
                return group.path
    return groups[0].path if groups else ""


def _is_systemds(group: Group) -> bool:
    """Whether systemd watches this group for the end of the scope."""
    return group.hierarchy.version == 2 or "name=systemd" in group.hierarchy.controllers


def _place(group: Group) -> str:
    return f"control group {group.hierarchy.name}" if group.hierarchy.name else "control group"


def _delegated_files() -> tuple[str, ...]:
    return tuple(read_text(_DELEGATE).split()) or _DELEGATE_FILES


_PATH_DIRECTORY = 0o12200000  # O_PATH | O_DIRECTORY | O_CLOEXEC
