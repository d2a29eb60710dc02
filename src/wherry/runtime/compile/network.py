"""Names and network devices of the container's own namespaces."""

from __future__ import annotations

from _struct import pack  # what `struct` re-exports, without reading a file

from wherry.runtime.compile.namespaces import NEWNET, NEWUTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.runtime.compile.draft import Draft

RTM_NEWLINK, NLM_F_REQUEST_ACK, IFF_UP = 16, 5, 1
LOOPBACK = 0xFFFFFFFF
IFNAMSIZ = 16


def set_names(draft: Draft) -> None:
    """hostname and domainname (config.md "Hostname", "Domainname")."""
    document = draft.document
    for name, instruction in (("hostname", "HOSTNAME"), ("domainname", "DOMAINNAME")):
        value = document.text(name)
        if not value:
            continue
        if not draft.namespaces.has(NEWUTS):
            hint = 'add {"type": "uts"} to linux.namespaces'
            raise document.error(name, "cannot be set without a UTS namespace", hint)
        if len(value.encode("utf-8", "surrogateescape")) > 64:
            raise document.error(name, "is longer than 64 bytes")
        draft.init.emit(instruction, value, where=name)


def bring_up_loopback(draft: Draft) -> None:
    """A new network namespace has a loopback device that is down."""
    if draft.namespaces.new & NEWNET:
        link = pack("<BxHIII", 0, 0, LOOPBACK, IFF_UP, IFF_UP)
        message = pack("<IHHII", 16 + len(link), RTM_NEWLINK, NLM_F_REQUEST_ACK, 1, 0) + link
        draft.init.emit("NETLINK", message, where=draft.namespaces.where[NEWNET])


def move_devices(draft: Draft) -> None:
    """linux.netDevices: devices of the host that the container gets."""
    devices = draft.linux.document("netDevices")
    if devices is None or not devices.value:
        return
    if not draft.namespaces.has(NEWNET):
        raise draft.linux.error("netDevices", "needs a network namespace in linux.namespaces")
    names: list[str] = []
    for name in devices.value:
        device = devices.document(name)
        new_name = device.text("name") if device is not None else ""
        for text, place in ((name, f"netDevices.{name}"), (new_name, f"netDevices.{name}.name")):
            if text or text is name:
                _check_name(draft, text, place)
        final = new_name or name
        if final in names and "%" not in final:
            raise draft.linux.error(f"netDevices.{name}.name", f"{final} is given to two devices")
        names.append(final)
        draft.setup.emit("NETDEV", name, final, where=devices.at(name))


def _check_name(draft: Draft, name: str, place: str) -> None:
    good = 0 < len(name.encode()) < IFNAMSIZ and name not in (".", "..")
    if not good or [c for c in name if c in "/:" or c.isspace() or ord(c) < 32]:
        raise draft.linux.error(place, f"{name!r} is not a name for a network device")
