"""Intel RDT: cache and memory bandwidth by the resctrl file system (config-linux.md "IntelRdt").

A class of service (CLOS) is a directory of resctrl. Without a closID the container has one of its own name,
made and removed with it; a class that is named stays, and one that exists already must agree with what the
document asks for.
"""

from __future__ import annotations

import os

from wherry.errors import FAILED_PRECONDITION, INVALID_ARGUMENT, WherryError
from wherry.oci.check import Document
from wherry.plan.instructions import NONE, WRITE_PID
from wherry.runtime.cgroup.layout import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.plan.encode import Program

PLACE = "linux.intelRdt"
REMOVE_DEADLINE_MS = 1000


class Rdt:
    """The container's class of service. `remove` is the directory that goes with the container, or ""."""

    __slots__ = ("_create", "_monitoring", "_schemata", "directory", "remove")

    def __init__(self, directory: str, *, create: bool, schemata: list[str], monitoring: str, remove: str) -> None:
        self.directory = directory
        self.remove = remove
        self._create = create
        self._schemata = schemata
        self._monitoring = monitoring

    def before_clone(self, host: Program) -> None:
        """HOST, before CLONE: make and configure the class."""
        if self._create:
            host.emit("MKDIR", NONE, self.directory, 0o755, -1, -1, where=f"{PLACE}.closID")
        for line in self._schemata:
            host.emit("WRITE", NONE, f"{self.directory}/schemata", line.encode() + b"\n", 0, where=PLACE)
        if self._monitoring:
            host.emit("MKDIR", NONE, self._monitoring, 0o755, -1, -1, where=f"{PLACE}.enableMonitoring")

    def after_clone(self, host: Program) -> None:
        """HOST, when the child's pid is known: move it into the class and its monitoring group."""
        for directory in (self.directory, self._monitoring):
            if directory:
                host.emit("WRITE", NONE, f"{directory}/tasks", b"", WRITE_PID, where=PLACE)

    def delete(self, program: Program) -> None:
        """DELETE: remove what was made for this container alone."""
        for directory in (self._monitoring, self.remove):
            if directory:
                program.emit("CGROUP_REMOVE", directory, REMOVE_DEADLINE_MS, where=PLACE)


def compile_rdt(config: dict[str, Any], container_id: str, *, root: str | None = None) -> Rdt | None:
    """The class of service that the document asks for, None when it does not. `root` is resctrl's mount point.

    Raises WherryError when resctrl is not mounted, or an existing class does not agree.
    """
    linux = Document(config.get("linux") or {}, "linux")
    wanted = linux.document("intelRdt")
    if wanted is None:
        return None
    root = find_resctrl() if root is None else root
    if not root:
        raise WherryError(
            FAILED_PRECONDITION,
            "the resctrl file system is not mounted",
            hint="mount -t resctrl resctrl /sys/fs/resctrl",
            path=PLACE,
        )
    clos = _clos_id(wanted)
    directory = root if clos == "/" else f"{root}/{clos or container_id}"
    lines = _schemata(wanted)
    exists = os.path.isdir(directory)
    if exists and clos and clos != "/" and lines:
        _check_agreement(directory, lines)
        lines = []
    monitoring = f"{directory}/mon_groups/{container_id}" if wanted.flag("enableMonitoring") else ""
    return Rdt(directory, create=not exists, schemata=lines, monitoring=monitoring, remove="" if clos else directory)


def find_resctrl() -> str:
    """Where resctrl is mounted, "" when it is not."""
    for line in read_text("/proc/self/mountinfo").split("\n"):
        left, _, right = line.partition(" - ")
        if right.startswith("resctrl "):
            return left.split(" ")[4]
    return ""


def update_rdt(directory: str, l3: str = "", bandwidth: str = "") -> None:
    """Change the schemata of a class. Raises WherryError with what the kernel says."""
    for line in [line for line in (l3, bandwidth) if line]:
        try:
            fd = os.open(f"{directory}/schemata", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, line.encode() + b"\n")
            finally:
                os.close(fd)
        except OSError as error:
            status = read_text(f"{directory.rpartition('/')[0]}/info/last_cmd_status").strip()
            message = f"cannot write {line!r} to {directory}/schemata: {error.strerror}"
            raise WherryError(FAILED_PRECONDITION, message, hint=status if status != "ok" else "") from None


