"""Kernel settings of the network namespace of the calling thread."""

from __future__ import annotations

import os

from wherry import errors
from wherry.errors import WherryError


def read(name: str) -> str:
    """Return a setting named like `net/ipv4/ip_forward`; NOT_FOUND when the kernel has no such one."""
    try:
        fd = os.open(f"/proc/sys/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise WherryError(errors.NOT_FOUND, f"kernel setting {name}: {error.strerror}")
    try:
        return os.read(fd, 4096).decode().strip()
    finally:
        os.close(fd)


def ensure(name: str, value: str) -> None:
    """Write a setting unless it has the value already; PERMISSION_DENIED where /proc/sys is read-only."""
    if read(name) == value:
        return
    try:
        fd = os.open(f"/proc/sys/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise WherryError(
            errors.PERMISSION_DENIED,
            f"kernel setting {name}: {error.strerror}",
            hint=f"set {name.replace('/', '.')}={value} on the host",
        )
