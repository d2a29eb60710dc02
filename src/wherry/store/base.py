"""Interfaces of the store: what a snapshotter is, and the plain values it deals in.

A snapshotter keeps directories and knows nothing of images or of the database: layers are numbers, containers
are names, both given by the caller, who records an intent before each call. So every removal must be
idempotent, and nothing may be visible under its final name before it is complete.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from wherry.store.ownership import Ownership
else:
    Protocol = object

MOUNT_DATA_LIMIT_BYTES = 4095  # one page, less the final zero (mount(2))


class Mount:
    """A mount as data: what mount(2) needs, except for where. Immutable."""

    __slots__ = ("options", "source", "type")

    type: str
    source: str
    options: tuple[str, ...]

    def __init__(self, type: str, source: str, options: Sequence[str] = ()) -> None:
        for name, value in (("type", type), ("source", source), ("options", tuple(options))):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a mount cannot be changed: {name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mount) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Mount({self.type!r}, {self.source!r}, {self.options!r})"

    def _key(self) -> tuple[str, str, tuple[str, ...]]:
        return (self.type, self.source, self.options)


class ContainerRoot:
    """A container's root file system, as mounts and as the parts that an overlay is made of.

    `lowerdirs` are absolute, topmost first, and empty when `upperdir` is the whole tree. `options` are the
    further options an overlay needs here (`userxattr`). `base` is the directory that `relative_data` is
    relative to. Immutable.
    """

    __slots__ = ("base", "directory", "lowerdirs", "mountpoint", "mounts", "options", "upperdir", "workdir")

    base: str
    directory: str
    mountpoint: str
    lowerdirs: tuple[str, ...]
    upperdir: str
    workdir: str
    options: tuple[str, ...]
    mounts: tuple[Mount, ...]

    def __init__(
        self,
        *,
        base: str,
        directory: str,
        upperdir: str,
        lowerdirs: Sequence[str] = (),
        workdir: str = "",
        options: Sequence[str] = (),
    ) -> None:
        values = {
            "base": base,
            "directory": directory,
            "mountpoint": f"{directory}/merged",
            "lowerdirs": tuple(lowerdirs),
            "upperdir": upperdir,
            "workdir": workdir,
            "options": tuple(options),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "mounts", (self._mount(),))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a container's root cannot be changed: {name}")

    def overlay_options(self, *, relative: bool = False) -> tuple[str, ...]:
        """The overlay's options, with paths relative to `base` where asked for."""
        skip = len(self.base) + 1 if relative else 0
        lower = ":".join(path[skip:] for path in self.lowerdirs)
        return (
            f"lowerdir={lower}",
            f"upperdir={self.upperdir[skip:]}",
            f"workdir={self.workdir[skip:]}",
            *self.options,
        )

    def needs_relative(self) -> bool:
        """Whether the absolute options are too long for mount(2)."""
        return bool(self.lowerdirs) and len(",".join(self.overlay_options()).encode()) > MOUNT_DATA_LIMIT_BYTES

    def _mount(self) -> Mount:
        if not self.lowerdirs:
            return Mount("bind", self.upperdir, ("rbind", "rw"))
        return Mount("overlay", "overlay", self.overlay_options())

    def __repr__(self) -> str:
        return f"ContainerRoot({self.directory!r}, {len(self.lowerdirs)} lower)"


class Usage:
    """Disk space: bytes allocated and inodes."""

    __slots__ = ("inodes", "size_bytes")

    def __init__(self, size_bytes: int, inodes: int) -> None:
        self.size_bytes = size_bytes
        self.inodes = inodes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Usage) and (self.size_bytes, self.inodes) == (other.size_bytes, other.inodes)

    def __hash__(self) -> int:
        return hash((self.size_bytes, self.inodes))

    def __repr__(self) -> str:
        return f"Usage(size_bytes={self.size_bytes}, inodes={self.inodes})"


class LayerTarget:
    """Where a layer is to be extracted. `fd` belongs to the target; `close` gives it back.

    `flat` means that the directory already holds the parents' files, so whiteouts delete; otherwise it holds
    this layer alone, and whiteouts are recorded the way overlayfs reads them, with `xattr_prefix`. `base` is
    true for a layer without parents, in which a whiteout means nothing.
    """

    __slots__ = ("base", "fd", "flat", "ownership", "xattr_prefix")

    def __init__(
        self, fd: int, *, flat: bool, base: bool, ownership: Ownership, xattr_prefix: bytes = b"trusted."
    ) -> None:
        self.fd = fd
        self.flat = flat
        self.base = base
        self.ownership = ownership
        self.xattr_prefix = xattr_prefix

    def close(self) -> None:
        """Close the descriptor; harmless when closed."""
        import os

        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Applied:
    """What an extraction did, and what it could not know without seeing the layers below.

    `implicit` are directories that entries needed but the layer does not describe; `links` are hard links
    (name, target) whose target is not in this layer; `fresh_root` says that the layers below are
    hidden altogether. Paths are relative to the root, canonical, as bytes.
    """

    __slots__ = ("entries", "fresh_root", "implicit", "links", "size_bytes", "warnings")

    def __init__(self) -> None:
        self.entries = 0
        self.size_bytes = 0
        self.implicit: list[bytes] = []
        self.links: list[tuple[bytes, bytes]] = []
        self.fresh_root = False
        self.warnings: list[str] = []


class Snapshotter(Protocol):
    """Layers and containers' writable layers as directories."""

    name: str
    #: Layers of one image may be prepared and filled side by side; only `commit` goes bottom to top.
    parallel: bool

    def prepare(self, key: int, parents: Sequence[int], *, base: bool) -> LayerTarget:
        """An empty place (with the parents' files, when flat) for layer `key`; parents bottom first.

        `base` says that there is no parent. A parallel snapshotter may be asked before the parents exist.
        """

    def commit(self, key: int, parents: Sequence[int], applied: Applied) -> None:
        """Finish what `applied` left open, with the parents at hand, and give the layer its final name."""

    def discard(self, key: int) -> None:
        """Remove layer `key`, prepared or committed; idempotent."""

    def has(self, key: int) -> bool:
        """Whether layer `key` is committed."""

    def create_container(self, container_id: str, parents: Sequence[int]) -> ContainerRoot:
        """Make a writable layer on `parents` (bottom first; may be empty)."""

    def container(self, container_id: str, parents: Sequence[int], *, check: bool = True) -> ContainerRoot:
        """Describe an existing writable layer."""

    def remove_container(self, container_id: str) -> None:
        """Remove a writable layer; idempotent. Its mounts must be gone."""

    def usage(self, path: str) -> Usage:
        """What a directory of this snapshotter occupies."""
