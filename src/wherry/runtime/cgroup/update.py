"""Change the limits of a container that exists.

All or nothing: when one file cannot be written, those written before get back what they held.
"""

from __future__ import annotations

import errno
import os

from wherry.errors import FAILED_PRECONDITION, INVALID_ARGUMENT, UNAVAILABLE, WherryError
from wherry.oci.check import Document
from wherry.runtime.cgroup.container import Groups
from wherry.runtime.cgroup.layout import read_text
from wherry.runtime.cgroup.resources import resource_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.runtime.cgroup.resources import Setting

# members for which 0 is a value and not "leave it"
_ZERO_COUNTS = ("idle", "burst", "swappiness")
# files that hold a line for each device: what takes a device's line away
_DEVICE_LINES = {
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "rdma.max": "hca_handle=max hca_object=max",
    "io.weight": "default",
    "io.bfq.weight": "default",
    "net_prio.ifpriomap": "0",
    "blkio.weight_device": "0",
    "blkio.leaf_weight_device": "0",
    "blkio.bfq.weight_device": "0",
    "blkio.throttle.read_bps_device": "0",
    "blkio.throttle.write_bps_device": "0",
    "blkio.throttle.read_iops_device": "0",
    "blkio.throttle.write_iops_device": "0",
}


def update_resources(groups: Groups, old: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Apply `changes`, of the form of linux.resources, to a container with limits `old`.

    Returns the limits it has now. Device rules are not changed. Raises WherryError, with nothing changed, for
    a request that is malformed or that the kernel refuses.
    """
    if not groups.paths:
        raise WherryError(FAILED_PRECONDITION, "the container has no control group to limit")
    merged = merge(old, changes)
    before = resource_settings(old, groups.layout) if old else []
    settings = [
        setting
        for setting in resource_settings(merged, groups.layout, "resources")
        if _concerns(setting, changes) or not any(_same(setting, known) for known in before)
    ]
    _check_memory(groups, changes, settings)
    undo: list[tuple[str, str]] = []
    if groups.scope:
        _update_scope(groups, merged)
    try:
        write_settings([(groups.directory(s[0]) + "/" + s[1], s[2], s[3], bool(s[4])) for s in settings], undo)
    except WherryError:
        _restore(undo)
        if groups.scope:
            _update_scope(groups, old)
        raise
    return merged


def merge(old: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The limits after a change: absent, null and (but where it is a value) 0 leave what was."""
    merged = dict(old)
    for section, value in Document(changes, "resources").value.items():
        if isinstance(value, dict) and section != "rdma":
            kept = {
                name: member
                for name, member in value.items()
                if member or member is False or (member == 0 and (name in _ZERO_COUNTS or section == "pids"))
            }
            merged[section] = {**(old.get(section) or {}), **kept}
        elif value and section != "devices":
            merged[section] = value
    memory = changes.get("memory")
    if isinstance(memory, dict) and memory.get("limit") == -1 and not memory.get("swap"):
        merged["memory"] = {**merged["memory"], "swap": -1}
    return merged


def write_settings(writes: list[tuple[str, str, str, bool]], undo: list[tuple[str, str]]) -> None:
    """Write (file, value, place, optional), noting in `undo` what was there.

    Some files limit each other (memory and swap, quota and burst): what is refused as invalid is tried again
    after the others, until nothing moves any more.
    """
    while writes:
        refused = []
        for entry in writes:
            path, value, where, optional = entry
            held = read_text(path)
            try:
                _write(path, value)
            except OSError as error:
                if optional and error.errno == errno.ENOENT:
                    continue
                if error.errno not in (errno.EINVAL, errno.EBUSY):
                    raise _refusal(path, value, where, error) from None
                refused.append((entry, error))
            else:
                undo.append((path, _former(path, value, held)))
        if len(refused) == len(writes):
            (path, value, where, _), why = refused[0]
            raise _refusal(path, value, where, why) from None
        writes = [entry for entry, _ in refused]


def _concerns(setting: Setting, changes: dict[str, Any]) -> bool:
    """Whether the setting's place is named in the changes."""
    parts = setting[3].removeprefix("resources.").partition("[")[0].split(".")
    section = changes.get(parts[0])
    if not isinstance(section, dict) or parts[0] in ("rdma", "unified"):
        return bool(section)
    return len(parts) < 2 or section.get(parts[1]) is not None


def _same(one: Setting, other: Setting) -> bool:
    return one[:3] == other[:3]


def _check_memory(groups: Groups, changes: dict[str, Any], settings: list[Setting]) -> None:
    """checkBeforeUpdate: version 2 would rather kill than refuse."""
    memory = Document(changes, "resources").document("memory")
    if memory is None or not memory.flag("checkBeforeUpdate"):
        return
    directory = groups.directory("memory")
    for _, file, value, where, _ in settings:
        if file in ("memory.max", "memory.limit_in_bytes") and value.isdecimal():
            usage = read_text(f"{directory}/memory.current") or read_text(f"{directory}/memory.usage_in_bytes")
            if usage.strip().isdecimal() and int(usage) > int(value):
                message = f"the limit of {value} bytes is less than the {int(usage)} in use"
                raise WherryError(FAILED_PRECONDITION, message, path=where)


def _update_scope(groups: Groups, resources: dict[str, Any]) -> None:
    from wherry.runtime.cgroup.dbus import open_bus
    from wherry.runtime.cgroup.systemd import set_properties
    from wherry.runtime.cgroup.systemd_properties import resource_properties

    properties = list(resource_properties(resource_settings(resources, groups.layout)).items())
    bus = open_bus(user=groups.user)
    try:
        set_properties(bus, groups.scope, properties)
    finally:
        bus.close()


def _write(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _former(path: str, value: str, held: str) -> str:
    """What to write to get back from `value` to what the file held."""
    file = path.rpartition("/")[2]
    device, space, _ = value.partition(" ")
    if file not in _DEVICE_LINES or not (space or file == "io.weight"):
        return held.strip()
    if not space:
        device = "default"
    for line in held.split("\n"):
        if line.split(" ")[0] == device:
            return line
    return f"{device} {_DEVICE_LINES[file]}"


def _restore(undo: list[tuple[str, str]]) -> None:
    """Back to what was; a file that cannot be restored keeps the new value."""
    writes = [(path, value, "", True) for path, value in reversed(undo)]
    try:
        write_settings(writes, [])
    except WherryError:
        pass


def _refusal(path: str, value: str, where: str, error: OSError) -> WherryError:
    code = INVALID_ARGUMENT if error.errno in (errno.EINVAL, errno.ERANGE) else UNAVAILABLE
    message = f"cannot write {value!r} to {path}: {error.strerror}"
    hint = ""
    if error.errno == errno.EBUSY and "memory" in path:
        usage = read_text(path.rpartition("/")[0] + "/memory.usage_in_bytes").strip()
        hint = f"{usage} bytes are in use" if usage else ""
    return WherryError(code, message, hint=hint, path=where)
