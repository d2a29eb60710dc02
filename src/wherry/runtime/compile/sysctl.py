"""linux.sysctl: only what belongs to a namespace of the container may be set."""

from __future__ import annotations

from wherry.runtime.compile.namespaces import NEWIPC, NEWNET, NEWUSER, NEWUTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.runtime.compile.draft import Draft

_IPC = (
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
    "kernel/msg_next_id",
    "kernel/sem_next_id",
    "kernel/shm_next_id",
    "kernel/auto_msgmni",
)

_FILES = {"network": "net"}  # in /proc/self/ns, where another name is used


def set_sysctls(draft: Draft) -> None:
    """Each is written through INIT's private procfs."""
    for name, value in draft.linux.mapping("sysctl").items():
        path = to_path(name)
        _check(draft, name, path)
        draft.init.emit("SYSCTL", path, value, where=f"linux.sysctl.{name}")


def to_path(name: str) -> str:
    """`net.ipv4.ip_forward` and `net/ipv4/ip_forward` are the same; the first separator decides (sysctl(8))."""
    dot, slash = name.find("."), name.find("/")
    if dot >= 0 and (slash < 0 or dot < slash):
        return name.translate({ord("."): "/", ord("/"): "."})
    return name


def _check(draft: Draft, name: str, path: str) -> None:
    place = f"sysctl.{name}"
    parts = path.split("/")
    if not path or "" in parts or "." in parts or ".." in parts:
        raise draft.linux.error(place, "is not a name of a kernel parameter")
    flag, namespace = _namespace(path)
    if path == "kernel/hostname":
        raise draft.linux.error(place, "conflicts with hostname", "use the document's hostname")
    if path == "kernel/domainname" and draft.document.text("domainname"):
        raise draft.linux.error(place, "conflicts with domainname")
    if not flag:
        raise draft.linux.error(place, "does not belong to a namespace: it would change the host")
    if not draft.namespaces.has(flag):
        hint = f'add {{"type": "{namespace}"}} to linux.namespaces'
        raise draft.linux.error(place, f"needs the container's own {namespace} namespace", hint)
    for joined in draft.namespaces.joined:
        if joined.flag == flag and draft.host.own_namespace(_FILES.get(namespace, namespace), joined.path):
            raise draft.linux.error(place, f"would change the host: the {namespace} namespace is the host's")


def _namespace(path: str) -> tuple[int, str]:
    if path.startswith("net/"):
        return NEWNET, "network"
    if path.startswith("fs/mqueue/") or path in _IPC:
        return NEWIPC, "ipc"
    if path == "kernel/domainname":
        return NEWUTS, "uts"
    if path.startswith("user/"):
        return NEWUSER, "user"
    return 0, ""
