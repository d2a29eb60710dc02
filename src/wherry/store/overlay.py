"""Snapshots as overlayfs layers: one directory per layer, an upper directory per container."""

from __future__ import annotations

import os

from wherry.errors import ALREADY_EXISTS, FAILED_PRECONDITION, NOT_FOUND, WherryError
from wherry.store import layout
from wherry.store.base import ContainerRoot, LayerTarget, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.store.base import Applied
    from wherry.store.layout import Layout
    from wherry.store.ownership import Ownership

LOWER_LIMIT = 500  # OVL_MAX_STACK


class OverlaySnapshotter:
    """Layers are private to themselves, so those of one image can be extracted side by side."""

    name = "overlay"
    parallel = True

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
        """An empty directory that nothing refers to yet."""
        path = f"{self._paths.tmp}/{key}"
        os.mkdir(path, 0o755)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fchmod(fd, 0o755)
        return LayerTarget(
            fd,
            flat=False,
            base=base,
            ownership=self._ownership,
            xattr_prefix=self._ownership.overlay_prefix,
        )

    def commit(self, key: int, parents: Sequence[int], applied: Applied) -> None:
        """See to what needs the layers below, then rename."""
        if len(parents) + 1 > LOWER_LIMIT:
            raise WherryError(FAILED_PRECONDITION, f"more than {LOWER_LIMIT} layers cannot be stacked")
        path = f"{self._paths.tmp}/{key}"
        if parents and (applied.implicit or applied.links or applied.fresh_root):
            from wherry.store.settle import settle

            lower = [self._paths.layer(parent) for parent in reversed(parents)]
            settle(path, lower, applied, self._ownership)
        os.rename(path, self._paths.layer(key))

    def discard(self, key: int) -> None:
        """Both names a layer can have."""
        from wherry.store import rootdir

        rootdir.remove_tree(f"{self._paths.tmp}/{key}")
        if self.has(key):
            # Out of the way first: a half-removed layer must never be found under its name.
            os.rename(self._paths.layer(key), f"{self._paths.tmp}/{key}")
            rootdir.remove_tree(f"{self._paths.tmp}/{key}")

    def has(self, key: int) -> bool:
        """Whether the directory has its final name."""
        return os.path.isdir(self._paths.layer(key))

    def create_container(self, container_id: str, parents: Sequence[int]) -> ContainerRoot:
        """Upper, work and mount directories; the upper's root looks like the topmost layer's."""
        root = self.container(container_id, parents, check=False)
        try:
            os.mkdir(root.directory, 0o700)
        except FileExistsError:
            raise WherryError(ALREADY_EXISTS, f"container {container_id} has a root already") from None
        os.mkdir(root.upperdir, 0o755)
        if root.workdir:
            os.mkdir(root.workdir, 0o700)
        os.mkdir(root.mountpoint, 0o700)
        if parents:
            self._imitate(self._paths.layer(parents[-1]), root.upperdir)
        else:
            os.chmod(root.upperdir, 0o755)
        return root

    def _imitate(self, lower: str, upper: str) -> None:
        status = os.stat(lower)
        owner = self._ownership.default()
        if owner is not None and owner != (status.st_uid, status.st_gid):
            os.chown(upper, status.st_uid, status.st_gid)
        os.chmod(upper, status.st_mode & 0o7777)
        os.utime(upper, ns=(status.st_atime_ns, status.st_mtime_ns))

    def container(self, container_id: str, parents: Sequence[int], *, check: bool = True) -> ContainerRoot:
        """The overlay of a container; NOT_FOUND when it has no directory."""
        directory = self._paths.container(container_id)
        if check and not os.path.isdir(directory):
            raise WherryError(NOT_FOUND, f"container {container_id} has no root", path=directory)
        return ContainerRoot(
            base=self._paths.root,
            directory=directory,
            upperdir=f"{directory}/diff",
            lowerdirs=[self._paths.layer(parent) for parent in reversed(parents)],
            workdir=f"{directory}/work" if parents else "",
            options=("userxattr",) if self._ownership.overlay_prefix == b"user." and parents else (),
        )

    def remove_container(self, container_id: str) -> None:
        """Everything the container wrote."""
        from wherry.store import rootdir

        rootdir.remove_container_root(self._paths.container(container_id), container_id)

    def usage(self, path: str) -> Usage:
        """Walks the directory."""
        from wherry.store import rootdir

        return Usage(*rootdir.allocated_below(path))


def supported(paths: Layout) -> bool:
    """Try an overlay on this file system, as a mount that is attached nowhere.

    An ordinary user cannot try outside of a user namespace; overlayfs with user attributes is then assumed
    from the kernel's version (5.11).
    """
    if os.geteuid() != 0:
        release = os.uname().release.split(".")
        return (int(release[0]), int(release[1])) >= (5, 11)
    from wherry.store import rootdir

    probe = f"{paths.tmp}/probe-{os.getpid()}"
    try:
        for name in ("", "/lower", "/upper", "/work"):
            os.mkdir(probe + name)
        return _try_overlay(probe, user=not layout.in_initial_user_namespace())
    finally:
        rootdir.remove_tree(probe)


def _try_overlay(probe: str, *, user: bool) -> bool:
    from ctypes import CDLL, c_char_p, c_int, c_long

    fsopen, fsconfig, fsmount, cloexec = 430, 431, 432, 1
    set_flag, set_string, create = 0, 1, 6
    call = CDLL(None, use_errno=True).syscall
    call.restype = c_long
    context = call(c_long(fsopen), c_char_p(b"overlay"), c_int(cloexec))
    if context < 0:
        return False
    try:
        options = [(f"{name}dir".encode(), f"{probe}/{name}".encode()) for name in ("lower", "upper", "work")]
        for key, value in options:
            if call(c_long(fsconfig), c_int(context), c_int(set_string), c_char_p(key), c_char_p(value), c_int(0)):
                return False
        if user:
            name = c_char_p(b"userxattr")
            if call(c_long(fsconfig), c_int(context), c_int(set_flag), name, c_char_p(None), c_int(0)):
                return False
        nothing = c_char_p(None)
        if call(c_long(fsconfig), c_int(context), c_int(create), nothing, nothing, c_int(0)):
            return False
        mount = call(c_long(fsmount), c_int(context), c_int(cloexec), c_int(0))
        if mount < 0:
            return False
        os.close(mount)
        return True
    finally:
        os.close(context)
