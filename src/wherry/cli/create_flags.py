"""The flags of `run` and `create`, and the options they mean."""

from __future__ import annotations

from wherry.engine.options import BindMount, CreateOptions, HealthCheck
from wherry.errors import INVALID_ARGUMENT, WherryError

from .arguments import environment, seconds, size
from .parser import Parsed, Parser


def add_create_flags(parser: Parser) -> None:
    """The flags of `run` and `create`, then IMAGE and its command."""
    flag = parser.add_argument
    flag("--cap-add", action="append", default=[], metavar="CAP", help="add a capability")
    flag("--cap-drop", action="append", default=[], metavar="CAP", help="drop a capability (ALL: every one)")
    flag("--cidfile", metavar="FILE", help="write the container's id to a new file")
    flag("--cpus", type=float, default=0, metavar="N", help="limit of CPU time, 1.5 means one and a half CPUs")
    flag("--entrypoint", metavar="COMMAND", help="replace the image's entrypoint")
    flag("-e", "--env", action="append", default=[], metavar="NAME[=VALUE]", help="set a variable, or pass it on")
    flag("--env-file", action="append", default=[], metavar="FILE", help="read variables from a file")
    flag("--health-cmd", metavar="COMMAND", help="check the container's health with this shell command")
    flag("--health-interval", type=seconds, default=30, metavar="TIME", help="time between checks (30s)")
    flag("--health-timeout", type=seconds, default=30, metavar="TIME", help="longest time of one check (30s)")
    flag("--health-retries", type=int, default=3, metavar="N", help="failures in a row that mean unhealthy (3)")
    flag("--health-start-period", type=seconds, default=0, metavar="TIME", help="failures do not count until then")
    flag("--health-on-failure", choices=("none", "kill", "restart"), default="none", help="what unhealthy leads to")
    flag("-h", "--hostname", default="", metavar="NAME", help="the container's host name")
    flag("--init", action="store_true", help="run an init that reaps processes and forwards signals")
    flag("-i", "--interactive", dest="stdin", action="store_true", help="keep standard input open")
    flag("-l", "--label", action="append", default=[], metavar="KEY=VALUE", help="set a label")
    flag("--log-driver", default="k8s-file", metavar="NAME", help="k8s-file, json-file or none")
    flag("--log-opt", action="append", default=[], metavar="KEY=VALUE", help="max-size=10m, max-file=3")
    flag("-m", "--memory", type=size, default=0, metavar="SIZE", help="memory limit, e.g. 512m")
    flag("--name", default="", help="name the container")
    flag("--network", "--net", default="bridge", metavar="MODE", help="bridge, none or host")
    flag("--pids-limit", type=int, default=0, metavar="N", help="limit of processes")
    flag("--privileged", action="store_true", help="all capabilities, no filters: not confined")
    flag("-p", "--publish", action="append", default=[], metavar="[IP:][HOST:]PORT", help="publish a port")
    flag("--read-only", action="store_true", help="mount the root file system read-only")
    flag("--restart", default="no", metavar="POLICY", help="no, on-failure[:N], always or unless-stopped")
    flag("--rm", dest="remove", action="store_true", help="remove the container when it ends")
    flag(
        "--security-opt", action="append", default=[], metavar="OPT", help="no-new-privileges, seccomp=FILE|unconfined"
    )
    flag("--stop-timeout", type=int, default=10, metavar="S", help="seconds between the stop signal and the kill (10)")
    flag("--tmpfs", action="append", default=[], metavar="PATH[:OPTIONS]", help="mount a tmpfs")
    flag("-t", "--tty", action="store_true", help="give the container a terminal")
    flag("-u", "--user", default="", metavar="USER[:GROUP]", help="name or id of the user")
    flag("-v", "--volume", action="append", default=[], metavar="[SRC:]DST[:OPT]", help="bind a path or a named volume")
    flag("-w", "--workdir", default="", metavar="DIR", help="working directory")
    flag("image", metavar="IMAGE", help="the image")
    flag("command", nargs="...", metavar="COMMAND", help="command and arguments, instead of the image's")


def create_options(parsed: Parsed) -> CreateOptions:
    """What the flags ask for. Raises WherryError (invalid argument, not found)."""
    restart, _, limit = parsed.restart.partition(":")
    security = _security(parsed.security_opt)
    log = dict(_pair(text, "--log-opt") for text in parsed.log_opt)
    return CreateOptions(
        parsed.image,
        parsed.command,
        name=parsed.name,
        entrypoint=None if parsed.entrypoint is None else [word for word in [parsed.entrypoint] if word],
        env=environment(parsed.env, parsed.env_file),
        working_dir=parsed.workdir,
        user=parsed.user,
        hostname=parsed.hostname,
        tty=parsed.tty,
        stdin=parsed.stdin,
        remove=parsed.remove,
        init=parsed.init,
        network=parsed.network,
        ports=parsed.publish,
        mounts=[BindMount.parse(text) for text in parsed.volume],
        tmpfs=parsed.tmpfs,
        labels=dict(text.partition("=")[::2] for text in parsed.label),
        read_only=parsed.read_only,
        privileged=parsed.privileged,
        no_new_privileges="no-new-privileges" in security,
        seccomp=security.get("seccomp", "default"),
        cap_add=parsed.cap_add,
        cap_drop=parsed.cap_drop,
        memory_bytes=parsed.memory,
        cpus=parsed.cpus,
        pids_limit=parsed.pids_limit,
        restart=restart,
        restart_max=_whole(limit, "--restart") if limit else 0,
        log_driver=parsed.log_driver,
        log_max_size_bytes=size(log["max-size"]) if "max-size" in log else 0,
        log_max_files=_whole(log["max-file"], "--log-opt max-file") if "max-file" in log else 1,
        stop_timeout_s=parsed.stop_timeout,
        health=_health(parsed),
    )


def _health(parsed: Parsed) -> HealthCheck | None:
    if not parsed.health_cmd:
        return None
    return HealthCheck(
        ["/bin/sh", "-c", parsed.health_cmd],
        interval_s=parsed.health_interval,
        timeout_s=parsed.health_timeout,
        retries=parsed.health_retries,
        start_period_s=parsed.health_start_period,
        on_unhealthy=parsed.health_on_failure,
    )


def _security(options: list[str]) -> dict[str, str]:
    known: dict[str, str] = {}
    for text in options:
        name, _, value = text.replace(":", "=", 1).partition("=")
        if name == "no-new-privileges":
            if value in ("", "true"):
                known[name] = "true"
        elif name == "seccomp" and value:
            known[name] = value
        elif text not in ("label=disable", "label:disable", "apparmor=unconfined", "apparmor:unconfined"):
            raise WherryError(
                INVALID_ARGUMENT, f"security option {text!r} is unknown", hint="no-new-privileges, seccomp="
            )
    return known


def _pair(text: str, flag: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise WherryError(INVALID_ARGUMENT, f"{flag} {text!r} is not KEY=VALUE")
    return name, value


def _whole(text: str, flag: str) -> int:
    if not text.isdecimal():
        raise WherryError(INVALID_ARGUMENT, f"{flag}: {text!r} is not a whole number")
    return int(text)
