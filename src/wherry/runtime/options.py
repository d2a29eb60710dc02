"""What the caller of a runtime decides beside the bundle's document."""

from __future__ import annotations


class RootfsMount:
    """A root file system that INIT mounts itself on `path` (an engine's overlay): see ROOTFS_MOUNT."""

    __slots__ = ("base", "data", "options", "path", "type")

    def __init__(self, *, type: str, path: str, options: tuple[str, ...], data: str = "", base: str = "/") -> None:
        self.type = type
        self.path = path
        self.options = options
        self.data = data
        self.base = base


class Options:
    """Options of create, run and exec.

    `bundle` and `state_dir` are absolute; `rootless` None means: find out; `monitor`: the plan is for @monitor,
    which fills the console slot itself; `init`: stay as pid 1 and reap. Compiling appends lines to `warnings` and
    sets `memory_cgroup`, the host directory whose counters tell of an out-of-memory kill ("" when there is none).
    """

    __slots__ = (
        "bundle",
        "cgroup_manager",
        "console_socket",
        "id",
        "init",
        "listen_fds",
        "memory_cgroup",
        "monitor",
        "native_path",
        "no_new_keyring",
        "no_pivot",
        "notify_socket",
        "owner",
        "pid_file",
        "pidfd_socket",
        "preserve_fds",
        "root",
        "rootfs_mount",
        "rootless",
        "state_dir",
        "warnings",
    )

    def __init__(
        self,
        *,
        id: str,
        bundle: str = "/",
        root: str = "",
        state_dir: str = "",
        console_socket: str = "",
        pid_file: str = "",
        pidfd_socket: str = "",
        preserve_fds: int = 0,
        listen_fds: int = 0,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        cgroup_manager: str = "cgroupfs",
        rootless: bool | None = None,
        notify_socket: str = "",
        init: bool = False,
        rootfs_mount: RootfsMount | None = None,
        owner: str = "",
        monitor: bool = False,
        native_path: str = "",
    ) -> None:
        self.id = id
        self.bundle = bundle
        self.root = root
        self.state_dir = state_dir or f"{root}/{id}"
        self.console_socket = console_socket
        self.pid_file = pid_file
        self.pidfd_socket = pidfd_socket
        self.preserve_fds = preserve_fds
        self.listen_fds = listen_fds
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.cgroup_manager = cgroup_manager
        self.rootless = rootless
        self.notify_socket = notify_socket
        self.init = init
        self.rootfs_mount = rootfs_mount
        self.owner = owner
        self.monitor = monitor
        self.native_path = native_path
        self.warnings: list[str] = []
        self.memory_cgroup = ""

    @property
    def kept_fds(self) -> int:
        """Descriptors from 3 on that the container keeps."""
        return self.preserve_fds + self.listen_fds
