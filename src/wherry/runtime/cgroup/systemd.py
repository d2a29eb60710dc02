"""The systemd driver: a transient scope for each container, made over D-Bus before the plan runs.

A scope needs a process to begin with: a placeholder (`wherry-runtime @hold`) stands in until the container's
own process has entered. The scope goes by itself when it is empty, also when it failed (CollectMode).

Limits are given both ways: as unit properties, so that systemd keeps them when it reloads, and by the plan's
own writes, for all that systemd does not know.
"""

from __future__ import annotations

import os
from time import sleep

from wherry.errors import ALREADY_EXISTS, FAILED_PRECONDITION, INVALID_ARGUMENT, WherryError
from wherry.oci.check import Document
from wherry.runtime.cgroup.dbus import Bus, BusError, open_bus
from wherry.runtime.cgroup.layout import Hierarchy, Layout, parse_groups, read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.runtime.cgroup.resources import DeviceRule, Setting

    # name, (signature, value)
    Property = tuple[str, tuple[str, Any]]

SERVICE = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
ANNOTATION = "org.systemd.property."
DEFAULT_PREFIX = "wherry"
EXISTS_ATTEMPTS, EXISTS_PAUSE_S = 100, 0.05
_SIGKILL = 9
# what a systemd must know for a container to be safe; other properties are left out when it does not
_REQUIRED = ("Slice", "Delegate", "PIDs", "DevicePolicy", "DeviceAllow")


class Scope:
    """A scope that has been started, with its placeholder still inside."""

    __slots__ = ("group", "placeholder", "unit")

    def __init__(self, unit: str, placeholder: int, group: str) -> None:
        self.unit = unit
        self.placeholder = placeholder
        self.group = group

    def directory(self, hierarchy: Hierarchy) -> str:
        """The scope's directory in a hierarchy: the same group in all."""
        found = hierarchy.directory(self.group)
        if not found:
            raise WherryError(FAILED_PRECONDITION, f"{self.group} is not below {hierarchy.mount_point}")
        return found

    def abandon(self) -> None:
        """End the placeholder, and with it the scope."""
        _end(self.placeholder)


def start_scope(
    config: dict[str, Any],
    container_id: str,
    layout: Layout,
    settings: list[Setting],
    *,
    rootless: bool,
    native_path: str,
) -> Scope:
    """Make the scope of a new container. Raises WherryError when systemd cannot be reached or refuses."""
    linux = Document(config.get("linux") or {}, "linux")
    slice_name, unit = unit_name(linux.text("cgroupsPath"), container_id, rootless=rootless)
    properties = scope_properties(config, container_id, slice_name, layout, settings)
    if layout.mode != "v2" and not rootless:
        from wherry.runtime.cgroup.resources import device_rules

        resources = linux.document("resources")
        properties += device_properties(device_rules({} if resources is None else resources.value))
    bus = open_bus(user=rootless)
    placeholder = _start_placeholder(native_path)
    try:
        start_unit(bus, unit, [*properties, ("PIDs", ("au", [placeholder]))])
        scope = Scope(unit, placeholder, _group_of(placeholder, layout))
        if rootless and layout.unified is not None:
            _come_closer(bus, scope, layout.unified)
    except BaseException:
        _end(placeholder)
        raise
    finally:
        bus.close()
    return scope


def unit_name(cgroups_path: str, container_id: str, *, rootless: bool) -> tuple[str, str]:
    """Slice and scope of a cgroupsPath `slice:prefix:name`; the parts may be empty."""
    where = "linux.cgroupsPath"
    parts = cgroups_path.split(":") if cgroups_path else ["", DEFAULT_PREFIX, container_id]
    if len(parts) != 3 or "/" in cgroups_path:
        raise WherryError(
            INVALID_ARGUMENT,
            f'expected the form "slice:prefix:name" for systemd, not {cgroups_path!r}',
            hint="or use the cgroupfs manager",
            path=where,
        )
    slice_name, prefix, name = parts
    slice_name = slice_name or ("user.slice" if rootless else "system.slice")
    if slice_name == "-.slice":
        pass
    elif not slice_name.endswith(".slice") or "--" in slice_name or slice_name[0] == "-" or "-.slice" in slice_name:
        raise WherryError(INVALID_ARGUMENT, f"{slice_name!r} is not the name of a slice", path=where)
    name = name or container_id
    return slice_name, f"{prefix}-{name}.scope" if prefix else f"{name}.scope"


