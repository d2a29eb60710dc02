"""Reach names below a directory without ever leaving it: symlinks and `..` are resolved as if it were `/`.

Uses openat2(2) with RESOLVE_IN_ROOT; where the kernel or a seccomp filter has no openat2, the same walk is
done here component by component with O_NOFOLLOW.
"""

from __future__ import annotations

import errno
import os
import stat

# The whole ctypes package costs more than all that is done here for one container.
from _ctypes import FUNCFLAG_CDECL, FUNCFLAG_USE_ERRNO, CFuncPtr, _SimpleCData, dlopen, dlsym, get_errno
from _struct import pack

from wherry.errors import FAILED_PRECONDITION, WherryError

_OPENAT2 = 437
_NO_XDEV = 0x01
_NO_MAGICLINKS = 0x02
_NO_SYMLINKS = 0x04
_BENEATH = 0x08
_IN_ROOT = 0x10
SYMLINK_LIMIT = 40
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


class _Long(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "l"


class _Function(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = _Long


def _how(flags: int, resolve: int) -> bytes:
    """struct open_how."""
    return pack("=3Q", flags, 0, resolve)


_syscall = _Function(dlsym(dlopen(None, 0), "syscall"))  # type: ignore[arg-type]
_STRAIGHT = _how(os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, _NO_SYMLINKS | _BENEATH)
_INSIDE = _how(os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, _IN_ROOT | _NO_MAGICLINKS)
_SAME_MOUNT = _how(os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, _NO_XDEV | _NO_SYMLINKS | _BENEATH)
_UNAVAILABLE = (errno.ENOSYS, errno.EPERM, errno.E2BIG, errno.EINVAL)


def open_straight(root_fd: int, path: bytes) -> int:
    """Open a directory below `root_fd` that is reached without any symlink; OSError (ELOOP for a symlink)."""
    return _open(root_fd, path, _STRAIGHT, follow=False)


def open_inside(root_fd: int, path: bytes) -> int:
    """Open a directory, resolving symlinks within `root_fd`; OSError."""
    return _open(root_fd, path, _INSIDE, follow=True)


def _open(root_fd: int, path: bytes, how: bytes, *, follow: bool) -> int:
    path = path or b"."
    fd: int = _syscall(_OPENAT2, root_fd, path, how, len(how))
    if fd >= 0:
        return fd
    number = get_errno()
    if number in _UNAVAILABLE:
        return walk(root_fd, path, follow=follow)
    raise OSError(number, os.strerror(number), path)


def walk(root_fd: int, path: bytes, *, follow: bool) -> int:
    """The same as `open_inside` (or `open_straight`) without openat2."""
    pending = [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]
    trail = [os.open(".", DIRECTORY, dir_fd=root_fd)]
    links = 0
    try:
        while pending:
            part = pending.pop()
            if part == b"..":
                if len(trail) > 1:
                    os.close(trail.pop())
                continue
            target = _link_target(trail[-1], part)
            if target is None:
                trail.append(os.open(part, DIRECTORY, dir_fd=trail[-1]))
                continue
            links += 1
            if not follow or links > SYMLINK_LIMIT:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith(b"/"):
                while len(trail) > 1:
                    os.close(trail.pop())
            pending.extend(step for step in reversed(target.split(b"/")) if step not in (b"", b"."))
        return trail.pop()
    finally:
        for fd in trail:
            os.close(fd)


def _link_target(fd: int, name: bytes) -> bytes | None:
    if not stat.S_ISLNK(os.lstat(name, dir_fd=fd).st_mode):
        return None
    return os.readlink(name, dir_fd=fd)


def remove_tree(name: bytes | str, dir_fd: int | None = None) -> None:
    """Remove a file or a whole directory by descriptor; nothing there is no error.

    Never follows a symlink and never enters a mount (OSError EBUSY), holds one descriptor per level, and
    copes with directories that their owner may not read.
    """
    if dir_fd is None:
        directory, _, name = os.fsencode(name).rpartition(b"/")
        try:
            parent = os.open(directory or b"/", DIRECTORY)
        except FileNotFoundError:
            return
        try:
            remove_tree(name, parent)
        finally:
            os.close(parent)
        return
    try:
        os.unlink(name, dir_fd=dir_fd)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        pass
    _remove_directory(os.fsencode(name), dir_fd)


def _remove_directory(name: bytes, dir_fd: int) -> None:
    stack = [_Level(name, dir_fd)]
    try:
        while stack:
            level = stack[-1]
            if level.directories:
                stack.append(_Level(level.directories.pop(), level.fd))
                continue
            os.close(stack.pop().fd)
            os.rmdir(level.name, dir_fd=stack[-1].fd if stack else dir_fd)
    finally:
        for level in stack:
            os.close(level.fd)


class _Level:
    """An open directory being emptied: its files are gone, its directories still to be removed."""

    __slots__ = ("directories", "fd", "name")

    def __init__(self, name: bytes, dir_fd: int) -> None:
        self.name = name
        try:
            self.fd = _open_same_mount(name, dir_fd)
        except PermissionError:
            os.chmod(name, 0o700, dir_fd=dir_fd)
            self.fd = _open_same_mount(name, dir_fd)
        if os.fstat(self.fd).st_mode & 0o700 != 0o700:
            os.fchmod(self.fd, 0o700)
        self.directories: list[bytes] = []
        with os.scandir(self.fd) as entries:
            names = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
        for below, is_directory in names:
            if is_directory:
                self.directories.append(below)
            else:
                os.unlink(below, dir_fd=self.fd)


def _open_same_mount(name: bytes, dir_fd: int) -> int:
    try:
        fd = _open(dir_fd, name, _SAME_MOUNT, follow=False)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise OSError(errno.EBUSY, "something is mounted there", name) from None
        raise
    if os.fstat(fd).st_dev != os.fstat(dir_fd).st_dev:  # where there is no openat2
        os.close(fd)
        raise OSError(errno.EBUSY, "something is mounted there", name)
    return fd


def allocated(fd: int, seen: set[tuple[int, int]] | None = None) -> tuple[int, int]:
    """Bytes allocated and inodes in a directory, hard links counted once."""
    seen = set() if seen is None else seen
    size = inodes = 0
    pending = [os.open(".", DIRECTORY, dir_fd=fd)]
    while pending:
        current = pending.pop()
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    key = (status.st_dev, status.st_ino)
                    if key in seen:
                        continue
                    seen.add(key)
                    size += status.st_blocks * 512
                    inodes += 1
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(os.open(entry.name, DIRECTORY, dir_fd=current))
        finally:
            os.close(current)
    return size, inodes


def allocated_below(path: str) -> tuple[int, int]:
    """As `allocated`, for a directory by its path."""
    fd = os.open(path, DIRECTORY)
    try:
        return allocated(fd)
    finally:
        os.close(fd)


def remove_container_root(directory: str, container_id: str) -> None:
    """Remove all that a container wrote. FAILED_PRECONDITION, with nothing lost, while it is mounted."""
    mountpoint = f"{directory}/merged"
    try:
        os.rmdir(mountpoint)  # fails while something is mounted there
    except FileNotFoundError:
        pass
    except OSError as error:
        raise WherryError(
            FAILED_PRECONDITION,
            f"cannot remove the root of container {container_id}: {error.strerror}",
            hint="unmount it first",
            path=mountpoint,
        ) from None
    remove_tree(directory)
