"""Copy a directory tree with everything that is on disk: owners, modes, times, attributes, links, holes."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from wherry.store import rootdir

_FICLONE = 0x40049409
_SKIPPED = (errno.ENOTSUP, errno.EPERM, errno.EINVAL, errno.ENODATA)


def copy_tree(source_fd: int, target_fd: int) -> None:
    """Fill the empty directory `target_fd`; neither descriptor is closed. OSError."""
    links: dict[tuple[int, int], bytes] = {}
    pending: list[bytes] = [b""]
    order: list[bytes] = []
    while pending:
        path = pending.pop()
        order.append(path)
        source = rootdir.open_straight(source_fd, path)
        target = rootdir.open_straight(target_fd, path)
        try:
            for name in map(os.fsencode, os.listdir(source)):
                here = path + b"/" + name if path else name
                if copy_name(source, target, name, here, links, target_fd):
                    pending.append(here)
        finally:
            os.close(source)
            os.close(target)
    for path in reversed(order):
        _finish_directory(source_fd, target_fd, path)


def copy_name(
    source: int, target: int, name: bytes, here: bytes, links: dict[tuple[int, int], bytes], target_fd: int
) -> bool:
    """Copy one name; True when it is a directory, whose contents are still to be copied."""
    status = os.lstat(name, dir_fd=source)
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        os.mkdir(name, 0o700, dir_fd=target)
        return True
    key = (status.st_dev, status.st_ino)
    if status.st_nlink > 1 and key in links:
        os.link(links[key], name, src_dir_fd=target_fd, dst_dir_fd=target, follow_symlinks=False)
        return False
    if stat.S_ISREG(mode):
        _copy_file(source, target, name, status)
    elif stat.S_ISLNK(mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
    else:
        os.mknod(name, mode, status.st_rdev, dir_fd=target)
    if status.st_nlink > 1:
        links[key] = here
    copy_metadata(source, name, target, name, status)
    return False


def _copy_file(source: int, target: int, name: bytes, status: os.stat_result) -> None:
    reader = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    try:
        writer = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=target)
        try:
            copy_data(reader, writer, status.st_size)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def copy_data(reader: int, writer: int, size_bytes: int) -> None:
    """Share the blocks where the file system can; else copy what is not a hole."""
    try:
        fcntl.ioctl(writer, _FICLONE, reader)
        return
    except OSError:
        pass
    os.ftruncate(writer, size_bytes)
    position = 0
    while position < size_bytes:
        try:
            position = os.lseek(reader, position, os.SEEK_DATA)
        except OSError:
            return
        end = min(os.lseek(reader, position, os.SEEK_HOLE), size_bytes)
        while position < end:
            done = os.copy_file_range(reader, writer, end - position, position, position)
            if not done:
                return
            position += done


def copy_metadata(source: int, name: bytes, target: int, new_name: bytes, status: os.stat_result) -> None:
    """Owner, extended attributes, mode and times of a name that is not followed."""
    try:
        os.chown(new_name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    except PermissionError:
        pass  # an ordinary user's files have one owner anyway
    _copy_xattrs(_reach(source, name), _reach(target, new_name))
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(new_name, stat.S_IMODE(status.st_mode), dir_fd=target)
    times = (status.st_atime_ns, status.st_mtime_ns)
    os.utime(new_name, ns=times, dir_fd=target, follow_symlinks=False)


def _finish_directory(source_fd: int, target_fd: int, path: bytes) -> None:
    source = rootdir.open_straight(source_fd, path)
    target = rootdir.open_straight(target_fd, path)
    try:
        copy_directory_metadata(source, target)
    finally:
        os.close(source)
        os.close(target)


def copy_directory_metadata(source: int, target: int) -> None:
    """The same for two open directories."""
    status = os.fstat(source)
    try:
        os.fchown(target, status.st_uid, status.st_gid)
    except PermissionError:
        pass
    _copy_xattrs(b"/proc/self/fd/%d/." % source, b"/proc/self/fd/%d/." % target)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _reach(fd: int, name: bytes) -> bytes:
    return b"/proc/self/fd/%d/%b" % (fd, name)


def _copy_xattrs(source: bytes, target: bytes) -> None:
    try:
        names = os.listxattr(source, follow_symlinks=False)
    except OSError as error:
        if error.errno in _SKIPPED:
            return
        raise
    for name in names:
        if name == "security.selinux" or ".overlay." in name:
            continue
        try:
            os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
        except OSError as error:
            if error.errno not in _SKIPPED:
                raise
