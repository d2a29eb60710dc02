"""`wherry ps`: list containers."""

from __future__ import annotations

from wherry.cli import output
from wherry.cli.arguments import open_engine
from wherry.cli.errors import printable
from wherry.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.main import Globals
    from wherry.engine import Engine
    from wherry.engine.container import Container

COLUMNS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "Ports": "PORTS",
    "Names": "NAMES",
}


def parser() -> Parser:
    """The flags."""
    parser = Parser("ps", "List containers.")
    parser.add_argument("-a", "--all", action="store_true", help="also those that do not run")
    parser.add_argument("-q", "--quiet", action="store_true", help="ids only")
    parser.add_argument("--no-trunc", action="store_true", help="whole ids and commands")
    parser.add_argument("--format", default="", metavar="TEMPLATE", help="a Go template, table TEMPLATE, or json")
    return parser


def run(arguments: list[str], settings: Globals) -> int:
    """Print the table."""
    parsed = parser().parse_args(arguments)
    with open_engine(settings) as engine:
        containers = engine.list(every=parsed.all)
        if parsed.quiet:
            for container in containers:
                output.line(container.id if parsed.no_trunc else container.id[:12])
            return 0
        rows = [_row(engine, container, whole=parsed.no_trunc) for container in containers]
        output.write(output.listing(rows, COLUMNS, parsed.format))
    return 0


def _row(engine: Engine, container: Container, *, whole: bool) -> dict[str, str]:
    from wherry.engine.inspect import timestamp

    record = container.record
    facts = container.facts()
    command = printable(" ".join(facts["command"]))
    created_s = record.created_ns / 1e9
    status = container.status()
    return {
        "ID": record.id if whole else record.id[:12],
        "Image": record.image,
        "Command": f'"{command}"' if whole or len(command) < 20 else f'"{command[:19]}…"',
        "CreatedAt": timestamp(record.created_ns),
        "RunningFor": output.ago(created_s),
        "Status": _status(container, status),
        "State": status,
        "Ports": _ports(engine, container) if status == "running" else "",
        "Names": record.name,
        "Labels": ",".join([f"{key}={value}" for key, value in facts["labels"].items()]),
    }


def _status(container: Container, status: str) -> str:
    record = container.record
    if status == "exited":
        since = f" {output.ago(seconds_of(record.finished_at))}" if record.finished_at else ""
        return f"Exited ({record.exit_code}){since}"
    if status not in ("running", "paused"):
        return status.capitalize()
    live = container.folder.live_record() or {}
    up = f"Up {output.duration(_now() - seconds_of(live.get('startedAt') or ''))}" if live.get("startedAt") else "Up"
    health = container.folder.health_record()
    if status == "paused":
        return up + " (Paused)"
    return f"{up} ({health['status']})" if health else up


def seconds_of(moment: str) -> float:
    """Seconds since 1970 of an RFC 3339 time in UTC, 0 for none or for what is no time (images may say anything)."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(moment[:19] + "+00:00").timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _now() -> float:
    import time

    return time.time()


def _ports(engine: Engine, container: Container) -> str:
    if container.facts()["network"] != "bridge":
        return ""
    return ", ".join(
        [
            f"{port.host_ip or '0.0.0.0'}:{port.host_port}->{port.container_port}/{port.protocol}"
            for attachment in engine.networking.attachments(container.id)
            for port in attachment.ports
        ]
    )
