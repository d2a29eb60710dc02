"""Which control group hierarchies this process sees, and where it stands in them (cgroups(7))."""

from __future__ import annotations

import posix

ROOT = "/sys/fs/cgroup"
# of version 2: what a container's parents enable for it, as far as the kernel offers it
CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc")
_SIZE_LIMIT_BYTES = 1 << 24


class Hierarchy:
    """One mounted hierarchy.

    `controllers` of a version 1 hierarchy are what is attached to it ("name=systemd" for a named one); of
    version 2 what its root offers. `root` is the group that the mount point shows, `own` the group of this
    process, both as the kernel names them.
    """

    __slots__ = ("controllers", "mount_point", "own", "root", "version")

    def __init__(
        self, version: int, controllers: tuple[str, ...], mount_point: str, root: str = "/", own: str = "/"
    ) -> None:
        self.version = version
        self.controllers = controllers
        self.mount_point = mount_point
        self.root = root
        self.own = own

    @property
    def name(self) -> str:
        """The directory name of the mount point; "" for version 2 on /sys/fs/cgroup itself."""
        return "" if self.mount_point == ROOT else self.mount_point.rpartition("/")[2]

    @property
    def data(self) -> str:
        """The data of a version 1 mount."""
        named = self.controllers[0].startswith("name=")
        return ("none," if named else "") + ",".join(self.controllers)

    def directory(self, group: str) -> str:
        """The host directory of a group as named in /proc/PID/cgroup; "" when the mount does not show it."""
        root = self.root.rstrip("/")
        if group == root or group.startswith(root + "/"):
            inside = group[len(root) :].strip("/")
            if inside != ".." and not inside.startswith("../"):
                return f"{self.mount_point}/{inside}" if inside else self.mount_point
        return ""

    @property
    def own_directory(self) -> str:
        """The host directory of this process's group; the mount point when that is out of sight."""
        return self.directory(self.own) or self.mount_point


class Layout:
    """The hierarchies in sight. `mode` is v1, v2, hybrid (v1 with a v2 hierarchy beside it) or none."""

    __slots__ = ("hierarchies", "unified")

    def __init__(self, hierarchies: list[Hierarchy], unified: Hierarchy | None = None) -> None:
        self.hierarchies = hierarchies
        self.unified = unified

    @property
    def mode(self) -> str:
        """v1, v2, hybrid or none."""
        if self.unified is None:
            return "v1" if self.hierarchies else "none"
        return "hybrid" if self.hierarchies else "v2"

    def all(self) -> list[Hierarchy]:
        """Every hierarchy, version 2 first: what can be refused there is refused before anything is made."""
        return ([] if self.unified is None else [self.unified]) + self.hierarchies

    def find(self, controller: str) -> Hierarchy | None:
        """The hierarchy that has a controller."""
        for hierarchy in self.hierarchies:
            if controller in hierarchy.controllers:
                return hierarchy
        unified = self.unified
        return unified if unified is not None and controller in unified.controllers else None


def read_layout() -> Layout:
    """The layout that this process sees."""
    layout = parse_layout(read_text("/proc/self/mountinfo"), read_text("/proc/self/cgroup"))
    unified = layout.unified
    if unified is not None:
        unified.controllers = tuple(read_text(unified.mount_point + "/cgroup.controllers").split())
    return layout


def parse_layout(mountinfo: str, own: str) -> Layout:
    """The layout told by the texts of /proc/self/mountinfo and /proc/self/cgroup.

    A version 2 hierarchy's controllers are left empty: they stand in its files.
    """
    groups = parse_groups(own)
    found: dict[tuple[str, ...], Hierarchy] = {}
    at = mountinfo.find(" - cgroup")
    while at >= 0:
        start = mountinfo.rfind("\n", 0, at) + 1
        end = mountinfo.find("\n", at)
        hierarchy = _hierarchy(mountinfo[start : end if end >= 0 else len(mountinfo)], groups)
        if hierarchy is not None:
            _keep_better(found, hierarchy)
        at = mountinfo.find(" - cgroup", at + 1)
    unified = found.pop((), None)
    if unified is not None and unified.mount_point == ROOT:
        return Layout([], unified)
    return Layout(list(found.values()), unified)


def parse_groups(text: str) -> dict[tuple[str, ...], str]:
    """The groups of /proc/PID/cgroup by controllers; version 2 under the empty tuple."""
    groups = {}
    for line in text.split("\n"):
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number:
            groups[tuple(controllers.split(",")) if controllers else ()] = group
    return groups


def read_text(path: str) -> str:
    """A small kernel file; "" when it cannot be read."""
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return ""
    parts = []
    try:
        while data := posix.read(fd, 1 << 16):
            parts.append(data)
            if len(parts) > _SIZE_LIMIT_BYTES >> 12:
                break
    except OSError:
        return ""
    finally:
        posix.close(fd)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def _hierarchy(line: str, groups: dict[tuple[str, ...], str]) -> Hierarchy | None:
    left, _, right = line.partition(" - ")
    fields = left.split(" ")
    kind, _, options = right.split(" ", 2)
    root, mount_point = _unescape(fields[3]), _unescape(fields[4])
    if kind == "cgroup2":
        return Hierarchy(2, (), mount_point, root, groups.get((), "/"))
    attached = set(options.split(","))
    for controllers, group in groups.items():
        if controllers and attached.issuperset(controllers):
            return Hierarchy(1, controllers, mount_point, root, group)
    return None


def _keep_better(found: dict[tuple[str, ...], Hierarchy], new: Hierarchy) -> None:
    """Of several mounts of a hierarchy keep the one in the usual place, there the last (it covers the others)."""
    key = new.controllers
    old = found.get(key)
    if old is None or _usual(new) >= _usual(old):
        found[key] = new


def _usual(hierarchy: Hierarchy) -> int:
    if hierarchy.mount_point == ROOT:
        return 2
    return 1 if hierarchy.mount_point.startswith(ROOT + "/") else 0


def _unescape(text: str) -> str:
    """A mountinfo field without its octal escapes."""
    if "\\" not in text:
        return text
    first, *rest = text.split("\\")
    return first + "".join([chr(int(part[:3], 8)) + part[3:] for part in rest])
