"""Look names up in a stack of layer directories the way overlayfs does, without mounting it."""

from __future__ import annotations

import errno
import os
import stat

from wherry.errors import INVALID_ARGUMENT, WherryError
from wherry.store import rootdir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Found:
    """An existing name: its status, the layer directory that shows it and the canonical path."""

    __slots__ = ("layer_fd", "path", "status")

    def __init__(self, layer_fd: int, path: bytes, status: os.stat_result) -> None:
        self.layer_fd = layer_fd
        self.path = path
        self.status = status


class MergedView:
    """`layers` are open directories, topmost first; they stay the caller's."""

    __slots__ = ("_layers", "_opaque_xattr")

    def __init__(self, layers: Sequence[int], xattr_prefix: bytes) -> None:
        self._layers = tuple(layers)
        self._opaque_xattr = xattr_prefix + b"overlay.opaque"

    def find(self, path: bytes, *, follow: bool) -> Found | None:
        """Resolve symlinks inside the view (`follow` is about the last component); None when not there."""
        done: list[bytes] = []
        pending = [part for part in path.split(b"/")[::-1] if part]
        links = 0
        found = self._look(b"")
        while pending:
            part = pending.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                done = done[:-1]
                found = self._look(b"/".join(done))
                continue
            found = self._look(b"/".join([*done, part]))
            if found is None:
                return None
            if stat.S_ISLNK(found.status.st_mode) and (pending or follow):
                links += 1
                if links > rootdir.SYMLINK_LIMIT:
                    raise WherryError(INVALID_ARGUMENT, "too many symlinks", path=os.fsdecode(path))
                target = self._read_link(found)
                done = [] if target.startswith(b"/") else done
                pending.extend(target.split(b"/")[::-1])
                found = self._look(b"/".join(done))
                continue
            if pending and not stat.S_ISDIR(found.status.st_mode):
                return None
            done.append(part)
        return found

    def names(self, path: bytes) -> set[bytes]:
        """What a listing of the directory at the canonical `path` shows."""
        shown: set[bytes] = set()
        hidden: set[bytes] = set()
        for fd in self._layers_of(path):
            directory = rootdir.open_straight(fd, path)
            try:
                for name in os.listdir(directory):
                    raw = os.fsencode(name)
                    if raw in shown or raw in hidden:
                        continue
                    whiteout = is_whiteout(os.lstat(raw, dir_fd=directory))
                    (hidden if whiteout else shown).add(raw)
            finally:
                os.close(directory)
        return shown

    def _look(self, path: bytes) -> Found | None:
        """The topmost of a canonical path whose parents are all directories."""
        for fd in self._layers_of(path.rpartition(b"/")[0]):
            try:
                status = _status(fd, path)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    continue
                raise
            return None if is_whiteout(status) else Found(fd, path, status)
        return None

    def _layers_of(self, directory: bytes) -> list[int]:
        """The layers that contribute to a directory, topmost first."""
        layers = list(self._layers)
        here = b""
        for part in directory.split(b"/") if directory else ():
            here = here + b"/" + part if here else part
            merged: list[int] = []
            for fd in layers:
                try:
                    status = _status(fd, here)
                except OSError as error:
                    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                        continue
                    raise
                if not stat.S_ISDIR(status.st_mode):
                    break
                merged.append(fd)
                if self._is_opaque(fd, here):
                    break
            layers = merged
        return layers

    def _is_opaque(self, layer_fd: int, path: bytes) -> bool:
        fd = rootdir.open_straight(layer_fd, path)
        try:
            return os.getxattr(fd, self._opaque_xattr) == b"y"
        except OSError:
            return False
        finally:
            os.close(fd)

    def _read_link(self, found: Found) -> bytes:
        directory, _, name = found.path.rpartition(b"/")
        fd = rootdir.open_straight(found.layer_fd, directory)
        try:
            return os.readlink(name, dir_fd=fd)
        finally:
            os.close(fd)


def is_whiteout(status: os.stat_result) -> bool:
    """A character device 0:0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _status(layer_fd: int, path: bytes) -> os.stat_result:
    directory, _, name = path.rpartition(b"/")
    if not name:
        return os.fstat(layer_fd)
    fd = rootdir.open_straight(layer_fd, directory)
    try:
        return os.lstat(name, dir_fd=fd)
    finally:
        os.close(fd)
