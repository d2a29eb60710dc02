"""Resources as files of version 2 controllers, converted from version 1's units where they differ."""

from __future__ import annotations

from math import ceil, log2

from wherry.errors import FAILED_PRECONDITION, WherryError
from wherry.oci.check import INT64_MAX, UINT32_MAX, UINT64_MAX, Document
from wherry.plan.instructions import WRITE_IF_PRESENT
from wherry.runtime.cgroup.resources import (
    check_burst,
    device_number,
    device_rates,
    memory_and_swap,
    page_size,
    rdma_settings,
)
from wherry.runtime.cgroup.v1 import pids_settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.runtime.cgroup.resources import Setting

DEFAULT_PERIOD_US = 100_000

_THROTTLES = (
    ("throttleReadBpsDevice", "rbps"),
    ("throttleWriteBpsDevice", "wbps"),
    ("throttleReadIOPSDevice", "riops"),
    ("throttleWriteIOPSDevice", "wiops"),
)


def cpu_weight(shares: int) -> int:
    """cpu.weight (1 to 10000) of cpu.shares (2 to 262144): ends and the default (1024, 100) meet on a curve."""
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    log = log2(shares)
    return ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))


def io_weight(weight: int) -> int:
    """io.weight (1 to 10000) of a blkio weight (10 to 1000)."""
    return 1 + (max(weight, 10) - 10) * 9999 // 990


def swap_alone(limit: int, swap: int) -> str:
    """memory.swap.max of memory and swap together; "" when unset."""
    if swap == 0:
        return ""
    return "max" if swap < 0 else str(swap - limit)


def memory_settings(resources: Document) -> list[Setting]:
    """Swap alone is limited here, not memory and swap together."""
    memory = resources.document("memory")
    assert memory is not None
    limit, swap = memory_and_swap(memory)
    if swap > 0 and limit <= 0:
        raise memory.error("swap", "can be limited with cgroup v2 only together with memory.limit")
    if memory.flag("disableOOMKiller"):
        raise _impossible(memory, "disableOOMKiller")
    if memory.number("swappiness", 0, 100):
        raise _impossible(memory, "swappiness")
    settings: list[Setting] = []
    if limit:
        settings.append(_limit("memory", "memory.max", limit, memory.at("limit")))
    if text := swap_alone(limit, swap):
        flags = WRITE_IF_PRESENT if text == "max" else 0
        settings.append(("memory", "memory.swap.max", text, memory.at("swap"), flags))
    if reservation := memory.number("reservation", -1, INT64_MAX):
        settings.append(_limit("memory", "memory.low", reservation, memory.at("reservation")))
    return settings


def cpu_settings(resources: Document) -> list[Setting]:
    """Quota and period share a file; an idle group takes no weight, so idle is last."""
    cpu = resources.document("cpu")
    assert cpu is not None
    for name in ("realtimePeriod", "realtimeRuntime"):
        if cpu.number(name, -1, UINT64_MAX):
            raise _impossible(cpu, name)
    quota, period, burst = check_burst(cpu)
    settings: list[Setting] = []
    if shares := cpu.number("shares", 0, UINT64_MAX):
        settings.append(("cpu", "cpu.weight", str(cpu_weight(shares)), cpu.at("shares"), 0))
    if quota or period:
        where = cpu.at("quota" if quota else "period")
        text = f"{quota if quota > 0 else 'max'} {period or DEFAULT_PERIOD_US}"
        settings.append(("cpu", "cpu.max", text, where, 0 if quota > 0 else WRITE_IF_PRESENT))
    if burst >= 0:
        settings.append(("cpu", "cpu.max.burst", str(burst), cpu.at("burst"), 0 if burst else WRITE_IF_PRESENT))
    if cpu.has("idle"):
        idle = cpu.number("idle", 0, 1)
        settings.append(("cpu", "cpu.idle", str(idle), cpu.at("idle"), 0 if idle else WRITE_IF_PRESENT))
    for name in ("cpus", "mems"):
        if text := cpu.text(name):
            settings.append(("cpuset", f"cpuset.{name}", text, cpu.at(name), 0))
    return settings


def block_io_settings(resources: Document) -> list[Setting]:
    """BFQ and the io.cost model each have a weight file; each is there only with its scheduler."""
    block_io = resources.document("blockIO")
    assert block_io is not None
    if block_io.number("leafWeight", 0, 1000):
        raise _impossible(block_io, "leafWeight")
    settings: list[Setting] = []
    if weight := block_io.number("weight", 0, 1000):
        settings += _weights("", weight, block_io.at("weight"))
    for entry in block_io.documents("weightDevice"):
        if entry.number("leafWeight", 0, 1000):
            raise _impossible(entry, "leafWeight")
        if weight := entry.number("weight", 0, 1000):
            settings += _weights(device_number(entry) + " ", weight, entry.at("weight"))
    for name, key in _THROTTLES:
        for number, rate, where in device_rates(block_io, name):
            settings.append(("io", "io.max", f"{number} {key}={rate or 'max'}", where, 0))
    return settings


def hugepage_settings(resources: Document) -> list[Setting]:
    """Reservations are limited where the kernel accounts for them, page faults always."""
    settings: list[Setting] = []
    for entry in resources.documents("hugepageLimits"):
        file = f"hugetlb.{page_size(entry)}"
        limit = str(entry.required_number("limit", 0, UINT64_MAX))
        where = entry.at("limit")
        settings.append(("hugetlb", f"{file}.max", limit, where, 0))
        settings.append(("hugetlb", f"{file}.rsvd.max", limit, where, WRITE_IF_PRESENT))
    return settings


def network_settings(resources: Document) -> list[Setting]:
    """Version 2 has neither net_cls nor net_prio."""
    network = resources.document("network")
    assert network is not None
    if network.number("classID", 0, UINT32_MAX):
        raise _impossible(network, "classID")
    if network.list("priorities"):
        raise _impossible(network, "priorities")
    return []


def _weights(prefix: str, weight: int, where: str) -> list[Setting]:
    return [
        ("io", "io.bfq.weight", f"{prefix}{weight}", where, WRITE_IF_PRESENT),
        ("io", "io.weight", f"{prefix}{io_weight(weight)}", where, WRITE_IF_PRESENT),
    ]


def _limit(controller: str, file: str, value: int, where: str) -> Setting:
    if value < 0:
        return controller, file, "max", where, WRITE_IF_PRESENT
    return controller, file, str(value), where, 0


def _impossible(document: Document, name: str) -> WherryError:
    return WherryError(FAILED_PRECONDITION, "has no equivalent in cgroup v2", hint="remove it", path=document.at(name))


TABLE: dict[str, Callable[[Document], list[Setting]]] = {
    "memory": memory_settings,
    "cpu": cpu_settings,
    "blockIO": block_io_settings,
    "hugepageLimits": hugepage_settings,
    "network": network_settings,
    "pids": pids_settings,
    "rdma": rdma_settings,
}
