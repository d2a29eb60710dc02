"""Extract a layer (image-spec, layer.md) into a directory, by descriptor, never leaving it.

A layer is hostile input. Names are resolved inside the target as if it were `/`; names above it are refused.
Data is written first, then owner, extended attributes, mode and time, because each of them undoes some of
those that follow it; directories get theirs last of all. Whatever goes wrong raises one WherryError that
names the entry; the caller throws the target away.
"""

from __future__ import annotations

import errno
import os
import stat

from wherry.errors import INVALID_ARGUMENT, RESOURCE_EXHAUSTED, WherryError
from wherry.store import rootdir, tar
from wherry.store.base import Applied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry.oci.digest import Data
    from wherry.store.base import LayerTarget
    from wherry.store.tar import Entry, TarReader

_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_AUFS = b".wh..wh."
_PLNK = b".wh..wh.plnk"
_OPEN_PARENTS = 64
_FREE_CHECK_BYTES = 64 << 20
_WARNING_LIMIT = 50
_IGNORED_XATTRS = (b"security.selinux", b"system.nfs4_acl", b"security.evm", b"security.ima")
_TOLERATED = (errno.ENOTSUP, errno.EPERM, errno.EINVAL, errno.ENODATA)


class Limits:
    """What one layer may cost: entries, bytes written, and bytes that must stay free on the file system."""

    __slots__ = ("entries", "reserve_bytes", "size_bytes")

    def __init__(self, *, entries: int = 4_000_000, size_bytes: int = 512 << 30, reserve_bytes: int = 32 << 20) -> None:
        self.entries = entries
        self.size_bytes = size_bytes
        self.reserve_bytes = reserve_bytes


def extract(target: LayerTarget, chunks: Iterable[Data], limits: Limits | None = None) -> Applied:
    """Apply the uncompressed archive in `chunks` to `target`; reads the stream to its end."""
    extraction = _Extraction(target, limits or Limits())
    reader = tar.TarReader(chunks)
    try:
        extraction.run(reader)
    finally:
        extraction.forget_parents()
    return extraction.applied


