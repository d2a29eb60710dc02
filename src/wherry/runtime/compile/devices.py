"""Device nodes: the default ones, their links, and those of linux.devices (config-linux.md "Devices")."""

from __future__ import annotations

from wherry.oci.check import UINT32_MAX
from wherry.plan.instructions import KIND_FILE, ROOT
from wherry.runtime.compile.mounts import bind_path
from wherry.runtime.compile.namespaces import NEWNS, NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.oci.check import Document
    from wherry.runtime.compile.draft import Draft

S_IFIFO, S_IFCHR, S_IFBLK = 0o010000, 0o020000, 0o060000
KINDS = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}

DEFAULT_DEVICES = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)
LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
)


def make_devices(draft: Draft) -> None:
    """All nodes and links; in a user namespace, where no node can be made, the host's are bound."""
    bound = draft.namespaces.has(NEWUSER) or draft.host.in_userns or draft.host.euid != 0
    named = [_Device(document) for document in draft.linux.documents("devices")]
    if draft.namespaces.has(NEWNS) and not _dev_is_bound(draft):
        paths = [device.path for device in named]
        for path, major, minor in DEFAULT_DEVICES:
            if path in paths:
                continue
            if bound:
                bind_path(draft, path, path, "", KIND_FILE)
            else:
                draft.init.emit("MKNOD", ROOT, path, S_IFCHR | 0o666, major, minor, 0, 0)
        for path, target in LINKS:
            draft.init.emit("SYMLINK", ROOT, path, target)
        if draft.host.exists("/proc/kcore"):
            draft.init.emit("SYMLINK", ROOT, "/dev/core", "/proc/kcore")
    for device in named:
        if device.path == "/dev/ptmx":
            continue  # always the one of the container's own devpts
        if bound:
            bind_path(draft, device.path, device.path, device.where, KIND_FILE)
        else:
            device.emit(draft)


class _Device:
    """One entry of linux.devices."""

    __slots__ = ("gid", "major", "minor", "mode", "path", "uid", "where")

    def __init__(self, document: Document) -> None:
        kind = document.required_text("type")
        if kind not in KINDS:
            raise document.error("type", f"{kind!r} is not a device type", "one of c, b, u, p")
        self.path = document.required_text("path")
        if self.path[0] != "/":
            raise document.error("path", "must be absolute")
        self.major = self.minor = 0
        if kind != "p":
            self.major = document.required_number("major", 0, (1 << 12) - 1)
            self.minor = document.required_number("minor", 0, (1 << 20) - 1)
        self.mode = KINDS[kind] | document.number("fileMode", 0, UINT32_MAX, 0o666) & 0o7777
        self.uid = document.number("uid", 0, UINT32_MAX - 1)
        self.gid = document.number("gid", 0, UINT32_MAX - 1)
        self.where = document.path

    def emit(self, draft: Draft) -> None:
        folder = self.path[: self.path.rindex("/")]
        if folder not in ("", "/dev"):
            draft.init.emit("MKDIR", ROOT, folder, 0o755, -1, -1, where=self.where)
        numbers = (self.mode, self.major, self.minor, self.uid, self.gid)
        draft.init.emit("MKNOD", ROOT, self.path, *numbers, where=self.where)


def _dev_is_bound(draft: Draft) -> bool:
    """Whether /dev is the host's or another ready-made one, which is left as it is."""
    for document in draft.document.documents("mounts"):
        if document.text("destination").rstrip("/") == "/dev":
            options = document.texts("options")
            return document.text("type") == "bind" or "bind" in options or "rbind" in options
    return False
