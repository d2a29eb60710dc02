"""The OCI runtime document of an engine container: a pure function of image, options and what was allotted."""

from __future__ import annotations

from wherry.errors import INVALID_ARGUMENT, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .options import CreateOptions
    from .users import User

    Document = dict[str, Any]

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/dev/block",
    "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux",
)  # fmt: skip
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
# Devices every container may use: null, zero, full, tty, random, urandom, console, ptmx and terminals.
DEVICES = ((1, 3), (1, 5), (1, 7), (5, 0), (1, 8), (1, 9), (5, 1), (5, 2), (136, None))


class Allotted:
    """What the engine decided for one container before its document is written."""

    __slots__ = (
        "binds", "cgroups_path", "command", "env", "hostname", "network_namespace", "rootfs", "terminal_group", "user",
    )  # fmt: skip

    def __init__(
        self,
        *,
        rootfs: str,
        hostname: str,
        user: User,
        command: Sequence[str],
        env: Sequence[str],
        binds: Sequence[tuple[str, str, Sequence[str]]],
        network_namespace: str,
        cgroups_path: str,
        terminal_group: bool,
    ) -> None:
        self.rootfs = rootfs
        self.hostname = hostname
        self.user = user
        self.command = tuple(command)
        self.env = tuple(env)
        self.binds = tuple(binds)
        self.network_namespace = network_namespace
        self.cgroups_path = cgroups_path
        self.terminal_group = terminal_group


def command_line(options: CreateOptions, entrypoint: Sequence[str], cmd: Sequence[str]) -> tuple[str, ...]:
    """What runs, by docker's rules: an entrypoint given replaces the image's command too."""
    if options.entrypoint is not None:
        return options.entrypoint + options.command
    command = tuple(entrypoint) + (options.command or tuple(cmd))
    if not command:
        raise WherryError(INVALID_ARGUMENT, "no command specified", hint="the image has none: name one after the image")
    return command


def environment(image: Sequence[str], given: Mapping[str, str], hostname: str, user: User, tty: bool) -> list[str]:
    """PATH, TERM and HOME as docker sets them, then the image's variables, then the caller's."""
    merged = {"PATH": PATH[5:], "HOSTNAME": hostname, "container": "wherry"}
    if tty:
        merged["TERM"] = "xterm"
    for item in image:
        name, _, value = item.partition("=")
        merged[name] = value
    merged.update(given)
    merged.setdefault("HOME", user.home)
    return [f"{name}={value}" for name, value in merged.items()]


def document(options: CreateOptions, allotted: Allotted, capabilities: Sequence[str], seccomp: Document) -> Document:
    """The config.json. `capabilities` are bounding, effective and permitted; an empty `seccomp` means none."""
    user = allotted.user
    sets = list(capabilities)
    effective = sets if user.uid == 0 else []
    process: Document = {
        "terminal": options.tty,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
        "args": list(allotted.command),
        "env": list(allotted.env),
        "cwd": options.working_dir or "/",
        "capabilities": {"bounding": sets, "effective": effective, "permitted": effective},
        "noNewPrivileges": options.no_new_privileges,
    }
    linux: Document = {
        "namespaces": _namespaces(options, allotted),
        "cgroupsPath": allotted.cgroups_path,
        "resources": _resources(options),
    }
    if not options.privileged:
        linux["maskedPaths"] = list(MASKED)
        linux["readonlyPaths"] = list(READONLY)
    if seccomp:
        linux["seccomp"] = seccomp
    return {
        "ociVersion": "1.3.0",
        "process": process,
        "root": {"path": allotted.rootfs, "readonly": options.read_only},
        "hostname": allotted.hostname,
        "mounts": _mounts(options, allotted),
        "annotations": {"io.wherry.image": options.image},
        "linux": linux,
    }


def _namespaces(options: CreateOptions, allotted: Allotted) -> list[Document]:
    kinds = ["pid", "ipc", "uts", "mount", "cgroup"]
    namespaces: list[Document] = [{"type": kind} for kind in kinds]
    if options.network != "host":
        network: Document = {"type": "network"}
        if allotted.network_namespace:
            network["path"] = allotted.network_namespace
        namespaces.append(network)
    return namespaces


def _mounts(options: CreateOptions, allotted: Allotted) -> list[Document]:
    access = "rw" if options.privileged else "ro"
    group = ["gid=5"] if allotted.terminal_group else []  # tty; it may not exist in a user namespace
    mounts: list[Document] = [
        _mount("proc", "proc", "/proc", "nosuid", "noexec", "nodev"),
        _mount("tmpfs", "tmpfs", "/dev", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("sysfs", "sysfs", "/sys", "nosuid", "noexec", "nodev", access),
        _mount("devpts", "devpts", "/dev/pts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *group),
        _mount("mqueue", "mqueue", "/dev/mqueue", "nosuid", "noexec", "nodev"),
        _mount("tmpfs", "shm", "/dev/shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
        _mount("cgroup", "cgroup", "/sys/fs/cgroup", "nosuid", "noexec", "nodev", "relatime", access),
    ]
    for text in options.tmpfs:
        target, _, data = text.partition(":")
        mounts.append(
            _mount("tmpfs", "tmpfs", target, "nosuid", "nodev", "tmpcopyup", *(data.split(",") if data else ()))
        )
    mounts += [_mount("bind", source, target, *_bind_options(given)) for source, target, given in allotted.binds]
    return mounts


def _mount(kind: str, source: str, target: str, *given: str) -> Document:
    return {"type": kind, "source": source, "destination": target, "options": list(given)}


def _bind_options(given: Sequence[str]) -> list[str]:
    """docker's `-v` options as runtime-spec ones; relabelling (z, Z) only means something under SELinux."""
    options = [option for option in given if option not in ("z", "Z", "rw", "U")]
    if not any(option in ("bind", "rbind") for option in options):
        options.insert(0, "rbind")
    if not any(option.lstrip("r") in ("private", "shared", "slave") for option in options):
        options.append("rprivate")
    return options


def _resources(options: CreateOptions) -> Document:
    resources: Document = {"devices": _devices(options.privileged)}
    if options.memory_bytes:
        resources["memory"] = {"limit": options.memory_bytes, "swap": options.memory_bytes * 2}
    if options.cpus:
        resources["cpu"] = {"period": 100_000, "quota": int(options.cpus * 100_000)}
    if options.pids_limit:
        resources["pids"] = {"limit": options.pids_limit}
    return resources


def _devices(privileged: bool) -> list[Document]:
    if privileged:
        return [{"allow": True, "access": "rwm"}]
    rules: list[Document] = [{"allow": False, "access": "rwm"}]
    for kind in ("c", "b"):
        rules.append({"allow": True, "type": kind, "access": "m"})
    for major, minor in DEVICES:
        rule: Document = {"allow": True, "type": "c", "major": major, "access": "rwm"}
        if minor is not None:
            rule["minor"] = minor
        rules.append(rule)
    return rules