def scope_properties(
    config: dict[str, Any], container_id: str, slice_name: str, layout: Layout, settings: list[Setting]
) -> list[Property]:
    """The scope's properties but its processes and devices; annotations win over everything else."""
    found: dict[str, tuple[str, Any]] = {
        "Description": ("s", f"container {container_id}"),
        "Slice": ("s", slice_name),
        "Delegate": ("b", True),
        "DefaultDependencies": ("b", False),
        "CollectMode": ("s", "inactive-or-failed"),
        "MemoryAccounting": ("b", True),
        "CPUAccounting": ("b", True),
        "TasksAccounting": ("b", True),
        "IOAccounting" if layout.mode == "v2" else "BlockIOAccounting": ("b", True),
    }
    from wherry.runtime.cgroup.systemd_properties import annotated_property, resource_properties

    found.update(resource_properties(settings))
    for key, text in Document(config).mapping("annotations").items():
        if key.startswith(ANNOTATION):
            name, value = annotated_property(key[len(ANNOTATION) :], text, f"annotations[{key}]")
            found[name] = value
    return list(found.items())


def device_properties(rules: list[DeviceRule] | None) -> list[Property]:
    """Version 1 only: systemd would else open all devices when it reloads. With version 2 the plan's own program
    stays attached beside systemd's, so systemd needs no list, and none of its own can take a device away.
    """
    if rules is None:
        return [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))]
    allowed: list[tuple[str, str]] = []
    for allow, kind, major, minor, access in rules:
        for letter in "cb" if kind == "a" else kind:
            node = _device_node(letter, major, minor)
            if allow and node:
                allowed.append((node, access or "rwm"))
            elif not allow:
                allowed = [entry for entry in allowed if not _covers(letter, node, entry[0])]
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", allowed))]


def _covers(letter: str, denied: str, node: str) -> bool:
    kind = "char" if letter == "c" else "block"
    everything = denied == f"{kind}-*" and node.startswith((f"{kind}-", f"/dev/{kind}/"))
    return everything or denied == node


def start_unit(bus: Bus, unit: str, properties: list[Property]) -> None:
    """StartTransientUnit, and wait for its job. A unit of the same name that is about to go is waited for."""
    if not bus.direct:
        match = f"type='signal',interface='{MANAGER}',member='JobRemoved'"
        bus.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch", "s", match)
    try:
        manage(bus, "Subscribe")
    except BusError as error:
        if error.name != f"{SERVICE}.AlreadySubscribed":
            raise
    attempts = EXISTS_ATTEMPTS
    while True:
        try:
            [job] = manage(bus, "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail", properties, [])
            break
        except BusError as error:
            if error.name == f"{SERVICE}.UnitExists" and attempts and _is_over(bus, unit):
                attempts -= 1
                sleep(EXISTS_PAUSE_S)
            elif (name := _unknown_property(error, properties)) and name not in _REQUIRED:
                properties = [entry for entry in properties if entry[0] != name]
            else:
                raise _refused(unit, error) from None
    while True:
        _, path, _, result = bus.signal("JobRemoved")
        if path == job:
            break
    if result != "done":
        raise WherryError(FAILED_PRECONDITION, f"systemd could not start {unit}: {result}")


def set_properties(bus: Bus, unit: str, properties: list[Property]) -> None:
    """SetUnitProperties until the next boot, leaving out what this systemd does not know."""
    while properties:
        try:
            manage(bus, "SetUnitProperties", "sba(sv)", unit, True, properties)
            return
        except BusError as error:
            name = _unknown_property(error, properties)
            if not name:
                raise _refused(unit, error) from None
            properties = [entry for entry in properties if entry[0] != name]


def manage(bus: Bus, member: str, signature: str = "", *values: Any) -> list[Any]:
    """Call a method of systemd's manager."""
    return bus.call(SERVICE, PATH, MANAGER, member, signature, *values)


