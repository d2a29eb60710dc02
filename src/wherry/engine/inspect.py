"""A container as docker's `inspect` shows it."""

from __future__ import annotations

import time

from .starting import log_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .container import Container
    from .engine import Engine

NEVER = "0001-01-01T00:00:00Z"


def timestamp(created_ns: int) -> str:
    """RFC 3339 with nanoseconds, UTC."""
    seconds, nanoseconds = divmod(created_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"


def inspect_container(engine: Engine, container: Container) -> dict[str, Any]:
    """The document; keys are docker's."""
    record = container.record
    facts = container.facts()
    config = container.config()
    process = config["process"]
    root = engine.store.snapshots.get(container.id)
    graph = {"LowerDir": ":".join(root.lowerdirs), "UpperDir": root.upperdir, "WorkDir": root.workdir}
    return {
        "Id": record.id,
        "Created": timestamp(record.created_ns),
        "Path": process["args"][0],
        "Args": process["args"][1:],
        "State": _state(container),
        "Image": record.image_id,
        "ResolvConfPath": engine.folder(container.id) + "/resolv.conf",
        "HostnamePath": engine.folder(container.id) + "/hostname",
        "HostsPath": engine.folder(container.id) + "/hosts",
        "LogPath": log_path(engine, container.id) if facts["logDriver"] != "none" else "",
        "Name": record.name,
        "RestartCount": (container.folder.live_record() or {}).get("restarts", record.restarts),
        "Driver": root.mounts[0].type,
        "HostConfig": _host_config(facts, config),
        "GraphDriver": {"Name": root.mounts[0].type, "Data": {**graph, "MergedDir": root.mountpoint}},
        "Mounts": _mounts(config),
        "Config": {
            "Hostname": config["hostname"],
            "User": str(process["user"]["uid"]),
            "Tty": facts["tty"],
            "OpenStdin": facts["stdin"],
            "Env": process["env"],
            "Cmd": process["args"],
            "Image": record.image,
            "WorkingDir": process["cwd"],
            "Labels": facts["labels"],
            "StopSignal": facts["stopSignal"],
        },
        "NetworkSettings": _network_settings(engine, container, facts),
    }


def _state(container: Container) -> dict[str, Any]:
    record = container.record
    status = container.status()
    live = container.folder.live_record() or {}
    state: dict[str, Any] = {
        "Status": status,
        "Running": status in ("running", "paused", "restarting"),
        "Paused": status == "paused",
        "Restarting": status == "restarting",
        "OOMKilled": bool(record.oom_killed),
        "Dead": False,
        "Pid": container.pid(),
        "ExitCode": record.exit_code,
        "Error": record.error,
        "StartedAt": live.get("startedAt") or record.started_at or NEVER,
        "FinishedAt": record.finished_at or NEVER,
    }
    health = container.folder.health_record()
    if health is not None:
        state["Health"] = {"Status": health["status"], "FailingStreak": health["failingStreak"], "Log": health["log"]}
    return state


def _host_config(facts: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    resources = config["linux"]["resources"]
    cpu = resources.get("cpu", {})
    return {
        "NetworkMode": facts["network"],
        "PortBindings": facts["ports"],
        "RestartPolicy": {"Name": facts["restart"], "MaximumRetryCount": facts["restartMax"]},
        "AutoRemove": facts["remove"],
        "LogConfig": {"Type": facts["logDriver"]},
        "Init": facts["init"],
        "ReadonlyRootfs": config["root"]["readonly"],
        "Memory": resources.get("memory", {}).get("limit", 0),
        "NanoCpus": cpu.get("quota", 0) * 10_000,
        "PidsLimit": resources.get("pids", {}).get("limit", 0),
        "CapabilitiesBounding": config["process"]["capabilities"]["bounding"],
    }


def _mounts(config: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "Type": "bind",
            "Source": mount["source"],
            "Destination": mount["destination"],
            "Mode": ",".join(mount["options"]),
            "RW": "ro" not in mount["options"],
        }
        for mount in config["mounts"]
        if mount["type"] == "bind" and mount["destination"] not in ("/etc/resolv.conf", "/etc/hosts", "/etc/hostname")
    ]


def _network_settings(engine: Engine, container: Container, facts: dict[str, Any]) -> dict[str, Any]:
    attachments = engine.networking.attachments(container.id) if facts["network"] == "bridge" else ()
    networks = {}
    ports: dict[str, list[dict[str, str]]] = {}
    for attachment in attachments:
        first = attachment.addresses[0] if attachment.addresses else None
        networks[attachment.network] = {
            "IPAddress": first.address if first else "",
            "IPPrefixLen": first.prefix_length if first else 0,
            "Gateway": first.gateway if first else "",
            "MacAddress": attachment.mac,
        }
        for port in attachment.ports:
            binding = {"HostIp": port.host_ip or "0.0.0.0", "HostPort": str(port.host_port)}
            ports.setdefault(f"{port.container_port}/{port.protocol}", []).append(binding)
    address = next(iter(networks.values()), {}).get("IPAddress", "")
    return {"IPAddress": address, "Ports": ports, "Networks": networks}
