"""Scheduler, I/O priority, memory policy, personality and CPU sets (config.md, config-linux.md)."""

from __future__ import annotations

from _struct import pack  # what `struct` re-exports, without reading a file

from wherry.oci.check import UINT64_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.oci.check import Document
    from wherry.plan.encode import Program

POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
MEMORY_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS = {
    "MPOL_F_STATIC_NODES": 1 << 15,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_NUMA_BALANCING": 1 << 13,
}
PERSONALITIES = {"LINUX": 0, "LINUX32": 8}
DEADLINE_LEAST_NS = 1024
NUMBER_LIMIT = 1 << 16


def _choose(document: Document, name: str, known: dict[str, int]) -> int:
    word = document.required_text(name)
    if word not in known:
        raise document.error(name, f"{word!r} is not known", f"one of {', '.join(known)}")
    return known[word]


def _flags(document: Document, known: dict[str, int]) -> int:
    flags = 0
    for index, word in enumerate(document.texts("flags")):
        if word not in known:
            raise document.error(f"flags[{index}]", f"{word!r} is not known", f"one of {', '.join(known)}")
        flags |= known[word]
    return flags


def set_priorities(process: Document, setup: Program) -> None:
    """process.scheduler and process.ioPriority, set by HOST with its rights."""
    scheduler = process.document("scheduler")
    if scheduler is not None:
        setup.emit("SCHEDULER", scheduler_attributes(scheduler), where=scheduler.path)
    priority = process.document("ioPriority")
    if priority is not None:
        value = _choose(priority, "class", IO_CLASSES) << 13 | priority.number("priority", 0, 7)
        setup.emit("IO_PRIORITY", value, where=priority.path)


def scheduler_attributes(document: Document) -> bytes:
    """struct sched_attr, first version; values that the policy does not know are errors."""
    policy = _choose(document, "policy", POLICIES)
    nice = document.number("nice", -20, 19)
    priority = document.number("priority", 0, 99)
    times = [document.number(name, 0, UINT64_MAX) for name in ("runtime", "deadline", "period")]
    name = document.text("policy")
    if nice and policy not in (0, 3):
        raise document.error("nice", f"has no meaning for {name}", "only for SCHED_OTHER and SCHED_BATCH")
    if policy in (1, 2) and not priority:
        raise document.error("priority", f"must be from 1 to 99 for {name}")
    if priority and policy not in (1, 2):
        raise document.error("priority", f"has no meaning for {name}", "only for SCHED_FIFO and SCHED_RR")
    _check_deadline(document, policy, times)
    flags = _flags(document, SCHEDULER_FLAGS)
    return pack("<IIQiIQQQ", 48, policy, flags, nice, priority, *times)


def _check_deadline(document: Document, policy: int, times: list[int]) -> None:
    runtime, deadline, period = times
    if policy != POLICIES["SCHED_DEADLINE"]:
        for name, value in zip(("runtime", "deadline", "period"), times, strict=True):
            if value:
                raise document.error(name, "has a meaning for SCHED_DEADLINE only")
        return
    if runtime < DEADLINE_LEAST_NS:
        raise document.error("runtime", f"must be at least {DEADLINE_LEAST_NS} ns")
    if deadline < runtime:
        raise document.error("deadline", f"must be at least runtime ({runtime})")
    if period and period < deadline:
        raise document.error("period", f"must be at least deadline ({deadline})")


def set_memory_policy(linux: Document, init: Program) -> None:
    """linux.memoryPolicy, set by INIT for itself."""
    document = linux.document("memoryPolicy")
    if document is None:
        return
    mode = _choose(document, "mode", MEMORY_MODES) | _flags(document, MEMORY_FLAGS)
    nodes = parse_numbers(document, "nodes")
    if nodes and mode & 0xFF in (MEMORY_MODES["MPOL_DEFAULT"], MEMORY_MODES["MPOL_LOCAL"]):
        raise document.error("nodes", f"must be empty for {document.text('mode')}")
    init.emit("MEMORY_POLICY", mode, nodes, where=document.path)


def set_personality(linux: Document, init: Program) -> None:
    """linux.personality."""
    document = linux.document("personality")
    if document is None:
        return
    if document.list("flags"):
        raise document.error("flags", "are not supported")
    init.emit("PERSONALITY", _choose(document, "domain", PERSONALITIES), where=document.path)


def parse_numbers(document: Document, name: str) -> bytes:
    """A bit mask, little endian in 8-byte words, of a list such as `0-3,7`; empty for an empty list."""
    mask = 0
    for part in document.text(name).replace(" ", "").split(","):
        if not part:
            continue
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
            raise document.error(name, f"{part!r} is not a number or a range", "for example 0-3,7")
        low, high = int(first), int(last)
        if low > high or high >= NUMBER_LIMIT:
            raise document.error(name, f"the range {part!r} is out of order or too large")
        mask |= (1 << high + 1) - (1 << low)
    return mask.to_bytes((mask.bit_length() + 63) // 64 * 8, "little")
