"""`linux.resources` to files of control groups (runtime-spec config-linux.md "Control groups").

A setting is (controller, file, value, place in the document, WRITE_* flags). The two versions' tables are
in `cgroup_v1` and `cgroup_v2`; in a hybrid layout a section goes where its controller is.
"""

from __future__ import annotations

from wherry.errors import FAILED_PRECONDITION, INVALID_ARGUMENT, WherryError
from wherry.oci.check import INT64_MAX, Document
from wherry.runtime.cgroup.layout import Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Setting = tuple[str, str, str, str, int]
    DeviceRule = tuple[bool, str, int, int, str]

# section, its controller in version 1 and 2
_SECTIONS = (
    ("memory", "memory", "memory"),
    ("cpu", "cpu", "cpu"),
    ("blockIO", "blkio", "io"),
    ("hugepageLimits", "hugetlb", "hugetlb"),
    ("network", "net_cls", ""),
    ("pids", "pids", "pids"),
    ("rdma", "rdma", "rdma"),
)


def resource_settings(resources: dict[str, Any], layout: Layout, path: str = "linux.resources") -> list[Setting]:
    """The files to write, in order. Raises WherryError for a malformed or impossible request.

    A missing controller is an error only where something is asked of it.
    """
    document = Document(resources, path)
    settings: list[Setting] = []
    for section, first, second in _SECTIONS:
        if document.has(section):
            settings += _section(document, section, layout, first, second)
    if document.has("unified"):
        settings += _unified(document, layout)
    return [setting for setting in settings if _available(setting, layout)]


def device_rules(resources: dict[str, Any], path: str = "linux.resources") -> list[DeviceRule] | None:
    """The device rules with the defaults after them, last match wins; None when everything is allowed."""
    from wherry.runtime.cgroup import device_filter

    document = Document(resources, path)
    rules: list[DeviceRule] = [
        *device_filter.device_rules(document.list("devices"), f"{path}.devices"),
        *device_filter.DEFAULT_RULES,
    ]
    allowed = False
    for allow, kind, major, minor, access in rules:
        if kind == "a" or not allow:
            everything = kind == "a" and major < 0 and minor < 0 and set(access or "rwm") == set("rwm")
            allowed = allow and (everything or allowed)
    return None if allowed else rules


def memory_and_swap(memory: Document) -> tuple[int, int]:
    """Limit and memory-plus-swap limit in bytes: 0 unset, -1 none. Raises for swap below memory."""
    limit = memory.number("limit", -1, INT64_MAX)
    swap = memory.number("swap", -1, INT64_MAX)
    if limit == -1 and swap == 0:
        swap = -1
    if swap > 0 and limit > swap:
        raise memory.error("swap", f"memory and swap together ({swap}) must not be less than memory ({limit})")
    return limit, swap


def check_burst(cpu: Document) -> tuple[int, int, int]:
    """Quota, period (0: unset) and burst (-1: unset), microseconds."""
    quota = cpu.number("quota", -INT64_MAX - 1, INT64_MAX)
    period = cpu.number("period", 0, INT64_MAX)
    burst = cpu.number("burst", 0, INT64_MAX, -1)
    if burst > quota > 0:
        raise cpu.error("burst", f"must not be more than the quota of {quota}")
    return quota, period, burst


def device_rates(block_io: Document, name: str) -> list[tuple[str, int, str]]:
    """(major:minor, rate, place) of a throttle list."""
    return [
        (device_number(entry), entry.required_number("rate", 0, (1 << 64) - 1), entry.path)
        for entry in block_io.documents(name)
    ]


def device_number(entry: Document) -> str:
    """`major:minor` of a list entry."""
    return f"{entry.required_number('major', 0, INT64_MAX)}:{entry.required_number('minor', 0, INT64_MAX)}"


def page_size(entry: Document) -> str:
    """The page size of a hugepage limit as control files spell it."""
    size = entry.required_text("pageSize")
    if not (size[:-2].isdecimal() and size.isascii() and size[-2] in "KMGT" and size[-1] == "B"):
        raise entry.error("pageSize", f"{size!r} is not a page size like 2MB")
    return size


def rdma_settings(resources: Document) -> list[Setting]:
    """The rdma controller has the same file in both versions."""
    section = resources.document("rdma")
    settings: list[Setting] = []
    for device in section.value if section is not None else ():
        assert section is not None
        entry = Document(section.value[device], section.at(device))
        if " " in device or "\n" in device or not device:
            raise WherryError(INVALID_ARGUMENT, f"{device!r} is not a device name", path=section.path)
        words = [device]
        for member, word in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            if entry.has(member):
                words.append(f"{word}={entry.number(member, 0, (1 << 32) - 1)}")
        if len(words) == 1:
            raise WherryError(INVALID_ARGUMENT, "needs hcaHandles or hcaObjects", path=entry.path)
        settings.append(("rdma", "rdma.max", " ".join(words), entry.path, 0))
    return settings


def _section(document: Document, section: str, layout: Layout, first: str, second: str) -> list[Setting]:
    unified = layout.unified
    in_unified = unified is not None and second in unified.controllers and layout.find(first) in (None, unified)
    if layout.mode == "v2" or in_unified:
        from wherry.runtime.cgroup import v2 as cgroup_v2

        return cgroup_v2.TABLE[section](document)
    from wherry.runtime.cgroup import v1 as cgroup_v1

    return cgroup_v1.TABLE[section](document, layout)


def _available(setting: Setting, layout: Layout) -> bool:
    controller, file, _, where, flags = setting
    if controller == "cgroup" or layout.find(controller) is not None:
        return True
    if flags:
        return False
    raise WherryError(
        FAILED_PRECONDITION,
        f"the control group controller {controller!r} is not available here, {file} cannot be set",
        hint="enable the controller, or remove the limit",
        path=where,
    )


def _unified(document: Document, layout: Layout) -> list[Setting]:
    """`unified`: version 2 files, verbatim; a file of several lines takes one write a line."""
    settings: list[Setting] = []
    where = document.at("unified")
    if layout.unified is None:
        raise WherryError(FAILED_PRECONDITION, "needs cgroup v2, which is not mounted here", path=where)
    known = layout.unified.controllers
    for file, value in document.mapping("unified").items():
        controller, dot, rest = file.partition(".")
        if "/" in file or not dot or not controller or not rest:
            raise WherryError(INVALID_ARGUMENT, f"{file!r} is not the name of a cgroup v2 file", path=where)
        if controller != "cgroup" and controller not in known:
            raise WherryError(
                FAILED_PRECONDITION,
                f"{file!r} cannot be set: the cgroup v2 controller {controller!r} is not available here",
                path=where,
            )
        lines = [line for line in value.split("\n") if line] or [value]
        settings += [(controller, file, line, f"{where}.{file}", 0) for line in lines]
    return settings