class _Extraction:
    """One layer on its way to disk. Paths held here are canonical: relative, without symlinks."""

    def __init__(self, target: LayerTarget, limits: Limits) -> None:
        self.root_fd = target.fd
        self.flat = target.flat
        self.base = target.base
        self.ownership = target.ownership
        self.overlay_prefix = target.xattr_prefix + b"overlay."
        self.limits = limits
        self.applied = Applied()
        self.parents: dict[bytes, tuple[int, bytes]] = {}
        self.directories: dict[bytes, Entry] = {}
        self.implicit: dict[bytes, None] = {}
        self.opaque: set[bytes] = set()
        self.whiteouts: set[bytes] = set()
        self.mine: set[bytes] = set()
        self.since_check = 0
        self.aufs_links = False
        self._learn_defaults()

    def _learn_defaults(self) -> None:
        """What a new file gets by itself, so that system calls that change nothing can be saved."""
        status = os.fstat(self.root_fd)
        owner = self.ownership.default()
        self.manage_owner = owner is not None
        inherits = self.flat or bool(status.st_mode & stat.S_ISGID)
        self.default_owner = owner if owner is not None and not inherits else (-1, -1)
        # Bits that open(2) may not set: those of the umask, or all under a default access control list.
        self.unsure_mode = 0o7777 if self.flat or self._has_default_acl() else 0o7000 | _umask()

    def _has_default_acl(self) -> bool:
        try:
            os.getxattr(self.root_fd, "system.posix_acl_default")
        except OSError:
            return False
        return True

    def run(self, reader: TarReader) -> None:
        """Every entry, then what has to wait for the last one."""
        entry = None
        try:
            while (entry := reader.next()) is not None:
                self.applied.entries += 1
                if self.applied.entries > self.limits.entries:
                    raise WherryError(RESOURCE_EXHAUSTED, f"more than {self.limits.entries} entries in a layer")
                self._apply(entry, reader)
            self._finish()
        except OSError as error:
            raise _explain(error, entry) from None
        except WherryError as error:
            if entry is not None and not error.path:
                raise WherryError(error.code, error.message, hint=error.hint, path=tar.shown(entry.name)) from None
            raise

    def _apply(self, entry: Entry, reader: TarReader) -> None:
        path = normalise(entry.name)
        if not path:
            self._root(entry)
            return
        directory, _, name = path.rpartition(b"/")
        if _WHITEOUT in path and self._special(directory, name):
            return
        fd, above = self._parent(directory)
        here = above + b"/" + name if above else name
        kind = entry.kind
        if kind == tar.REGULAR:
            self._regular(entry, reader, fd, name, here)
        elif kind == tar.DIRECTORY:
            self._directory(entry, fd, name, here)
        elif kind == tar.SYMLINK:
            self._symlink(entry, fd, name, here)
        elif kind == tar.HARDLINK:
            self._hardlink(entry, fd, name, here)
        else:
            self._node(entry, fd, name, here)
        if self.flat:
            self._claim(here)

    def _claim(self, here: bytes) -> None:
        """What this layer has brought, and the directories around it, are safe from its own whiteouts."""
        while here and here not in self.mine:
            self.mine.add(here)
            here = here.rpartition(b"/")[0]

    def _root(self, entry: Entry) -> None:
        if entry.kind != tar.DIRECTORY:
            raise WherryError(INVALID_ARGUMENT, "the layer's root is not a directory")
        self.directories[b""] = entry

    # Kinds of entries

    def _regular(self, entry: Entry, reader: TarReader, fd: int, name: bytes, here: bytes) -> None:
        mode = entry.mode
        try:
            file = os.open(name, _CREATE, mode & 0o777, dir_fd=fd)
        except FileExistsError:
            self._clear(fd, name, here)
            file = os.open(name, _CREATE, mode & 0o777, dir_fd=fd)
        try:
            self._account(entry.stored_bytes)
            if entry.pieces is not None:
                _write_pieces(file, entry, reader)
            elif entry.stored_bytes:
                _write_data(file, reader)
            owner = (entry.uid, entry.gid)
            if self.manage_owner and owner != self.default_owner:
                self.ownership.fchown(file, *owner)
            if entry.xattrs:
                self._set_xattrs(file, entry.xattrs)
            if mode & self.unsure_mode:
                os.fchmod(file, mode)
            os.utime(file, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(file)

    def _directory(self, entry: Entry, fd: int, name: bytes, here: bytes) -> None:
        mode = entry.mode & 0o777 | 0o700
        try:
            os.mkdir(name, mode, dir_fd=fd)
            self.opaque.discard(here)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(name, dir_fd=fd).st_mode):
                hidden = here in self.whiteouts
                self._clear(fd, name, here)
                os.mkdir(name, mode, dir_fd=fd)
                if hidden:
                    self.opaque.add(here)
        self.directories[here] = entry
        self.implicit.pop(here, None)

    def _symlink(self, entry: Entry, fd: int, name: bytes, here: bytes) -> None:
        try:
            os.symlink(entry.link, name, dir_fd=fd)
        except FileExistsError:
            self._clear(fd, name, here)
            os.symlink(entry.link, name, dir_fd=fd)
        self._describe(entry, fd, name)

    def _hardlink(self, entry: Entry, fd: int, name: bytes, here: bytes) -> None:
        target = normalise(entry.link)
        if not target:
            raise WherryError(INVALID_ARGUMENT, "a hard link to the root directory")
        source = self._existing(target)
        if source is None or source[2] in self.whiteouts:
            if self.flat or self.base:
                raise WherryError(INVALID_ARGUMENT, f"a hard link to {tar.shown(target)}, which does not exist")
            self._clear(fd, name, here)
            self.applied.links.append((here, target))
            return
        source_fd, source_name, source_path = source
        if source_path == here:
            return
        try:
            os.link(source_name, name, src_dir_fd=source_fd, dst_dir_fd=fd, follow_symlinks=False)
        except FileExistsError:
            self._clear(fd, name, here)
            source = self._existing(target)
            if source is None:
                raise WherryError(INVALID_ARGUMENT, f"a hard link replaces its target {tar.shown(target)}") from None
            source_fd, source_name, _ = source
            os.link(source_name, name, src_dir_fd=source_fd, dst_dir_fd=fd, follow_symlinks=False)

    def _node(self, entry: Entry, fd: int, name: bytes, here: bytes) -> None:
        self._clear(fd, name, here)
        if entry.kind == tar.FIFO:
            os.mkfifo(name, entry.mode & 0o777, dir_fd=fd)
        elif entry.kind == tar.CHARACTER and entry.major == entry.minor == 0 and not self.flat:
            self._warn(entry, "a device 0:0 cannot be kept in an overlay")
            return
        else:
            kind = stat.S_IFCHR if entry.kind == tar.CHARACTER else stat.S_IFBLK
            try:
                device = os.makedev(entry.major, entry.minor)
            except OverflowError:
                raise WherryError(INVALID_ARGUMENT, f"{entry.major}:{entry.minor} is not a device") from None
            if not self.ownership.make_device(name, kind | entry.mode & 0o777, device, fd):
                self._warn(entry, "a device node needs root of the host")
                return
        self._describe(entry, fd, name)

    def _describe(self, entry: Entry, fd: int, name: bytes) -> None:
        """Metadata of anything that is neither a regular file nor a directory."""
        if self.manage_owner and (entry.uid, entry.gid) != self.default_owner:
            self.ownership.chown(name, entry.uid, entry.gid, fd)
        if entry.xattrs:
            self._set_xattrs(b"/proc/self/fd/%d/%b" % (fd, name), entry.xattrs)
        if entry.kind != tar.SYMLINK:
            os.chmod(name, entry.mode, dir_fd=fd)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=fd, follow_symlinks=False)

    # Whiteouts

    def _special(self, directory: bytes, name: bytes) -> bool:
        """Act on whiteouts; True when the entry is not a file of the image."""
        if any(part.startswith(_WHITEOUT) for part in directory.split(b"/")):
            if directory.split(b"/")[0] == _PLNK:
                self.aufs_links = True
                return False
            raise WherryError(INVALID_ARGUMENT, "a whiteout is used as a directory")
        if not name.startswith(_WHITEOUT):
            return False
        if name == _OPAQUE:
            self._make_opaque(directory)
        elif name.startswith(_AUFS):
            if name == _PLNK and not directory:
                self.aufs_links = True
                return False
        else:
            hidden = name[len(_WHITEOUT) :]
            if hidden in (b"", b".", b".."):
                raise WherryError(INVALID_ARGUMENT, "a whiteout of nothing")
            self._hide(directory, hidden)
        return True

    def _make_opaque(self, directory: bytes) -> None:
        if self.base:
            return
        fd, here = self._parent(directory)
        if self.flat:
            self._remove_foreign(fd, here)
            self.forget_parents()
        elif here:
            self.opaque.add(here)
        else:
            self.applied.fresh_root = True

    def _hide(self, directory: bytes, name: bytes) -> None:
        if self.base:
            return
        if self.flat:
            found = self._existing(directory + b"/" + name if directory else name)
            if found is not None:
                self._remove_name(*found)
                self.forget_parents()
            return
        try:
            fd, above = self._parent(directory, whiteout=True)
        except NotADirectoryError:
            return  # the directory itself is gone already
        here = above + b"/" + name if above else name
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=fd)
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(name, dir_fd=fd).st_mode):
                self.opaque.add(here)
            return
        self.whiteouts.add(here)

    def _remove_name(self, fd: int, name: bytes, here: bytes) -> None:
        """A whiteout hides what came from below, never what this layer brings."""
        if here not in self.mine:
            rootdir.remove_tree(name, fd)
            return
        if stat.S_ISDIR(os.lstat(name, dir_fd=fd).st_mode):
            below = os.open(name, rootdir.DIRECTORY, dir_fd=fd)
            try:
                self._remove_foreign(below, here)
            finally:
                os.close(below)

    def _remove_foreign(self, fd: int, here: bytes) -> None:
        with os.scandir(fd) as entries:
            names = [os.fsencode(entry.name) for entry in entries]
        for name in names:
            self._remove_name(fd, name, here + b"/" + name if here else name)

    # Directories on the way

    def _parent(self, path: bytes, *, whiteout: bool = False) -> tuple[int, bytes]:
        """An open directory and its canonical path; made when the layer does not describe it."""
        if not path:
            return self.root_fd, b""
        known = self.parents.pop(path, None)
        if known is not None:
            self.parents[path] = known  # the most recently used is last
            return known
        try:
            fd = rootdir.open_straight(self.root_fd, path)
            found = (fd, path)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOENT, errno.ENOTDIR, errno.EXDEV):
                raise
            canonical = self._make_directories(path, whiteout=whiteout)
            found = (rootdir.open_straight(self.root_fd, canonical), canonical)
        self._remember(path, found)
        return found

    def _remember(self, path: bytes, found: tuple[int, bytes]) -> None:
        if len(self.parents) >= _OPEN_PARENTS:
            oldest = next(iter(self.parents))
            os.close(self.parents.pop(oldest)[0])
        self.parents[path] = found

    def _make_directories(self, path: bytes, *, whiteout: bool) -> bytes:
        """Walk `path` inside the root, making what is missing; its canonical form."""
        done = b""
        pending = path.split(b"/")[::-1]
        links = 0
        while pending:
            part = pending.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                done = done.rpartition(b"/")[0]
                continue
            here = done + b"/" + part if done else part
            fd = rootdir.open_straight(self.root_fd, done)
            try:
                target = self._step(fd, part, here, whiteout=whiteout)
            finally:
                os.close(fd)
            if target is None:
                done = here
                continue
            links += 1
            if links > rootdir.SYMLINK_LIMIT:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if target.startswith(b"/"):
                done = b""
            pending.extend(reversed(target.split(b"/")))
        return done

    def _step(self, fd: int, name: bytes, here: bytes, *, whiteout: bool) -> bytes | None:
        """Make sure that `name` is a directory; a symlink's target when it is one."""
        try:
            mode = os.lstat(name, dir_fd=fd).st_mode
        except FileNotFoundError:
            self._make_implicit(fd, name, here)
            return None
        if stat.S_ISLNK(mode):
            return os.readlink(name, dir_fd=fd)
        if stat.S_ISDIR(mode):
            return None
        if here in self.whiteouts and not whiteout:
            self._clear(fd, name, here)
            self._make_implicit(fd, name, here)
            self.opaque.add(here)
            return None
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    def _make_implicit(self, fd: int, name: bytes, here: bytes) -> None:
        os.mkdir(name, 0o755, dir_fd=fd)
        os.chmod(name, 0o755, dir_fd=fd)
        self.implicit[here] = None
        self.directories.pop(here, None)
        self.opaque.discard(here)
        if self.flat:
            self._claim(here)

    def _existing(self, path: bytes) -> tuple[int, bytes, bytes] | None:
        """An existing name as (directory, name, canonical path), its last component not followed; or None."""
        directory, _, name = path.rpartition(b"/")
        try:
            fd, above = self._find(directory)
            os.lstat(name, dir_fd=fd)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return fd, name, above + b"/" + name if above else name

    def _find(self, directory: bytes) -> tuple[int, bytes]:
        if not directory:
            return self.root_fd, b""
        known = self.parents.pop(directory, None)
        if known is not None:
            self.parents[directory] = known
            return known
        fd = rootdir.open_inside(self.root_fd, directory)
        canonical = os.readlink(b"/proc/self/fd/%d" % fd)
        root = os.readlink(b"/proc/self/fd/%d" % self.root_fd)
        found = (fd, canonical[len(root) :].lstrip(b"/"))
        self._remember(directory, found)
        return found

    def forget_parents(self, keep_fd: int = -1) -> None:
        """Close the open directories, except for one still in use (which is closed later)."""
        kept = {}
        for path, found in self.parents.items():
            if found[0] == keep_fd:
                kept[path] = found
            else:
                os.close(found[0])
        self.parents = kept

    def _clear(self, fd: int, name: bytes, here: bytes) -> None:
        """Remove what stands where an entry is to go: the last entry of a name wins."""
        try:
            mode = os.lstat(name, dir_fd=fd).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            self.forget_parents(fd)
        rootdir.remove_tree(name, fd)
        self.whiteouts.discard(here)

    # The end

    def _finish(self) -> None:
        self.forget_parents()
        if self.aufs_links:
            rootdir.remove_tree(_PLNK, self.root_fd)
        self._drop_useless_whiteouts()
        for path in self.opaque:
            self._mark_opaque(path)
        for path in sorted(self.directories, reverse=True):
            self._finish_directory(path, self.directories[path])
        self.applied.implicit = [path for path in self.implicit if path not in self.directories]
        if b"" not in self.directories:
            self.applied.implicit.insert(0, b"")

    def _drop_useless_whiteouts(self) -> None:
        """A directory that is not merged with one below shows its whiteouts as files."""
        for path in self.whiteouts:
            above = path.rpartition(b"/")[0]
            while above and above not in self.opaque:
                above = above.rpartition(b"/")[0]
            if above:
                directory, _, name = path.rpartition(b"/")
                fd = rootdir.open_straight(self.root_fd, directory)
                try:
                    os.unlink(name, dir_fd=fd)
                except FileNotFoundError:
                    pass
                finally:
                    os.close(fd)

    def _mark_opaque(self, path: bytes) -> None:
        try:
            fd = rootdir.open_straight(self.root_fd, path)
        except OSError:
            return  # replaced by something else later in the layer
        try:
            os.setxattr(fd, self.overlay_prefix + b"opaque", b"y")
        finally:
            os.close(fd)

    def _finish_directory(self, path: bytes, entry: Entry) -> None:
        try:
            fd = rootdir.open_straight(self.root_fd, path)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if error.errno == errno.ELOOP:
                return
            raise
        try:
            if self.manage_owner and (entry.uid, entry.gid) != self.default_owner:
                self.ownership.fchown(fd, entry.uid, entry.gid)
            if entry.xattrs:
                self._set_xattrs(fd, entry.xattrs)
            os.fchmod(fd, entry.mode)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _set_xattrs(self, target: int | bytes, xattrs: dict[bytes, bytes]) -> None:
        for name, value in xattrs.items():
            if name in _IGNORED_XATTRS:
                continue
            if name.startswith((b"trusted.overlay.", b"user.overlay.")):
                # As they are, they would be orders to overlayfs: redirects, opaque directories.
                if self.flat:
                    continue
                space, _, rest = name.partition(b".overlay.")
                name = space + b".overlay.overlay." + rest
            try:
                if isinstance(target, int):
                    os.setxattr(target, name, value)
                else:
                    os.setxattr(target, name, value, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _TOLERATED:
                    raise
                self._note(f"{tar.shown(name)}: extended attribute not kept: {error.strerror}")

    def _account(self, size_bytes: int) -> None:
        self.applied.size_bytes += size_bytes
        if self.applied.size_bytes > self.limits.size_bytes:
            raise WherryError(RESOURCE_EXHAUSTED, f"a layer of more than {self.limits.size_bytes} bytes")
        self.since_check += size_bytes
        if self.since_check >= _FREE_CHECK_BYTES:
            self.since_check = 0
            space = os.fstatvfs(self.root_fd)
            if space.f_bavail * space.f_frsize < self.limits.reserve_bytes + size_bytes:
                raise WherryError(RESOURCE_EXHAUSTED, "no space left for the layer")

    def _warn(self, entry: Entry, why: str) -> None:
        self._note(f"{tar.shown(entry.name)}: skipped: {why}")

    def _note(self, text: str) -> None:
        if len(self.applied.warnings) < _WARNING_LIMIT:
            self.applied.warnings.append(text)


def normalise(name: bytes) -> bytes:
    """A name relative to the root, without `.` and `..`; "" for the root; INVALID_ARGUMENT above it."""
    if name.startswith(b"./"):
        name = name[2:]
    if name.endswith(b"/"):
        name = name[:-1]
    if b"/." not in name and b"//" not in name and not name.startswith((b"/", b".")):
        return name
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise WherryError(INVALID_ARGUMENT, f"{tar.shown(name)} leads out of the layer")
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


def _write_data(file: int, reader: TarReader) -> None:
    whole = reader.whole()
    if whole is not None:
        _write_all(file, whole)
        return
    for view in reader.data():
        _write_all(file, view)


def _write_all(file: int, view: memoryview) -> None:
    written = os.write(file, view)
    while written < len(view):
        written += os.write(file, view[written:])


def _write_pieces(file: int, entry: Entry, reader: TarReader) -> None:
    """A sparse file: holes stay holes."""
    os.ftruncate(file, entry.size_bytes)
    pieces = iter(entry.pieces or ())
    offset = left = 0
    for view in reader.data():
        while len(view):
            if not left:
                offset, left = next(pieces)
            part = view[:left]
            done = os.pwrite(file, part, offset)
            offset += done
            left -= done
            view = view[done:]


def _umask() -> int:
    """The process's umask, which can only be read from /proc without changing it."""
    try:
        with open("/proc/self/status", "rb") as file:
            for line in file:
                if line.startswith(b"Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    return 0o777


def _explain(error: OSError, entry: Entry | None) -> WherryError:
    code = RESOURCE_EXHAUSTED if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE) else INVALID_ARGUMENT
    where = tar.shown(entry.name) if entry is not None else ""
    return WherryError(code, f"cannot extract the layer: {error.strerror or error}", path=where)
