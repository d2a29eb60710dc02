"""Network namespaces: entering one for a moment, and keeping one alive without a process.

A namespace is pinned by a bind mount of its file, so it outlives the container's process and can be filled
before that exists. Only one thread ever changes its namespace: it comes back, or ends.
"""

from __future__ import annotations

import _thread
import errno
import os

from wherry import errors
from wherry.errors import WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.network.base import Netns

_CLONE_NEWNET = 0x40000000
_MS_BIND = 0x1000
_MNT_DETACH = 2


class Inside:
    """A `with` block that runs in another network namespace; sockets made there stay there."""

    __slots__ = ("_netns", "_own_fd")

    def __init__(self, netns: Netns) -> None:
        self._netns = netns
        self._own_fd = -1

    def __enter__(self) -> Inside:
        own_fd = _open_own()
        try:
            self._enter()
        except BaseException:
            os.close(own_fd)
            raise
        self._own_fd = own_fd
        return self

    def __exit__(self, *_: object) -> None:
        try:
            _must("setns", self._own_fd, _CLONE_NEWNET)
        finally:
            os.close(self._own_fd)

    def _enter(self) -> None:
        if self._netns.fd >= 0:
            _must("setns", self._netns.fd, _CLONE_NEWNET)
            return
        target_fd = open_process(self._netns.pid)
        try:
            _must("setns", target_fd, _CLONE_NEWNET)
        finally:
            os.close(target_fd)


def open_process(pid: int) -> int:
    """Return a descriptor of a process's network namespace; NOT_FOUND when the process is gone."""
    try:
        return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise WherryError(errors.NOT_FOUND, f"network namespace of process {pid}: {error.strerror}")


def create(path: str) -> int:
    """Make a network namespace that lives until `delete(path)`, and return a descriptor of it.

    ALREADY_EXISTS when the path is taken; PERMISSION_DENIED without the rights to mount.
    """
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    except FileExistsError:
        raise WherryError(errors.ALREADY_EXISTS, "the network namespace exists", path=path)
    try:
        return _in_thread(lambda: _unshare_and_pin(path))
    except BaseException:
        delete(path)
        raise


def _unshare_and_pin(path: str) -> int:
    _must("unshare", _CLONE_NEWNET)
    _must("mount", _own_path().encode(), path.encode(), None, _MS_BIND, None)
    return _open_own()


def _in_thread(work: Callable[[], int]) -> int:
    """Run in a thread that ends with it: going back to the old namespace needs rights over that one."""
    done = _thread.allocate_lock()
    result: list[int | BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:
            result.append(error)
        finally:
            done.release()

    done.acquire()
    _thread.start_new_thread(run, ())
    done.acquire()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


def delete(path: str) -> None:
    """Drop the pin; the kernel ends the namespace when nothing else holds it. May be repeated."""
    number = _call("umount2", path.encode(), _MNT_DETACH)
    if number not in (0, errno.EINVAL, errno.ENOENT):
        raise _failure("umount2", number, path)
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _own_path() -> str:
    return f"/proc/self/task/{_thread.get_native_id()}/ns/net"


def _open_own() -> int:
    return os.open(_own_path(), os.O_RDONLY | os.O_CLOEXEC)


_functions: dict[str, object] = {}


def _must(name: str, *arguments: int | bytes | None) -> None:
    number = _call(name, *arguments)
    if number:
        raise _failure(name, number, "")


def _failure(name: str, number: int, path: str) -> WherryError:
    code = errors.PERMISSION_DENIED if number in (errno.EPERM, errno.EACCES) else errors.INTERNAL
    return WherryError(code, f"network namespace: {name}: {os.strerror(number)}", path=path)


def _call(name: str, *arguments: int | bytes | None) -> int:
    """Call a function of the C library that answers 0, and return the errno, 0 for none."""
    function = _functions.get(name)
    if function is None:
        function = _functions[name] = _bind(name)
    if function(*arguments) == 0:  # type: ignore[operator]
        return 0
    import _ctypes

    return _ctypes.get_errno()


def _bind(name: str) -> object:
    """Find a C function through the interpreter's own binding; the whole ctypes package costs 2 ms more."""
    import _ctypes

    class Int(_ctypes._SimpleCData):  # type: ignore[type-arg]
        _type_ = "i"

    class Function(_ctypes.CFuncPtr):
        _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
        _restype_ = Int

    address = _ctypes.dlsym(_ctypes.dlopen(None, 0), name)  # type: ignore[arg-type]
    return Function(address)
