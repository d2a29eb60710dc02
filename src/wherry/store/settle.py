"""What an overlay layer can only be given once the layers below it are there.

A layer may leave out directories that it puts files in, link to files of lower layers, or hide everything
below. An extraction onto the finished tree would just do it; a private directory needs the lower view.
"""

from __future__ import annotations

import os
import stat

from wherry.errors import INVALID_ARGUMENT, WherryError
from wherry.store import copytree, rootdir
from wherry.store.merged import MergedView, is_whiteout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.store.base import Applied
    from wherry.store.ownership import Ownership


def settle(path: str, lower: Sequence[str], applied: Applied, ownership: Ownership) -> None:
    """`path` is the layer's directory, `lower` those below it, topmost first."""
    fds = [os.open(name, rootdir.DIRECTORY) for name in (path, *lower)]
    try:
        work = _Settlement(fds[0], fds[1:], ownership)
        if applied.fresh_root:
            work.hide_everything()
        for directory in applied.implicit:
            work.describe(directory)
        for name, target in applied.links:
            work.link(name, target)
    except OSError as error:
        raise WherryError(INVALID_ARGUMENT, f"cannot complete the layer: {error}") from None
    finally:
        for fd in fds:
            os.close(fd)


class _Settlement:
    """One layer, and the view of those below it."""

    def __init__(self, fd: int, lower: Sequence[int], ownership: Ownership) -> None:
        self.fd = fd
        self.lower = MergedView(lower, ownership.overlay_prefix)
        self.whole = MergedView([fd, *lower], ownership.overlay_prefix)
        self.opaque = ownership.overlay_prefix + b"overlay.opaque"

    def hide_everything(self) -> None:
        """The kernel ignores an opaque root, so each name below gets hidden by itself."""
        for name in self.lower.names(b""):
            try:
                os.mknod(name, stat.S_IFCHR, 0, dir_fd=self.fd)
            except FileExistsError:
                if stat.S_ISDIR(os.lstat(name, dir_fd=self.fd).st_mode):
                    fd = os.open(name, rootdir.DIRECTORY, dir_fd=self.fd)
                    try:
                        os.setxattr(fd, self.opaque, b"y")
                    finally:
                        os.close(fd)

    def describe(self, path: bytes) -> None:
        """A directory that the layer does not describe keeps the look it has below.

        Where there is a symlink below, the layer's files belong to where it leads.
        """
        try:
            found = self.lower.find(path, follow=True)
            fd = rootdir.open_straight(self.fd, path)
        except FileNotFoundError:
            return  # moved away with its parent
        try:
            if found is None or not stat.S_ISDIR(found.status.st_mode) or self._is_opaque(fd):
                return
            if found.path == path:
                self._copy_look(found.layer_fd, path, fd)
            else:
                self._move(path, fd, found.path)
        finally:
            os.close(fd)

    def _is_opaque(self, fd: int) -> bool:
        try:
            return os.getxattr(fd, self.opaque) == b"y"
        except OSError:
            return False

    def _copy_look(self, layer_fd: int, path: bytes, fd: int) -> None:
        below = rootdir.open_straight(layer_fd, path)
        try:
            copytree.copy_directory_metadata(below, fd)
        finally:
            os.close(below)

    def _move(self, path: bytes, fd: int, target: bytes) -> None:
        made = self._make(target)
        try:
            _merge(fd, made)
        finally:
            os.close(made)
        directory, _, name = path.rpartition(b"/")
        parent = rootdir.open_straight(self.fd, directory)
        try:
            rootdir.remove_tree(name, parent)
        finally:
            os.close(parent)

    def _make(self, path: bytes) -> int:
        """Open a directory of this layer, made (looking as it does below) where it is missing."""
        current = rootdir.open_straight(self.fd, b"")
        here = b""
        for part in path.split(b"/") if path else ():
            here = here + b"/" + part if here else part
            try:
                os.mkdir(part, 0o755, dir_fd=current)
                fresh = True
            except FileExistsError:
                fresh = False
            below = os.open(part, rootdir.DIRECTORY, dir_fd=current)
            os.close(current)
            current = below
            if fresh:
                found = self.lower.find(here, follow=False)
                if found is not None and stat.S_ISDIR(found.status.st_mode):
                    self._copy_look(found.layer_fd, here, current)
        return current

    def link(self, name: bytes, target: bytes) -> None:
        """A hard link to a file below: the file is copied up, as a write to it would."""
        found = self.whole.find(target, follow=False)
        if found is None or stat.S_ISDIR(found.status.st_mode):
            raise WherryError(
                INVALID_ARGUMENT, f"a hard link to {os.fsdecode(target)!r}, which is no file", path=os.fsdecode(name)
            )
        directory, _, last = name.rpartition(b"/")
        kept_directory, _, kept = found.path.rpartition(b"/")
        source = rootdir.open_straight(found.layer_fd, kept_directory)
        up = self._make(kept_directory)
        place = self._make(directory)
        try:
            if not _exists(kept, up):
                copytree.copy_name(source, up, kept, found.path, {}, self.fd)
            os.link(kept, last, src_dir_fd=up, dst_dir_fd=place, follow_symlinks=False)
        finally:
            for fd in (source, up, place):
                os.close(fd)


def _merge(source: int, target: int) -> None:
    """Move every name; what the source brings wins over what is there, directories are united."""
    for name in map(os.fsencode, os.listdir(source)):
        status = os.lstat(name, dir_fd=source)
        if _exists(name, target):
            there = os.lstat(name, dir_fd=target)
            if stat.S_ISDIR(status.st_mode) and stat.S_ISDIR(there.st_mode):
                pair = [os.open(name, rootdir.DIRECTORY, dir_fd=fd) for fd in (source, target)]
                try:
                    _merge(*pair)
                finally:
                    for fd in pair:
                        os.close(fd)
                continue
            if is_whiteout(status):
                continue
            rootdir.remove_tree(name, target)
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)


def _exists(name: bytes, fd: int) -> bool:
    try:
        os.lstat(name, dir_fd=fd)
    except FileNotFoundError:
        return False
    return True
