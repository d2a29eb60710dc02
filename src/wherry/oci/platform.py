"""Platforms (image-spec, image-index.md): what this host is, and which entry of an index suits it."""

from __future__ import annotations

from wherry.errors import INVALID_ARGUMENT, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_MACHINES = {
    "x86_64": ("amd64", ""),
    "amd64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "arm64": ("arm64", ""),
    "armv8l": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armhf": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armel": ("arm", "v6"),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "loongarch64": ("loong64", ""),
    "mips64": ("mips64le", ""),
}
# The variant that an absent one stands for.
_IMPLIED = {"arm64": "v8", "arm": "v7", "amd64": "v1"}


class Platform:
    """Operating system, architecture (Go's names) and variant; "" where not stated."""

    __slots__ = ("architecture", "os", "os_version", "variant")

    def __init__(self, os: str, architecture: str, variant: str = "", os_version: str = "") -> None:
        self.os = os
        self.architecture = architecture
        self.variant = variant
        self.os_version = os_version

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def __repr__(self) -> str:
        return f"Platform({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Platform) and (str(self), self.os_version) == (str(other), other.os_version)

    def __hash__(self) -> int:
        return hash((str(self), self.os_version))


def host() -> Platform:
    """The platform of the running kernel."""
    import os

    machine = os.uname().machine
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform("linux", architecture, variant)


def parse(text: str) -> Platform:
    """`linux/arm64/v8`, `linux/amd64`, `arm64` or `linux`; INVALID_ARGUMENT otherwise."""
    parts = text.lower().split("/")
    if not 1 <= len(parts) <= 3 or not all(part.replace("_", "").isalnum() for part in parts):
        raise WherryError(INVALID_ARGUMENT, f"not a platform: {text!r}", hint="expected os/architecture[/variant]")
    if len(parts) == 1:
        if parts[0] in ("linux", "windows", "freebsd", "darwin"):
            return Platform(parts[0], host().architecture)
        return Platform("linux", *_MACHINES.get(parts[0], (parts[0], "")))
    architecture, variant = _MACHINES.get(parts[1], (parts[1], ""))
    return Platform(parts[0], architecture, parts[2] if len(parts) == 3 else variant)


def rank(wanted: Platform, offered: Platform) -> int | None:
    """How well `offered` runs on `wanted`: 0 is exact, larger is worse, None is not at all.

    A newer machine runs code for an older variant, never the other way; 64-bit arm and x86 hosts also run
    their 32-bit forms, as a last resort only where the caller asked for no exact match.
    """
    if wanted.os != offered.os or wanted.architecture != offered.architecture:
        return None
    if wanted.variant == offered.variant:
        return 0
    mine = _level(wanted)
    theirs = _level(offered)
    if mine is None or theirs is None or theirs > mine:
        return None
    return mine - theirs


def _level(platform: Platform) -> int | None:
    variant = platform.variant or _IMPLIED.get(platform.architecture, "")
    digits = variant.removeprefix("v").partition(".")[0]
    return int(digits) if digits.isascii() and digits.isdigit() else None


def select(wanted: Platform, offered: Iterable[Platform | None]) -> int | None:
    """Index of the best of `offered`, or None. The first of equals wins."""
    best: tuple[int, int] | None = None
    for position, platform in enumerate(offered):
        quality = rank(wanted, platform) if platform is not None else None
        if quality is not None and (best is None or quality < best[0]):
            best = (quality, position)
    return best[1] if best else None