def _is_over(bus: Bus, unit: str) -> bool:
    """Whether a unit has ended, or ends, and only its name is still taken; a failed one is cleared."""
    try:
        [path] = manage(bus, "GetUnit", "s", unit)
        properties = "org.freedesktop.DBus.Properties"
        [(_, state)] = bus.call(SERVICE, path, properties, "Get", "ss", f"{SERVICE}.Unit", "ActiveState")
        if state == "failed":
            manage(bus, "ResetFailedUnit", "s", unit)
    except BusError:
        return True  # gone just now
    return state in ("inactive", "failed", "deactivating")


def _unknown_property(error: BusError, properties: list[Property]) -> str:
    """The property that this systemd does not know, or does not take."""
    if error.name not in ("org.freedesktop.DBus.Error.PropertyReadOnly", "org.freedesktop.DBus.Error.UnknownProperty"):
        return ""
    words = error.message.replace(",", " ").replace(".", " ").split()
    for name, _ in properties:
        if name in words:
            return name
    return ""


def _refused(unit: str, error: BusError) -> WherryError:
    if error.name == f"{SERVICE}.UnitExists":
        return WherryError(ALREADY_EXISTS, f"systemd unit {unit} exists already", path="linux.cgroupsPath")
    return WherryError(FAILED_PRECONDITION, f"systemd refuses {unit}: {error.message}")


def _start_placeholder(native_path: str) -> int:
    """Its standard input is both ends of a pipe, so that only a byte, not our absence, ends the wait on it."""
    reader, writer = os.pipe()
    both = os.open(f"/proc/self/fd/{reader}", os.O_RDWR | os.O_CLOEXEC)
    actions = [
        (os.POSIX_SPAWN_DUP2, both, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    try:
        return os.posix_spawn(native_path, ["wherry-runtime", "@hold"], {}, file_actions=actions, setsid=True)
    except OSError as error:
        raise WherryError(FAILED_PRECONDITION, f"cannot start {native_path}: {error.strerror}") from None
    finally:
        for fd in (reader, writer, both):
            os.close(fd)


def _end(placeholder: int) -> None:
    try:
        os.kill(placeholder, _SIGKILL)
        os.waitpid(placeholder, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def _group_of(pid: int, layout: Layout) -> str:
    """The group that systemd has put a process in."""
    groups = parse_groups(read_text(f"/proc/{pid}/cgroup"))
    found = groups.get(()) if layout.mode == "v2" else groups.get(("name=systemd",), groups.get(()))
    if not found:
        raise WherryError(FAILED_PRECONDITION, "the placeholder of the scope has ended too early")
    return found


def _come_closer(bus: Bus, scope: Scope, unified: Hierarchy) -> None:
    """An ordinary user may move processes only below a common parent that is his: where ours stands elsewhere
    (a login session), systemd moves us to a scope of the user's manager.
    """
    target = scope.directory(unified)
    common = os.path.commonpath([unified.own_directory, target])
    if os.access(f"{common}/cgroup.procs", os.W_OK):
        return
    own = f"wherry-runtime-{os.getpid()}.scope"
    start_unit(
        bus,
        own,
        [
            ("Description", ("s", f"starter of {scope.unit}")),
            ("CollectMode", ("s", "inactive-or-failed")),
            ("PIDs", ("au", [os.getpid()])),
        ],
    )
    unified.own = parse_groups(read_text("/proc/self/cgroup")).get((), unified.own)


def _device_node(letter: str, major: int, minor: int) -> str:
    """How DeviceAllow names a device: a node, a driver's whole range, all of a type; "" when it cannot."""
    kind = "char" if letter == "c" else "block"
    if major < 0:
        return f"{kind}-*" if minor < 0 else ""
    if minor >= 0:
        return f"/dev/{kind}/{major}:{minor}"
    section = "Character devices:" if letter == "c" else "Block devices:"
    _, _, rest = read_text("/proc/devices").partition(section)
    for line in rest.split("\n\n")[0].split("\n"):
        number, _, name = line.strip().partition(" ")
        if number == str(major):
            return f"{kind}-{name}"
    return ""
