"""One start of a container: network, name files, plan, monitor."""

from __future__ import annotations

import os

from wherry.oci.json_text import loads

from . import launch, paths, records
from .monitor_folder import MonitorFolder
from .networking import write_name_files
from .processes import boot_id, owner_token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .engine import Engine
    from .launch import Report
    from .records import Record


def start_monitor(engine: Engine, record: Record, facts: dict[str, Any], *, attached: bool) -> Report:
    """Hand the container to a new monitor, which has created it when this returns.

    The record says `started` before anything exists, so whoever finds it after a kill can settle it. Raises
    StartFailed, with the network taken down and the record saying `created`.
    """
    owner = owner_token()
    engine.records.update(record.id, durable=False, state=records.STARTED, boot=boot_id(), owner=owner)
    try:
        return _start(engine, record, facts, attached=attached)
    except BaseException as error:
        failed = engine.records.get(record.id) or record
        engine.fold(failed)
        status = error.exit_status if isinstance(error, launch.StartFailed) else 125
        # It has not run: as docker's, it stays created, with the reason.
        engine.records.update(record.id, state=records.CREATED, exit_code=status, error=str(error))
        raise


def _start(engine: Engine, record: Record, facts: dict[str, Any], *, attached: bool) -> Report:
    folder = MonitorFolder(engine.run_root, record.id)
    folder.make()
    engine_folder = engine.folder(record.id)
    with open(os.path.join(engine_folder, "config.json"), "rb") as file:
        config: dict[str, Any] = loads(file.read())
    attachment = engine.networking.attach(record.id, facts["ports"]) if facts["network"] == "bridge" else None
    write_name_files(engine_folder, config["hostname"], attachment, host_network=facts["network"] == "host")
    prepared, memory_cgroup = launch.prepare(
        config,
        record.id,
        run_root=engine.run_root,
        root=engine.store.snapshots.get(record.id),
        bundle=engine_folder,
        init=facts["init"],
    )
    arguments = _monitor_arguments(engine, record, facts)
    arguments += [] if attached else ["--detach-start"]
    arguments += ["--memory-cgroup", memory_cgroup] if memory_cgroup else []
    report = launch.spawn_monitor(
        prepared,
        record.id,
        run_root=engine.run_root,
        folder=folder,
        arguments=arguments,
    )
    try:
        report.expect("created")
        if "health" in facts:
            _write_health_plan(engine, record, config["process"], facts["health"]["command"], folder)
    except BaseException:
        report.close()
        raise
    paths.release_namespace_lock()
    return report


def _monitor_arguments(engine: Engine, record: Record, facts: dict[str, Any]) -> list[str]:
    arguments = ["--delete"]
    if facts["tty"]:
        arguments.append("--tty")
    if facts["stdin"]:
        arguments += ["--stdin", "--stdin-once"]
    if facts["logDriver"] != "none":
        arguments += ["--log-driver", facts["logDriver"], "--log-path", log_path(engine, record.id)]
        arguments += ["--log-max-size", str(facts["logMaxSize"]), "--log-max-files", str(facts["logMaxFiles"])]
    if "health" in facts:
        arguments += _health_arguments(facts["health"], MonitorFolder(engine.run_root, record.id))
    restart = facts["restart"]
    if restart != "no":
        limit = f":{facts['restartMax']}" if facts["restartMax"] else ""
        arguments += ["--restart", restart + limit]
    for word in cleanup_command(engine, record.id):
        arguments += ["--on-exit", word]
    return arguments


def _health_arguments(health: dict[str, Any], folder: MonitorFolder) -> list[str]:
    return [
        f"--health-plan={folder.health_plan}",
        f"--health-interval={round(health['interval'] * 1000)}",
        f"--health-timeout={round(health['timeout'] * 1000)}",
        f"--health-start-period={round(health['startPeriod'] * 1000)}",
        f"--health-retries={health['retries']}",
        f"--on-unhealthy={health['onUnhealthy']}",
    ]


def _write_health_plan(
    engine: Engine, record: Record, process: dict[str, Any], command: list[str], folder: MonitorFolder
) -> None:
    """The exec plan that the monitor runs at each check; compiled once the container's process exists."""
    from wherry.runtime.launch import exec_plan

    check = {**process, "args": command, "terminal": False}
    plan = exec_plan(os.path.join(engine.run_root, "runtime"), record.id, check)
    with open(folder.health_plan + ".new", "wb") as file:
        file.write(plan)
    os.rename(folder.health_plan + ".new", folder.health_plan)


def cleanup_command(engine: Engine, container_id: str) -> list[str]:
    """What the monitor becomes when the container is over for good: settles the record, frees the network."""
    from wherry.runtime.launch import native_path

    program = os.path.join(os.path.dirname(native_path()), "wherry")
    return [program, "--root", engine.store.root, "--run-root", engine.run_root, "container", "cleanup", container_id]


def log_path(engine: Engine, container_id: str) -> str:
    """The container's log file."""
    return os.path.join(engine.folder(container_id), "container.log")
