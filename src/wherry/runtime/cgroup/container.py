"""The control groups of a container that exists, as its launch plan names them."""

from __future__ import annotations

from wherry.plan.instructions import DELETE, META
from wherry.runtime.cgroup.layout import Hierarchy, Layout, read_layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.plan.encode import Plan


_REMOVERS = ("CGROUP_REMOVE", "CGROUP_VANISH")


class Groups:
    """Host directories by hierarchy. `scope` is the systemd unit, `user` whether the user's manager has it."""

    __slots__ = ("layout", "leader", "paths", "scope", "user")

    def __init__(self, layout: Layout, paths: list[str], *, leader: str = "", scope: str = "") -> None:
        self.layout = layout
        self.leader = leader
        self.scope, _, manager = scope.partition(" ")
        self.user = manager == "user"
        self.paths: dict[str, str] = {}
        for hierarchy in layout.all():
            for path in paths:
                if path.startswith(hierarchy.mount_point + "/") and _nearest(layout, path) is hierarchy:
                    self.paths[hierarchy.mount_point] = path

    def directory(self, controller: str) -> str:
        """The directory of a controller ("cgroup": of version 2 itself); "" when the container has none."""
        hierarchy = self.layout.unified if controller == "cgroup" else self.layout.find(controller)
        return "" if hierarchy is None else self.paths.get(hierarchy.mount_point, "")

    def version(self, controller: str) -> int:
        """1 or 2, 0 when the controller is not there."""
        hierarchy = self.layout.find(controller)
        return 0 if hierarchy is None else hierarchy.version


def container_groups(plan: Plan, layout: Layout | None = None) -> Groups:
    """The groups that the plan's DELETE removes."""
    facts = {str(arguments[0]): str(arguments[1]) for name, _, arguments in plan.program(META).steps if name == "META"}
    removed = [str(arguments[0]) for name, _, arguments in plan.program(DELETE).steps if name in _REMOVERS]
    return Groups(layout or read_layout(), removed, leader=facts.get("cgroup", ""), scope=facts.get("scope", ""))


def _nearest(layout: Layout, path: str) -> Hierarchy | None:
    """The hierarchy whose mount point is the longest that leads to `path`."""
    found = None
    for hierarchy in layout.all():
        inside = path.startswith(hierarchy.mount_point + "/")
        if inside and (found is None or len(hierarchy.mount_point) > len(found.mount_point)):
            found = hierarchy
    return found
