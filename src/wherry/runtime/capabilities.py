"""Linux capabilities: names, numbers, masks (capabilities(7); runtime-spec config.md "Linux Process")."""

from __future__ import annotations

import posix

from wherry.errors import INVALID_ARGUMENT, WherryError
from wherry.oci.capability_names import CAPABILITIES as CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NUMBERS = {name: number for number, name in enumerate(CAPABILITIES)}

# what podman gives a container
DEFAULT = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)


def last_cap() -> int:
    """The highest capability number of the running kernel; the highest known one when /proc does not tell."""
    try:
        fd = posix.open("/proc/sys/kernel/cap_last_cap", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return len(CAPABILITIES) - 1
    try:
        return int(posix.read(fd, 16))
    finally:
        posix.close(fd)


def mask(names: list[str] | None, path: str, warnings: list[str]) -> int:
    """The bit mask of a document's capability list.

    An unknown name is no error but a line in `warnings` (the specification asks for it). Raises
    WherryError(INVALID_ARGUMENT) when the value is no list of strings.
    """
    if names is None:
        return 0
    if not isinstance(names, list):
        raise WherryError(INVALID_ARGUMENT, "must be a list of capability names", path=path)
    bits = 0
    for index, name in enumerate(names):
        if not isinstance(name, str):
            raise WherryError(INVALID_ARGUMENT, "a capability must be a string", path=f"{path}[{index}]")
        number = NUMBERS.get(name)
        if number is None:
            number = NUMBERS.get(normalise(name))
        if number is None:
            warnings.append(f"{path}[{index}]: unknown capability {name!r} is ignored")
        else:
            bits |= 1 << number
    return bits


def names(mask: int) -> list[str]:
    """The names of the known capabilities in `mask`, in the order of their numbers."""
    return [name for number, name in enumerate(CAPABILITIES) if mask >> number & 1]


def normalise(name: str) -> str:
    """`chown`, `Cap_Chown` and `CAP_CHOWN` all name CAP_CHOWN."""
    upper = name.upper()
    return upper if upper.startswith("CAP_") else "CAP_" + upper


def adjust(base: Iterable[str], add: list[str], drop: list[str]) -> list[str]:
    """`base` after `--cap-add` and `--cap-drop`, ordered by number; ALL stands for every known capability.

    As in podman and docker: ALL is applied first, then single names. Raises WherryError(INVALID_ARGUMENT) for
    an unknown name and for a capability that is both added and dropped.
    """
    adds = [_known(name) for name in add]
    drops = [_known(name) for name in drop]
    for name in adds:
        if name in drops:
            raise WherryError(INVALID_ARGUMENT, f"capability {name} is both added and dropped")
    wanted = set(base)
    if "ALL" in drops:
        wanted.clear()
    elif "ALL" in adds:
        wanted.update(CAPABILITIES)
    wanted.update(adds)
    wanted.difference_update(drops)
    return [name for name in CAPABILITIES if name in wanted]


def _known(name: str) -> str:
    if name.upper() in ("ALL", "CAP_ALL"):
        return "ALL"
    full = normalise(name)
    if full not in NUMBERS:
        raise WherryError(INVALID_ARGUMENT, f"unknown capability {name!r}")
    return full
