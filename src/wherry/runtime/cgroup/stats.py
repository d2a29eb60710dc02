"""What a container uses, in the shape of `events --stats` (times in nanoseconds, sizes in bytes).

The document has runc's members; what a kernel does not tell is left out or 0.
"""

from __future__ import annotations

import os

from wherry.runtime.cgroup.container import Groups
from wherry.runtime.cgroup.layout import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNLIMITED = (1 << 64) - 1
_V1_UNLIMITED = 1 << 62  # version 1 says the largest whole page count
_USER_HZ = 100
_NETWORK = ("Bytes", "Packets", "Errors", "Dropped")
_CPUSET_NUMBERS = (
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
)
_BLKIO_V1 = (
    ("ioServiceBytesRecursive", "io_service_bytes_recursive"),
    ("ioServicedRecursive", "io_serviced_recursive"),
    ("ioQueueRecursive", "io_queued_recursive"),
    ("ioServiceTimeRecursive", "io_service_time_recursive"),
    ("ioWaitTimeRecursive", "io_wait_time_recursive"),
    ("ioMergedRecursive", "io_merged_recursive"),
    ("ioTimeRecursive", "time_recursive"),
    ("sectorsRecursive", "sectors_recursive"),
)
_BLKIO_V2 = (
    ("ioServiceBytesRecursive", "rbytes", "Read"),
    ("ioServiceBytesRecursive", "wbytes", "Write"),
    ("ioServicedRecursive", "rios", "Read"),
    ("ioServicedRecursive", "wios", "Write"),
)


def read_stats(groups: Groups, pid: int = 0) -> dict[str, Any]:
    """The usage of a container; with its init's `pid` also that of its network interfaces."""
    from wherry.runtime.intel_rdt import rdt_stats

    data: dict[str, Any] = {
        "cpu": _cpu(groups),
        "cpuset": _cpuset(groups),
        "memory": _memory(groups),
        "pids": _pids(groups),
        "blkio": _blkio(groups),
        "hugetlb": _hugetlb(groups),
        "intel_rdt": rdt_stats(pid),
        "network_interfaces": network_interfaces(pid) if pid else [],
    }
    return data


def _cpu(groups: Groups) -> dict[str, Any]:
    if groups.version("cpu") == 1 or groups.version("cpuacct") == 1:
        return _cpu_v1(groups)
    directory = groups.directory("cgroup")
    stat = _pairs(f"{directory}/cpu.stat") if directory else {}
    return {
        "usage": {
            "total": stat.get("usage_usec", 0) * 1000,
            "kernel": stat.get("system_usec", 0) * 1000,
            "user": stat.get("user_usec", 0) * 1000,
        },
        "throttling": {
            "periods": stat.get("nr_periods", 0),
            "throttledPeriods": stat.get("nr_throttled", 0),
            "throttledTime": stat.get("throttled_usec", 0) * 1000,
        },
        **_pressure(directory, "cpu"),
    }


def _cpu_v1(groups: Groups) -> dict[str, Any]:
    usage, limit = groups.directory("cpuacct"), groups.directory("cpu")
    stat = _pairs(f"{limit}/cpu.stat")
    ticks = _pairs(f"{usage}/cpuacct.stat")
    kernel, user = _number(f"{usage}/cpuacct.usage_sys"), _number(f"{usage}/cpuacct.usage_user")
    tick_ns = 1_000_000_000 // _USER_HZ
    return {
        "usage": {
            "total": _number(f"{usage}/cpuacct.usage"),
            "percpu": _numbers(f"{usage}/cpuacct.usage_percpu"),
            "percpu_kernel": _numbers(f"{usage}/cpuacct.usage_percpu_sys"),
            "percpu_user": _numbers(f"{usage}/cpuacct.usage_percpu_user"),
            "kernel": kernel or ticks.get("system", 0) * tick_ns,
            "user": user or ticks.get("user", 0) * tick_ns,
        },
        "throttling": {
            "periods": stat.get("nr_periods", 0),
            "throttledPeriods": stat.get("nr_throttled", 0),
            "throttledTime": stat.get("throttled_time", 0),
        },
    }


def _cpuset(groups: Groups) -> dict[str, Any]:
    directory = groups.directory("cpuset")
    if not directory:
        return {}
    found: dict[str, Any] = {}
    for name in ("cpus", "mems"):
        text = read_text(f"{directory}/cpuset.{name}.effective") or read_text(f"{directory}/cpuset.{name}")
        found[name] = _expand(text)
    if groups.version("cpuset") == 1:
        found.update({name: _number(f"{directory}/cpuset.{name}") for name in _CPUSET_NUMBERS})
    return found


def _memory(groups: Groups) -> dict[str, Any]:
    directory = groups.directory("memory")
    if not directory:
        return {}
    raw = _pairs(f"{directory}/memory.stat")
    if groups.version("memory") == 1:
        found: dict[str, Any] = {"cache": raw.get("total_cache", raw.get("cache", 0)), "raw": raw}
        for name, prefix in (("usage", "memory"), ("swap", "memory.memsw"), ("kernel", "memory.kmem")):
            found[name] = _memory_usage_v1(f"{directory}/{prefix}")
        found["kernelTCP"] = _memory_usage_v1(f"{directory}/memory.kmem.tcp")
        return found
    usage = _memory_usage_v2(directory, "memory")
    swap = _memory_usage_v2(directory, "memory.swap")
    # as in version 1, swap means memory and swap together
    swap["usage"] += usage["usage"]
    swap["limit"] = min(swap["limit"] + usage["limit"], UNLIMITED)
    return {"cache": raw.get("file", 0), "usage": usage, "swap": swap, "raw": raw, **_pressure(directory, "memory")}


