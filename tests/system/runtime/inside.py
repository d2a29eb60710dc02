"""What /proc/self/mountinfo of a container says."""

from __future__ import annotations

from dataclasses import dataclass

from ..runtimes import Container


@dataclass(frozen=True)
class MountLine:
    """One mount: its options, the optional fields ("shared:1"), type, source, and its file system's options."""

    root: str
    options: frozenset[str]
    propagation: tuple[str, ...]
    kind: str
    source: str
    data: frozenset[str]


def parse_mounts(text: str) -> dict[str, MountLine]:
    """By mount point; of several on one point the topmost."""
    mounts = {}
    for line in text.splitlines():
        own, _, of_the_file_system = line.partition(" - ")
        fields = own.split()
        kind, source, data = of_the_file_system.split()
        mounts[fields[4]] = MountLine(
            root=fields[3],
            options=frozenset(fields[5].split(",")),
            propagation=tuple(sorted(word.partition(":")[0] for word in fields[6:])),
            kind=kind,
            source=source,
            data=frozenset(data.split(",")),
        )
    return mounts


def mounts_of(container: Container) -> dict[str, MountLine]:
    """Run the container to read its mounts."""
    container.bundle.args("cat", "/proc/self/mountinfo")
    return parse_mounts(container.output())
