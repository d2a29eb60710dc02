"""Write a new container's config.json and the facts its later starts need."""

from __future__ import annotations

import os

from wherry.errors import INVALID_ARGUMENT, NOT_FOUND, WherryError
from wherry.oci.json_text import dumps

from . import spec, users
from .options import valid_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.oci.image import ImageConfig
    from wherry.store.base import ContainerRoot

    from .engine import Engine
    from .options import BindMount, CreateOptions

NAME_FILES = ("resolv.conf", "hosts", "hostname")


def write_config(
    engine: Engine, container_id: str, options: CreateOptions, image: ImageConfig, root: ContainerRoot
) -> dict[str, Any]:
    """Decide everything, write `config.json` into the engine's folder of the container, and return it."""
    config = container_document(engine, container_id, options, image, root)
    with open(os.path.join(engine.folder(container_id), "config.json"), "w", encoding="utf-8") as file:
        file.write(dumps(config))
    _make_volumes(engine, container_id, config)
    return config


def container_document(
    engine: Engine, container_id: str, options: CreateOptions, image: ImageConfig, root: ContainerRoot
) -> dict[str, Any]:
    """The OCI document of a container with this id; nothing is written."""
    user = users.resolve(options.user or image.user, root.lowerdirs or (root.upperdir,))
    hostname = _hostname(options, container_id)
    names = _capabilities(options)
    namespace = engine.networking.namespace_path(container_id) if options.network == "bridge" else ""
    if not options.working_dir:
        options.working_dir = image.working_dir
    allotted = spec.Allotted(
        rootfs=root.mountpoint if root.lowerdirs else root.upperdir,
        hostname=hostname,
        user=user,
        command=spec.command_line(options, image.entrypoint or (), image.cmd or ()),
        env=spec.environment(image.env, options.env, hostname, user, options.tty),
        binds=_binds(engine, container_id, options.mounts),
        network_namespace=namespace,
        cgroups_path=f"/wherry/{container_id}",
        terminal_group=_maps_gid(5),
    )
    return spec.document(options, allotted, names, _seccomp(options, names))


def launch_facts(options: CreateOptions, image: ImageConfig, command: list[str]) -> dict[str, Any]:
    """What every start of the container needs beyond its document; kept in the record as JSON."""
    facts: dict[str, Any] = {
        "command": command,
        "network": options.network,
        "ports": list(options.ports),
        "tty": options.tty,
        "stdin": options.stdin,
        "remove": options.remove,
        "init": options.init,
        "restart": options.restart,
        "restartMax": options.restart_max,
        "logDriver": options.log_driver,
        "logMaxSize": options.log_max_size_bytes,
        "logMaxFiles": options.log_max_files,
        "stopSignal": image.stop_signal or "SIGTERM",
        "stopTimeout": options.stop_timeout_s,
        "labels": {**image.labels, **options.labels},
    }
    if options.health is not None:
        health = options.health
        facts["health"] = {
            "command": list(health.command),
            "interval": health.interval_s,
            "timeout": health.timeout_s,
            "retries": health.retries,
            "startPeriod": health.start_period_s,
            "onUnhealthy": health.on_unhealthy,
        }
    return facts


def _maps_gid(gid: int) -> bool:
    """Whether a group id exists in this user namespace."""
    with open("/proc/self/gid_map") as file:
        ranges = [line.split() for line in file]
    return any(int(first) <= gid < int(first) + int(count) for first, _, count in ranges)


def _hostname(options: CreateOptions, container_id: str) -> str:
    if options.hostname:
        return options.hostname
    return os.uname().nodename if options.network == "host" else container_id[:12]


def _capabilities(options: CreateOptions) -> list[str]:
    from wherry.runtime.capabilities import CAPABILITIES, DEFAULT

    every = list(CAPABILITIES)
    wanted = set(every if options.privileged else DEFAULT)
    for change, apply in ((options.cap_drop, wanted.difference_update), (options.cap_add, wanted.update)):
        for text in change:
            name = text.upper()
            if name == "ALL":
                apply(every)
                continue
            name = name if name.startswith("CAP_") else "CAP_" + name
            if name not in every:
                raise WherryError(INVALID_ARGUMENT, f"capability {text!r} is unknown", hint="see capabilities(7)")
            apply([name])
    return [name for name in every if name in wanted]


def _seccomp(options: CreateOptions, capabilities: list[str]) -> dict[str, Any]:
    if options.privileged or options.seccomp == "unconfined":
        return {}
    if options.seccomp != "default":
        from wherry.oci.json_text import loads

        with open(options.seccomp, "rb") as file:
            profile: dict[str, Any] = loads(file.read())
        return profile
    from wherry.runtime.seccomp.default import default_profile

    return default_profile(frozenset(capabilities), os.uname().machine)


def _binds(engine: Engine, container_id: str, mounts: tuple[BindMount, ...]) -> list[tuple[str, str, tuple[str, ...]]]:
    targets = {mount.target for mount in mounts}
    folder = engine.folder(container_id)
    binds = [(os.path.join(folder, name), f"/etc/{name}", ()) for name in NAME_FILES if f"/etc/{name}" not in targets]
    sources = [_source(engine, container_id, index, mount) for index, mount in enumerate(mounts)]
    return [*binds, *[(source, mount.target, mount.options) for source, mount in zip(sources, mounts, strict=True)]]


def _source(engine: Engine, container_id: str, index: int, mount: BindMount) -> str:
    """The host path of a `-v` source: absolute as it is, relative with a dot, else a volume.

    A named volume outlives its containers; one without a name lies in its container's folder and goes with it.
    """
    source = mount.source
    if source.startswith(("/", "./", "../")) or source in (".", ".."):
        path = os.path.realpath(source)
        if not os.path.exists(path):
            raise WherryError(NOT_FOUND, f"volume source {source} does not exist", hint="make it first")
        return path
    if not source:
        return os.path.join(engine.folder(container_id), "volumes", str(index))
    if not valid_name(source):
        raise WherryError(INVALID_ARGUMENT, f"volume name {source!r} is invalid", hint="[a-zA-Z0-9][a-zA-Z0-9_.-]*")
    return os.path.join(engine.store.root, "volumes", source, "_data")


def _make_volumes(engine: Engine, container_id: str, config: dict[str, Any]) -> None:
    places = (os.path.join(engine.store.root, "volumes", ""), os.path.join(engine.folder(container_id), "volumes", ""))
    for mount in config["mounts"]:
        if mount["type"] == "bind" and mount["source"].startswith(places):
            os.makedirs(mount["source"], mode=0o755, exist_ok=True)