def _memory_usage_v1(path: str) -> dict[str, int]:
    limit = _number(f"{path}.limit_in_bytes")
    return {
        "limit": UNLIMITED if limit >= _V1_UNLIMITED else limit,
        "usage": _number(f"{path}.usage_in_bytes"),
        "max": _number(f"{path}.max_usage_in_bytes"),
        "failcnt": _number(f"{path}.failcnt"),
    }


def _memory_usage_v2(directory: str, prefix: str) -> dict[str, int]:
    events = _pairs(f"{directory}/{prefix}.events")
    return {
        "limit": _number(f"{directory}/{prefix}.max"),
        "usage": _number(f"{directory}/{prefix}.current"),
        "max": _number(f"{directory}/{prefix}.peak"),
        "failcnt": events.get("max", 0),
    }


def _pids(groups: Groups) -> dict[str, int]:
    directory = groups.directory("pids")
    if not directory:
        return {}
    limit = _number(f"{directory}/pids.max")
    return {"current": _number(f"{directory}/pids.current"), "limit": 0 if limit == UNLIMITED else limit}


def _blkio(groups: Groups) -> dict[str, Any]:
    if groups.version("io") == 2:
        return _blkio_v2(groups.directory("io"))
    directory = groups.directory("blkio")
    found: dict[str, Any] = {}
    for name, file in _BLKIO_V1 if directory else ():
        for prefix in ("blkio.bfq", "blkio", "blkio.throttle"):
            if entries := _blkio_entries(read_text(f"{directory}/{prefix}.{file}")):
                found[name] = entries
                break
    return found


def _blkio_entries(text: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for line in text.split("\n"):
        words = line.split()
        major, colon, minor = words[0].partition(":") if words else ("", "", "")
        if colon and words[-1].isdecimal():
            entry: dict[str, Any] = {"major": int(major), "minor": int(minor), "value": int(words[-1])}
            if len(words) == 3:
                entry["op"] = words[1]
            entries.append(entry)
    return entries


def _blkio_v2(directory: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in read_text(f"{directory}/io.stat").split("\n") if directory else ():
        device, *pairs = line.split() or [""]
        major, colon, minor = device.partition(":")
        if not colon:
            continue
        values = dict([pair.split("=", 1) for pair in pairs if "=" in pair])
        for name, key, op in _BLKIO_V2:
            if values.get(key, "").isdecimal():
                entry = {"major": int(major), "minor": int(minor), "op": op, "value": int(values[key])}
                found.setdefault(name, []).append(entry)
    if found or directory:
        found.update(_pressure(directory, "io"))
    return found


def _hugetlb(groups: Groups) -> dict[str, Any]:
    directory = groups.directory("hugetlb")
    found = {}
    second = groups.version("hugetlb") == 2
    suffix = ".current" if second else ".usage_in_bytes"
    for file in sorted(os.listdir(directory)) if directory and os.path.isdir(directory) else ():
        if file.startswith("hugetlb.") and file.endswith(suffix) and ".rsvd." not in file:
            size = file[len("hugetlb.") : -len(suffix)]
            path = f"{directory}/hugetlb.{size}"
            events = _pairs(f"{path}.events").get("max", 0)
            found[size] = {
                "usage": _number(path + suffix),
                "max": _number(f"{path}.max_usage_in_bytes"),
                "failcnt": events if second else _number(f"{path}.failcnt"),
            }
    return found


def network_interfaces(pid: int) -> list[dict[str, Any]]:
    """Counters of each interface but loopback in a process's network namespace."""
    found = []
    for line in read_text(f"/proc/{pid}/net/dev").split("\n")[2:]:
        name, colon, rest = line.partition(":")
        numbers = [int(word) for word in rest.split()]
        if colon and name.strip() != "lo" and len(numbers) >= 12:
            entry: dict[str, Any] = {"Name": name.strip()}
            entry.update({f"Rx{what}": number for what, number in zip(_NETWORK, numbers[:4], strict=True)})
            entry.update({f"Tx{what}": number for what, number in zip(_NETWORK, numbers[8:12], strict=True)})
            found.append(entry)
    return found


def _pressure(directory: str, what: str) -> dict[str, Any]:
    """{"psi": …} of a version 2 group, or nothing where the kernel does not measure it."""
    found: dict[str, Any] = {}
    for line in read_text(f"{directory}/{what}.pressure").split("\n") if directory else ():
        kind, *pairs = line.split() or [""]
        if kind in ("some", "full"):
            values = [pair.partition("=") for pair in pairs]
            found[kind] = {key: int(value) if key == "total" else float(value) for key, _, value in values}
    return {"psi": found} if found else {}


def _pairs(path: str) -> dict[str, int]:
    """`name number` lines."""
    found = {}
    for line in read_text(path).split("\n"):
        name, _, value = line.rpartition(" ")
        if name and value.isdecimal():
            found[name] = int(value)
    return found


def _number(path: str) -> int:
    text = read_text(path).strip()
    if text == "max":
        return UNLIMITED
    return int(text) if text.removeprefix("-").isdecimal() else 0


def _numbers(path: str) -> list[int]:
    return [int(word) for word in read_text(path).split() if word.isdecimal()]


def _expand(text: str) -> list[int]:
    """The numbers of a list like `0-2,7`."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdecimal():
            found += range(int(first), int(last or first) + 1)
    return found
