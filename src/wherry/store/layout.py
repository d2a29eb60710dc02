"""Where things are below the store's root directory.

wherry.db            metadata (SQLite, write-ahead log)
wherry.db-reserve    disk space kept for removals on a full disk
lock                 held shared by every writer, exclusively by repair and garbage collection
blobs/sha256/HEX     content, immutable
ingest/sha256-HEX    content still arriving; survives so that a download can be resumed
tmp/                 work in progress, never referred to
l/N                  a layer's files (short on purpose: overlay's mount data is at most one page)
containers/ID/       a container's writable layer
"""

from __future__ import annotations

import os

from wherry.errors import FAILED_PRECONDITION, PERMISSION_DENIED, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.oci.digest import Digest

SYSTEM_ROOT = "/var/lib/wherry"


def default_root(environment: Mapping[str, str] | None = None) -> str:
    """`WHERRY_ROOT`, else the system's directory for root, else one below the user's data directory."""
    environment = os.environ if environment is None else environment
    if chosen := environment.get("WHERRY_ROOT"):
        return chosen if chosen.startswith("/") else os.path.join(os.getcwd(), chosen)
    if os.geteuid() == 0 and in_initial_user_namespace():
        return SYSTEM_ROOT
    data = environment.get("XDG_DATA_HOME", "")
    if not data.startswith("/"):
        home = environment.get("HOME", "")
        if not home.startswith("/"):
            raise WherryError(FAILED_PRECONDITION, "HOME is not set", hint="set HOME, XDG_DATA_HOME or WHERRY_ROOT")
        data = f"{home}/.local/share"
    return f"{data}/wherry"


def in_initial_user_namespace() -> bool:
    """Whether every id of the host is mapped to itself here."""
    try:
        fd = os.open("/proc/self/uid_map", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        return os.read(fd, 4096).split() == [b"0", b"0", b"4294967295"]
    finally:
        os.close(fd)


class Layout:
    """Paths below one root."""

    __slots__ = ("containers", "database", "ingest", "layers", "lock", "root", "tmp")

    def __init__(self, root: str) -> None:
        self.root = root
        self.database = f"{root}/wherry.db"
        self.lock = f"{root}/lock"
        self.ingest = f"{root}/ingest"
        self.tmp = f"{root}/tmp"
        self.layers = f"{root}/l"
        self.containers = f"{root}/containers"

    def create(self) -> None:
        """Make the directories; the root is for its owner alone (CVE-2021-41103)."""
        try:
            os.makedirs(self.root, 0o700, exist_ok=True)
            for directory in (self.ingest, self.tmp, self.layers, self.containers):
                os.makedirs(directory, 0o700, exist_ok=True)
            for algorithm in ("sha256", "sha512"):
                os.makedirs(f"{self.root}/blobs/{algorithm}", 0o700, exist_ok=True)
        except PermissionError as error:
            raise WherryError(PERMISSION_DENIED, f"cannot create the store: {error.strerror}", path=self.root) from None

    def blob(self, digest: Digest) -> str:
        """The file of a blob."""
        return f"{self.root}/blobs/{digest.algorithm}/{digest.hex}"

    def partial(self, digest: Digest) -> str:
        """The file that a blob arrives in."""
        return f"{self.ingest}/{digest.algorithm}-{digest.hex}"

    def layer(self, key: int) -> str:
        """The directory of a layer."""
        return f"{self.layers}/{key}"

    def container(self, container_id: str) -> str:
        """The directory of a container's writable layer."""
        return f"{self.containers}/{container_id}"


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def boot_id() -> str:
    """Changes with every boot of the kernel: tells a crash of a program from one of the machine."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return file.read().strip().decode()
    except OSError:
        return "unknown"
