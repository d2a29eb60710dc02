"""Snapshots as plain copies, for file systems and kernels without overlayfs: slow, large, and everywhere."""

from __future__ import annotations

import os

from wherry.errors import ALREADY_EXISTS, NOT_FOUND, WherryError
from wherry.store.base import ContainerRoot, LayerTarget, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.store.base import Applied
    from wherry.store.layout import Layout
    from wherry.store.ownership import Ownership


class CopySnapshotter:
    """A layer's directory holds the whole tree up to it; a container starts with a copy of its image's.

    Blocks are shared where the file system can (reflinks).
    """

    name = "copy"
    parallel = False

    def __init__(self, paths: Layout, ownership: Ownership | None = None) -> None:
        self._paths = paths
        self._chosen = ownership

    @property
    def _ownership(self) -> Ownership:
        if self._chosen is None:
            from wherry.store import ownership

            self._chosen = ownership.detect()
        return self._chosen

    def prepare(self, key: int, parents: Sequence[int], *, base: bool) -> LayerTarget:
        """A copy of the parent's tree, whiteouts delete from."""
        path = f"{self._paths.tmp}/{key}"
        self._copy(parents, path)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return LayerTarget(fd, flat=True, base=base, ownership=self._ownership)

    def commit(self, key: int, parents: Sequence[int], applied: Applied) -> None:
        """Nothing is left open in a whole tree."""
        os.rename(f"{self._paths.tmp}/{key}", self._paths.layer(key))

    def discard(self, key: int) -> None:
        """Both names a layer can have."""
        from wherry.store import rootdir

        rootdir.remove_tree(f"{self._paths.tmp}/{key}")
        if self.has(key):
            os.rename(self._paths.layer(key), f"{self._paths.tmp}/{key}")
            rootdir.remove_tree(f"{self._paths.tmp}/{key}")

    def has(self, key: int) -> bool:
        """Whether the directory has its final name."""
        return os.path.isdir(self._paths.layer(key))

    def create_container(self, container_id: str, parents: Sequence[int]) -> ContainerRoot:
        """A copy of the topmost layer's tree."""
        directory = self._paths.container(container_id)
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            raise WherryError(ALREADY_EXISTS, f"container {container_id} has a root already") from None
        root = self.container(container_id, parents)
        self._copy(parents, root.upperdir)
        os.mkdir(root.mountpoint, 0o700)
        return root

    def container(self, container_id: str, parents: Sequence[int], *, check: bool = True) -> ContainerRoot:
        """The tree of a container; NOT_FOUND when it has no directory."""
        directory = self._paths.container(container_id)
        if check and not os.path.isdir(directory):
            raise WherryError(NOT_FOUND, f"container {container_id} has no root", path=directory)
        return ContainerRoot(base=self._paths.root, directory=directory, upperdir=f"{directory}/diff")

    def remove_container(self, container_id: str) -> None:
        """The whole tree."""
        from wherry.store import rootdir

        rootdir.remove_container_root(self._paths.container(container_id), container_id)

    def usage(self, path: str) -> Usage:
        """Walks the directory."""
        from wherry.store import rootdir

        return Usage(*rootdir.allocated_below(path))

    def _copy(self, parents: Sequence[int], path: str) -> None:
        os.mkdir(path, 0o755)
        os.chmod(path, 0o755)
        if not parents:
            return
        from wherry.store import copytree, rootdir

        source = os.open(self._paths.layer(parents[-1]), rootdir.DIRECTORY)
        target = os.open(path, rootdir.DIRECTORY)
        try:
            copytree.copy_tree(source, target)
        finally:
            os.close(source)
            os.close(target)
