"""How owners and device nodes of an image are put on disk: one strategy per kind of privilege.

- `Privileged`: root of the host; everything as the image says.
- `Mapped`: root of a user namespace; owners go through its mapping, device nodes cannot be made.
- `SingleId`: an ordinary user; everything belongs to that user.
"""

from __future__ import annotations

import errno
import os

from wherry.errors import FAILED_PRECONDITION, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object


class Ownership(Protocol):
    """What an extraction asks for; `name` is relative to `dir_fd` and never followed."""

    #: Extended attributes that overlayfs reads here: `trusted.` or `user.`.
    overlay_prefix: bytes

    def default(self) -> tuple[int, int] | None:
        """The owner that new files get by themselves, or None when owners are of no interest."""

    def chown(self, name: bytes, uid: int, gid: int, dir_fd: int) -> None:
        """Set the owner of a name."""

    def fchown(self, fd: int, uid: int, gid: int) -> None:
        """Set the owner of an open file."""

    def make_device(self, name: bytes, mode: int, device: int, dir_fd: int) -> bool:
        """Make a device node; False when this privilege cannot."""


class Privileged:
    """Root of the host."""

    __slots__ = ()
    overlay_prefix = b"trusted."

    def default(self) -> tuple[int, int] | None:
        """New files are owned by the effective ids."""
        return os.geteuid(), os.getegid()

    def chown(self, name: bytes, uid: int, gid: int, dir_fd: int) -> None:
        """As the image says."""
        os.chown(name, uid, gid, dir_fd=dir_fd, follow_symlinks=False)

    def fchown(self, fd: int, uid: int, gid: int) -> None:
        """As the image says."""
        os.fchown(fd, uid, gid)

    def make_device(self, name: bytes, mode: int, device: int, dir_fd: int) -> bool:
        """As the image says; False where not even root may (no CAP_MKNOD)."""
        try:
            os.mknod(name, mode, device, dir_fd=dir_fd)
        except PermissionError:
            return False
        return True


class Mapped:
    """Root of a user namespace with a range of ids."""

    __slots__ = ()
    overlay_prefix = b"user."

    def default(self) -> tuple[int, int] | None:
        """New files are owned by the effective ids."""
        return os.geteuid(), os.getegid()

    def chown(self, name: bytes, uid: int, gid: int, dir_fd: int) -> None:
        """Through the mapping; FAILED_PRECONDITION for an id outside of it."""
        try:
            os.chown(name, uid, gid, dir_fd=dir_fd, follow_symlinks=False)
        except OSError as error:
            raise _unmapped(error, uid, gid) from None

    def fchown(self, fd: int, uid: int, gid: int) -> None:
        """Through the mapping; FAILED_PRECONDITION for an id outside of it."""
        try:
            os.fchown(fd, uid, gid)
        except OSError as error:
            raise _unmapped(error, uid, gid) from None

    def make_device(self, name: bytes, mode: int, device: int, dir_fd: int) -> bool:
        """Never: the kernel forbids it."""
        return False


class SingleId:
    """An ordinary user, or a namespace with one id."""

    __slots__ = ()
    overlay_prefix = b"user."

    def default(self) -> tuple[int, int] | None:
        """Owners are of no interest."""
        return None

    def chown(self, name: bytes, uid: int, gid: int, dir_fd: int) -> None:
        """Nothing: there is one owner."""

    def fchown(self, fd: int, uid: int, gid: int) -> None:
        """Nothing: there is one owner."""

    def make_device(self, name: bytes, mode: int, device: int, dir_fd: int) -> bool:
        """Never: the kernel forbids it."""
        return False


def detect() -> Ownership:
    """The strategy for this process."""
    with open("/proc/self/uid_map", "rb") as file:
        ranges = [line.split() for line in file.read().splitlines()]
    if os.geteuid() != 0:
        return SingleId()
    if ranges == [[b"0", b"0", b"4294967295"]]:
        return Privileged()
    return SingleId() if sum(int(length) for _, _, length in ranges) == 1 else Mapped()


def _unmapped(error: OSError, uid: int, gid: int) -> Exception:
    if error.errno not in (errno.EINVAL, errno.EPERM):
        return error
    return WherryError(
        FAILED_PRECONDITION,
        f"the image has files of {uid}:{gid}, which is outside of the ids mapped here",
        hint="give the user more ids in /etc/subuid and /etc/subgid",
    )
