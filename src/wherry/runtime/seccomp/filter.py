"""System call filters: compiled from linux.seccomp, or taken from a cache of compiled ones.

The compiler is `program`; it is loaded only when there is something to compile.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FLAG_TSYNC = 1
FLAG_LOG = 2
FLAG_SPEC_ALLOW = 4
FLAG_NEW_LISTENER = 8
FLAG_TSYNC_ESRCH = 16
FLAG_WAIT_KILLABLE_RECV = 32

_FORMAT = b"wherry seccomp 1\n"  # to be changed with what a profile compiles to
_DIGEST_BYTES = 32
_MOST_ENTRIES = 256


class Filter:
    """A compiled profile.

    `program` is an array of struct sock_filter in the host's byte order, `flags` are SECCOMP_FILTER_FLAG_*.
    `listener_path` and `listener_metadata` are empty unless a rule notifies; then flags hold NEW_LISTENER.
    `warnings` tell what of the document has no effect.
    """

    __slots__ = ("flags", "listener_metadata", "listener_path", "program", "warnings")

    def __init__(self, program: bytes, flags: int, path: str, metadata: str, warnings: list[str]) -> None:
        self.program = program
        self.flags = flags
        self.listener_path = path
        self.listener_metadata = metadata
        self.warnings = warnings


def compile_filter(seccomp: dict[str, Any], *, path: str = "linux.seccomp", host_arch: str) -> Filter:
    """Compile a profile for a host of `host_arch` (uname's machine).

    Raises WherryError: INVALID_ARGUMENT with the place of what is wrong below `path`, NOT_IMPLEMENTED for a
    host whose system calls are not known, FAILED_PRECONDITION for a profile that needs more than 4096
    instructions.
    """
    from wherry.runtime.seccomp.program import compile_profile

    return compile_profile(seccomp, path, host_arch)


def cached_filter(seccomp: dict[str, Any], *, path: str = "linux.seccomp", host_arch: str, cache_dir: str) -> Filter:
    """As `compile_filter`, but from `cache_dir` (empty for none) when the same profile was compiled before.

    The folder is made when it is missing, and used only while it belongs to this user and nobody else can write
    to it. Files appear by rename and carry a digest of their content: one that does not match is compiled again.
    A cache that cannot be read or written is no error.
    """
    from _blake2 import blake2b  # hashlib would load OpenSSL
    from marshal import dumps

    try:
        document = dumps(seccomp, 0)
    except ValueError:
        document = b""  # nested too deeply or no JSON value: the compiler says where
    if not cache_dir or not document:
        return compile_filter(seccomp, path=path, host_arch=host_arch)
    seed = _FORMAT + host_arch.encode()
    name = blake2b(document, key=blake2b(seed, digest_size=_DIGEST_BYTES).digest(), digest_size=20).hexdigest()
    folder_fd = _open_folder(cache_dir)
    try:
        content = _read(folder_fd, name)
        body = content[_DIGEST_BYTES:]
        if len(body) > 4 and blake2b(body, digest_size=_DIGEST_BYTES).digest() == content[:_DIGEST_BYTES]:
            return _unpack(seccomp, body)
        compiled = compile_filter(seccomp, path=path, host_arch=host_arch)
        if not compiled.warnings:
            body = compiled.flags.to_bytes(4, "little") + compiled.program
            _write(folder_fd, name, blake2b(body, digest_size=_DIGEST_BYTES).digest() + body)
        return compiled
    finally:
        if folder_fd >= 0:
            os.close(folder_fd)


def _unpack(seccomp: dict[str, Any], body: bytes) -> Filter:
    flags = int.from_bytes(body[:4], "little")
    listener, metadata = "", ""
    if flags & FLAG_NEW_LISTENER:
        listener, metadata = seccomp["listenerPath"], seccomp.get("listenerMetadata") or ""
    return Filter(body[4:], flags, listener, metadata, [])


def _open_folder(folder: str) -> int:
    """A descriptor of the folder, or -1 when there is none that can be trusted."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        try:
            folder_fd = os.open(folder, flags)
        except FileNotFoundError:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            folder_fd = os.open(folder, flags)
    except OSError:
        return -1
    facts = os.fstat(folder_fd)
    if facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        os.close(folder_fd)
        return -1
    return folder_fd


def _read(folder_fd: int, name: str) -> bytes:
    """A file of the cache; empty when there is none."""
    if folder_fd < 0:
        return b""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder_fd)
    except OSError:
        return b""
    try:
        return os.read(fd, 1 << 16)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _write(folder_fd: int, name: str, content: bytes) -> None:
    if folder_fd < 0:
        return
    temporary = f".{name}.{os.getpid()}"
    try:
        _make_room(folder_fd)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=folder_fd)
        try:
            os.write(fd, content)
        finally:
            os.close(fd)
        os.rename(temporary, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
    except OSError:
        pass  # the next start compiles again


def _make_room(folder_fd: int) -> None:
    """Start anew before the folder holds too much: a profile takes milliseconds to come back."""
    names = os.listdir(folder_fd)
    if len(names) >= _MOST_ENTRIES:
        for name in names:
            os.unlink(name, dir_fd=folder_fd)
