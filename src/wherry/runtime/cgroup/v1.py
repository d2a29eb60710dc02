"""Resources as files of version 1 controllers; each function returns its section's settings."""

from __future__ import annotations

import posix

from wherry.errors import INVALID_ARGUMENT, WherryError
from wherry.oci.check import INT64_MAX, UINT32_MAX, UINT64_MAX, Document
from wherry.plan.instructions import WRITE_IF_PRESENT
from wherry.runtime.cgroup.layout import Layout
from wherry.runtime.cgroup.resources import (
    check_burst,
    device_number,
    device_rates,
    memory_and_swap,
    page_size,
    rdma_settings,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.runtime.cgroup.resources import DeviceRule, Setting

_THROTTLES = (
    ("throttleReadBpsDevice", "read_bps_device"),
    ("throttleWriteBpsDevice", "write_bps_device"),
    ("throttleReadIOPSDevice", "read_iops_device"),
    ("throttleWriteIOPSDevice", "write_iops_device"),
)


def memory_settings(resources: Document, _layout: Layout) -> list[Setting]:
    """A new group has no limits, so memory goes before memory and swap."""
    memory = resources.document("memory")
    assert memory is not None
    limit, swap = memory_and_swap(memory)
    settings: list[Setting] = []
    for name, value, file in (
        ("limit", limit, "memory.limit_in_bytes"),
        ("swap", swap, "memory.memsw.limit_in_bytes"),
        ("reservation", memory.number("reservation", -1, INT64_MAX), "memory.soft_limit_in_bytes"),
    ):
        if value:
            flags = WRITE_IF_PRESENT if value < 0 else 0
            settings.append(("memory", file, str(value), memory.at(name), flags))
    if memory.has("swappiness"):
        value = memory.number("swappiness", 0, 100)
        settings.append(("memory", "memory.swappiness", str(value), memory.at("swappiness"), 0))
    if memory.flag("disableOOMKiller"):
        settings.append(("memory", "memory.oom_control", "1", memory.at("disableOOMKiller"), 0))
    return settings


def cpu_settings(resources: Document, _layout: Layout) -> list[Setting]:
    """Burst needs its quota first, shares cannot be set on an idle group."""
    cpu = resources.document("cpu")
    assert cpu is not None
    quota, period, burst = check_burst(cpu)
    settings: list[Setting] = []
    for name, file, number in (
        ("realtimePeriod", "cpu.rt_period_us", cpu.number("realtimePeriod", 0, UINT64_MAX)),
        ("realtimeRuntime", "cpu.rt_runtime_us", cpu.number("realtimeRuntime", -1, INT64_MAX)),
        ("shares", "cpu.shares", cpu.number("shares", 0, UINT64_MAX)),
        ("period", "cpu.cfs_period_us", period),
        ("quota", "cpu.cfs_quota_us", quota),
    ):
        if number:
            flags = WRITE_IF_PRESENT if number < 0 else 0
            settings.append(("cpu", file, str(number), cpu.at(name), flags))
    if burst >= 0:
        settings.append(("cpu", "cpu.cfs_burst_us", str(burst), cpu.at("burst"), 0 if burst else WRITE_IF_PRESENT))
    if cpu.has("idle"):
        idle = cpu.number("idle", 0, 1)
        settings.append(("cpu", "cpu.idle", str(idle), cpu.at("idle"), 0 if idle else WRITE_IF_PRESENT))
    for name in ("cpus", "mems"):
        if text := cpu.text(name):
            settings.append(("cpuset", f"cpuset.{name}", text, cpu.at(name), 0))
    return settings


def block_io_settings(resources: Document, layout: Layout) -> list[Setting]:
    """Weights go to the scheduler that the kernel has: BFQ, or CFQ before Linux 5.0."""
    block_io = resources.document("blockIO")
    assert block_io is not None
    weight_file, device_file = _weight_files(layout)
    settings: list[Setting] = []
    for name, file in (("weight", weight_file), ("leafWeight", "blkio.leaf_weight")):
        if weight := block_io.number(name, 0, 1000):
            settings.append(("blkio", file, str(weight), block_io.at(name), 0))
    for entry in block_io.documents("weightDevice"):
        number = device_number(entry)
        for name, file in (("weight", device_file), ("leafWeight", "blkio.leaf_weight_device")):
            if weight := entry.number(name, 0, 1000):
                settings.append(("blkio", file, f"{number} {weight}", entry.at(name), 0))
    for name, file in _THROTTLES:
        for number, rate, where in device_rates(block_io, name):
            settings.append(("blkio", f"blkio.throttle.{file}", f"{number} {rate}", where, 0))
    return settings


def hugepage_settings(resources: Document, _layout: Layout) -> list[Setting]:
    """Reservations are limited where the kernel accounts for them, page faults always."""
    settings: list[Setting] = []
    for entry in resources.documents("hugepageLimits"):
        file = f"hugetlb.{page_size(entry)}"
        limit = str(entry.required_number("limit", 0, UINT64_MAX))
        where = entry.at("limit")
        settings.append(("hugetlb", f"{file}.limit_in_bytes", limit, where, 0))
        settings.append(("hugetlb", f"{file}.rsvd.limit_in_bytes", limit, where, WRITE_IF_PRESENT))
    return settings


def network_settings(resources: Document, _layout: Layout) -> list[Setting]:
    """Packet class and priorities."""
    network = resources.document("network")
    assert network is not None
    settings: list[Setting] = []
    if class_id := network.number("classID", 0, UINT32_MAX):
        settings.append(("net_cls", "net_cls.classid", str(class_id), network.at("classID"), 0))
    for entry in network.documents("priorities"):
        name = entry.required_text("name")
        if " " in name or "\n" in name:
            raise WherryError(INVALID_ARGUMENT, f"{name!r} is not an interface name", path=entry.at("name"))
        priority = entry.required_number("priority", 0, UINT32_MAX)
        settings.append(("net_prio", "net_prio.ifpriomap", f"{name} {priority}", entry.path, 0))
    return settings


def pids_settings(resources: Document, _layout: Layout | None = None) -> list[Setting]:
    """Any negative limit means none; 0 forbids every further process. The file is the same in both versions."""
    pids = resources.document("pids")
    assert pids is not None
    if not pids.has("limit"):
        return []
    limit = pids.number("limit", -INT64_MAX - 1, INT64_MAX)
    if limit < 0:
        return [("pids", "pids.max", "max", pids.at("limit"), WRITE_IF_PRESENT)]
    return [("pids", "pids.max", str(limit), pids.at("limit"), 0)]


def device_settings(rules: list[DeviceRule]) -> list[Setting]:
    """Deny all, then each rule in order. A rule for all types with numbers needs a line for each type."""
    where = "linux.resources.devices"
    settings: list[Setting] = [("devices", "devices.deny", "a", where, 0)]
    for allow, kind, major, minor, access in rules:
        file = "devices.allow" if allow else "devices.deny"
        if kind == "a" and major < 0 and minor < 0 and set(access or "rwm") == set("rwm"):
            settings.append(("devices", file, "a", where, 0))
            continue
        numbers = f"{'*' if major < 0 else major}:{'*' if minor < 0 else minor}"
        for letter in "cb" if kind == "a" else kind:
            settings.append(("devices", file, f"{letter} {numbers} {access or 'rwm'}", where, 0))
    return settings


def _weight_files(layout: Layout) -> tuple[str, str]:
    hierarchy = layout.find("blkio")
    # the files of BFQ that every group has, also the root, tell that it is there
    if hierarchy is not None and posix.access(f"{hierarchy.mount_point}/blkio.bfq.io_service_bytes", posix.F_OK):
        return "blkio.bfq.weight", "blkio.bfq.weight_device"
    return "blkio.weight", "blkio.weight_device"


TABLE: dict[str, Callable[[Document, Layout], list[Setting]]] = {
    "memory": memory_settings,
    "cpu": cpu_settings,
    "blockIO": block_io_settings,
    "hugepageLimits": hugepage_settings,
    "network": network_settings,
    "pids": pids_settings,
    "rdma": lambda resources, layout: rdma_settings(resources),
}