def rdt_stats(pid: int, root: str | None = None) -> dict[str, Any]:
    """The schemata that apply to a process; empty where there is no resctrl."""
    root = find_resctrl() if root is None else root
    if not root or not pid:
        return {}
    group = _class_of(pid, root)
    found: dict[str, Any] = {}
    for name, directory in (("l3_cache_schema", group), ("l3_cache_schema_root", root)):
        _pick(found, name, read_text(f"{directory}/schemata"), "L3:")
    for name, directory in (("mem_bw_schema", group), ("mem_bw_schema_root", root)):
        _pick(found, name, read_text(f"{directory}/schemata"), "MB:")
    if info := _info(f"{root}/info/L3", ("cbm_mask", "min_cbm_bits", "num_closids")):
        found["l3_cache_info"] = info
    if info := _info(f"{root}/info/MB", ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids")):
        found["mem_bw_info"] = info
    return found


def _clos_id(wanted: Document) -> str:
    clos = wanted.text("closID")
    if clos != "/" and ("/" in clos or clos in (".", "..") or clos in ("info", "mon_data", "mon_groups")):
        raise WherryError(INVALID_ARGUMENT, f"{clos!r} cannot be a class of service", path=f"{PLACE}.closID")
    return clos


def _schemata(wanted: Document) -> list[str]:
    """The lines to write: the two old members first, `schemata` last so that it wins."""
    lines = []
    for name, prefix in (("l3CacheSchema", "L3"), ("memBwSchema", "MB:")):
        text = wanted.text(name)
        if "\n" in text.strip("\n") and name == "memBwSchema":
            raise wanted.error(name, "must not contain a line break")
        for line in text.split("\n"):
            if line.strip() and not (name == "l3CacheSchema" and line.startswith("MB:")):
                if not line.startswith(prefix):
                    raise wanted.error(name, f"must begin with {prefix.rstrip(':')}:")
                lines.append(line.strip())
    for index, line in enumerate(wanted.texts("schemata")):
        if "\n" in line:
            raise wanted.error(f"schemata[{index}]", "must not contain a line break")
        lines.append(line)
    return lines


def _check_agreement(directory: str, lines: list[str]) -> None:
    """An existing class that was named must have what is asked for: others may use it."""
    current = _parsed(read_text(f"{directory}/schemata"))
    for resource, domains in _parsed("\n".join(lines)).items():
        for domain, value in domains.items():
            has = current.get(resource, {}).get(domain)
            if has is None or _canonical(has) != _canonical(value):
                message = f"class {directory} exists and has {resource}:{domain}={has}, not {value}"
                raise WherryError(FAILED_PRECONDITION, message, path=PLACE)


def _parsed(text: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for line in text.split("\n"):
        resource, colon, rest = line.strip().partition(":")
        for part in rest.split(";") if colon else ():
            domain, _, value = part.partition("=")
            if domain.strip():
                found.setdefault(resource.strip(), {})[domain.strip()] = value.strip()
    return found


def _canonical(value: str) -> str:
    return value.lower().lstrip("0") or "0"


def _class_of(pid: int, root: str) -> str:
    for name in sorted(os.listdir(root)):
        tasks = f"{root}/{name}/tasks"
        if os.path.isfile(tasks) and str(pid) in read_text(tasks).split():
            return f"{root}/{name}"
    return root


def _pick(found: dict[str, Any], name: str, text: str, prefix: str) -> None:
    lines = [line.strip() for line in text.split("\n") if line.strip().startswith(prefix)]
    if lines:
        found[name] = lines[0]


def _info(directory: str, names: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        text = read_text(f"{directory}/{name}").strip()
        if text:
            found[name] = int(text) if text.isdecimal() and name != "cbm_mask" else text
    return found
