"""What a caller asks of a new container: plain values, checked when the container is created."""

from __future__ import annotations

from wherry.errors import INVALID_ARGUMENT, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESTART_POLICIES = ("no", "on-failure", "always", "unless-stopped")
LOG_DRIVERS = ("k8s-file", "json-file", "none")


class HealthCheck:
    """A command run inside the container at intervals (docker's HEALTHCHECK). Times are in seconds."""

    __slots__ = ("command", "interval_s", "on_unhealthy", "retries", "start_period_s", "timeout_s")

    def __init__(
        self,
        command: Sequence[str],
        *,
        interval_s: float = 30,
        timeout_s: float = 30,
        retries: int = 3,
        start_period_s: float = 0,
        on_unhealthy: str = "none",
    ) -> None:
        self.command = tuple(command)
        self.interval_s = interval_s
        self.timeout_s = timeout_s
        self.retries = retries
        self.start_period_s = start_period_s
        self.on_unhealthy = on_unhealthy


# docker's, and the flags of a bind mount; what else a mount takes would be dropped without a word.
BIND_OPTIONS = frozenset((
    "ro", "rw", "rro", "z", "Z", "U", "bind", "rbind", "nocopy", "consistent", "cached", "delegated", "private",
    "rprivate", "shared", "rshared", "slave", "rslave", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "atime",
    "noatime", "relatime", "norelatime", "strictatime", "nostrictatime", "diratime", "nodiratime", "symfollow",
    "nosymfollow", "idmap", "ridmap",
))  # fmt: skip


class BindMount:
    """One `-v`: a host path or a named volume on a path of the container."""

    __slots__ = ("options", "source", "target")

    def __init__(self, source: str, target: str, options: Sequence[str] = ()) -> None:
        self.source = source
        self.target = target
        self.options = tuple(options)

    @classmethod
    def parse(cls, text: str) -> BindMount:
        """`[SOURCE:]TARGET[:OPTIONS]` as docker writes it. Raises WherryError (invalid argument)."""
        parts = text.split(":")
        if len(parts) == 1:
            parts = ["", parts[0]]
        if len(parts) > 3 or not parts[1].startswith("/") or parts[1] == "/":
            raise WherryError(
                INVALID_ARGUMENT,
                f"volume {text!r} is not [SOURCE:]/TARGET[:OPTIONS]",
                hint="the target is absolute",
            )
        options = tuple([option for option in parts[2].split(",") if option]) if len(parts) == 3 else ()
        for option in options:
            if option not in BIND_OPTIONS:
                raise _bad(f"volume {text!r}: option {option!r} is unknown", "ro, rw, z, rshared, noexec …")
        return cls(parts[0], parts[1], options)


class CreateOptions:
    """Everything about a new container beyond its image's own configuration.

    `network` is "bridge", "none" or "host". `ports` are docker's `-p` texts. `memory_bytes`, `cpus`,
    `pids_limit` 0 mean no limit. `entrypoint` None keeps the image's; an empty list removes it.
    """

    __slots__ = (
        "cap_add", "cap_drop", "command", "cpus", "entrypoint", "env", "health", "hostname", "image", "init",
        "labels", "log_driver", "log_max_files", "log_max_size_bytes", "memory_bytes", "mounts", "name", "network",
        "no_new_privileges", "pids_limit", "ports", "privileged", "read_only", "remove", "restart", "restart_max",
        "seccomp", "stdin", "stop_timeout_s", "tmpfs", "tty", "user", "working_dir",
    )  # fmt: skip

    def __init__(
        self,
        image: str,
        command: Sequence[str] = (),
        *,
        name: str = "",
        entrypoint: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        working_dir: str = "",
        user: str = "",
        hostname: str = "",
        tty: bool = False,
        stdin: bool = False,
        remove: bool = False,
        init: bool = False,
        network: str = "bridge",
        ports: Sequence[str] = (),
        mounts: Sequence[BindMount] = (),
        tmpfs: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        read_only: bool = False,
        privileged: bool = False,
        no_new_privileges: bool = False,
        cap_add: Sequence[str] = (),
        cap_drop: Sequence[str] = (),
        seccomp: str = "default",
        memory_bytes: int = 0,
        cpus: float = 0,
        pids_limit: int = 0,
        restart: str = "no",
        restart_max: int = 0,
        log_driver: str = "k8s-file",
        log_max_size_bytes: int = 0,
        log_max_files: int = 1,
        health: HealthCheck | None = None,
        stop_timeout_s: int = 10,
    ) -> None:
        self.image = image
        self.command = tuple(command)
        self.name = name
        self.entrypoint = None if entrypoint is None else tuple(entrypoint)
        self.env = dict(env or {})
        self.working_dir = working_dir
        self.user = user
        self.hostname = hostname
        self.tty = tty
        self.stdin = stdin
        self.remove = remove
        self.init = init
        self.network = network
        self.ports = tuple(ports)
        self.mounts = tuple(mounts)
        self.tmpfs = tuple(tmpfs)
        self.labels = dict(labels or {})
        self.read_only = read_only
        self.privileged = privileged
        self.no_new_privileges = no_new_privileges
        self.cap_add = tuple(cap_add)
        self.cap_drop = tuple(cap_drop)
        self.seccomp = seccomp
        self.memory_bytes = memory_bytes
        self.cpus = cpus
        self.pids_limit = pids_limit
        self.restart = restart
        self.restart_max = restart_max
        self.log_driver = log_driver
        self.log_max_size_bytes = log_max_size_bytes
        self.log_max_files = log_max_files
        self.health = health
        self.stop_timeout_s = stop_timeout_s

    def check(self) -> None:
        """Raise WherryError (invalid argument) naming the first option that cannot be."""
        if self.network not in ("bridge", "none", "host"):
            raise _bad(f"network {self.network!r} is unknown", "bridge, none or host")
        if self.ports and self.network != "bridge":
            raise _bad(f"ports cannot be published with network {self.network!r}", "use --network bridge")
        if self.restart not in RESTART_POLICIES:
            raise _bad(f"restart policy {self.restart!r} is unknown", ", ".join(RESTART_POLICIES))
        if self.remove and self.restart != "no":
            raise _bad("a container cannot both restart and be removed when it ends", "drop --rm or --restart")
        if self.log_driver not in LOG_DRIVERS:
            raise _bad(f"log driver {self.log_driver!r} is unknown", ", ".join(LOG_DRIVERS))
        if not all(self.labels):
            raise _bad("a label has no name", "write NAME=VALUE")
        if self.name and not valid_name(self.name):
            raise _bad(f"container name {self.name!r} is invalid", "[a-zA-Z0-9][a-zA-Z0-9_.-]*")
        if self.memory_bytes < 0 or self.cpus < 0 or self.pids_limit < -1:
            raise _bad("a resource limit is negative", "leave it out for no limit")


def valid_name(name: str) -> bool:
    """Whether docker's rule for names admits it: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`."""
    return name[:1].isalnum() and name.isascii() and all(c.isalnum() or c in "_.-" for c in name)


def _bad(message: str, hint: str) -> WherryError:
    return WherryError(INVALID_ARGUMENT, message, hint=hint)
