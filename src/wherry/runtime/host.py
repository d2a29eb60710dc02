"""Facts about the host that a plan depends on, looked up cheaply and only when asked for."""

from __future__ import annotations

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.runtime.cgroup.layout import Layout

FULL_MAP = "0 0 4294967295"


def variable(name: str) -> str:
    """A variable of this process's environment, "" when it is not set."""
    os = sys.modules.get("os")
    if os is not None:
        return str(os.environ.get(name, ""))
    return posix.environ.get(name.encode(), b"").decode("utf-8", "surrogateescape")


class Host:
    """The host as seen by this process. Tests build one with the facts they need."""

    __slots__ = ("_facts", "egid", "euid", "in_userns", "search_path")

    def __init__(
        self,
        *,
        euid: int = 0,
        egid: int = 0,
        in_userns: bool = False,
        search_path: str = "/usr/sbin:/usr/bin:/sbin:/bin",
        **facts: object,
    ) -> None:
        self.euid = euid
        self.egid = egid
        self.in_userns = in_userns
        self.search_path = search_path
        self._facts = facts

    @classmethod
    def probe(cls) -> Host:
        """The facts of this process."""
        full = " ".join(_read("/proc/self/uid_map", FULL_MAP).split()) == FULL_MAP
        path = variable("PATH") or "/usr/sbin:/usr/bin:/sbin:/bin"
        return cls(euid=posix.geteuid(), egid=posix.getegid(), in_userns=not full, search_path=path)

    @property
    def privileged(self) -> bool:
        """Root of the machine, as opposed to a user or the root of a user namespace."""
        return self.euid == 0 and not self.in_userns

    @property
    def machine(self) -> str:
        """The kernel's architecture, as in `uname -m`."""
        return str(self._facts.get("machine") or posix.uname().machine)

    @property
    def last_cap(self) -> int:
        """The highest capability of the kernel."""
        found = self._facts.get("last_cap")
        if not isinstance(found, int):
            found = self._facts["last_cap"] = int(_read("/proc/sys/kernel/cap_last_cap", "40"))
        return found

    @property
    def capabilities(self) -> int:
        """The mask of those that this process has; -1 when /proc does not tell."""
        found = self._facts.get("capabilities")
        if isinstance(found, int):
            return found
        value = _read("/proc/self/status", "").partition("\nCapPrm:\t")[2][:16]
        return int(value, 16) if value else -1

    @property
    def landlock_abi(self) -> int:
        """The kernel's Landlock version, 0 when it has none; a guess from the kernel's release."""
        found = self._facts.get("landlock_abi")
        return found if isinstance(found, int) else _landlock_abi()

    @property
    def cache_folder(self) -> str:
        """A folder that only this user can write, for what is costly to compile; "" for none."""
        known = self._facts.get("cache_folder")
        if isinstance(known, str):
            return known
        if self.euid == 0:
            return "/run/wherry/cache"
        runtime_dir = variable("XDG_RUNTIME_DIR")
        return f"{runtime_dir}/wherry/cache" if runtime_dir else ""

    @property
    def cgroups(self) -> Layout:
        """The hierarchies of control groups."""
        from wherry.runtime.cgroup.layout import read_layout

        found = self._facts.get("cgroups")
        if found is None:
            found = self._facts["cgroups"] = read_layout()
        return found  # type: ignore[return-value]

    @property
    def apparmor(self) -> bool:
        """Whether AppArmor is enabled."""
        found = self._facts.get("apparmor")
        if found is None:
            found = _read("/sys/module/apparmor/parameters/enabled", "N").startswith("Y")
        return bool(found)

    @property
    def selinux(self) -> bool:
        """Whether SELinux is enabled."""
        found = self._facts.get("selinux")
        return self.exists("/sys/fs/selinux/enforce") if found is None else bool(found)

    def exists(self, path: str) -> bool:
        """Whether a host path is there."""
        known = self._facts.get("paths")
        if isinstance(known, tuple | frozenset):
            return path in known
        return posix.access(path, posix.F_OK, effective_ids=True)

    def find(self, program: str) -> str | None:
        """The path of a program of the host."""
        known = self._facts.get("programs")
        if isinstance(known, dict):
            return known.get(program)
        for folder in self.search_path.split(":"):
            path = f"{folder or '.'}/{program}"
            if posix.access(path, posix.X_OK):
                return path
        return None

    def own_namespace(self, kind: str, path: str) -> bool:
        """Whether `path` is the namespace this process is in; `kind` as in /proc/self/ns."""
        known = self._facts.get("own_namespaces")
        if isinstance(known, frozenset):
            return path in known
        try:
            own, other = posix.stat(f"/proc/self/ns/{kind}"), posix.stat(path)
        except OSError:
            return False
        return (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)


def _read(path: str, default: str) -> str:
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return default
    try:
        return posix.read(fd, 4096).decode()
    except OSError:
        return default
    finally:
        posix.close(fd)


def _landlock_abi() -> int:
    """landlock_create_ruleset(NULL, 0, VERSION); only a document with a ruleset pays for ctypes."""
    import ctypes

    return max(0, int(ctypes.CDLL(None).syscall(444, None, 0, 1)))
