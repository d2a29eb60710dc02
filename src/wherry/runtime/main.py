"""Entry of the `wherry-runtime` verbs that need Python.

Half of a short command's time is Python finding and reading some forty modules. The hot verbs therefore leave the
compiled code of all their modules in one file of a folder that only this user can write, and load it from there
as long as every source file still has the size and time that it had (the test that Python's own .pyc files use).
Anything unexpected means the ordinary import.
"""

from __future__ import annotations

import gc
import posix
import sys
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

HOT_VERBS = ("create", "run", "exec")
CACHE_BYTES_LIMIT = 4 << 20


def main(argv: Sequence[str]) -> int:
    """Run a command line (without the program's name); returns the exit status."""
    gc.disable()  # a command this short leaves its garbage to the kernel
    found = [word for word in argv if word in HOT_VERBS]
    cache = cache_path(found[0]) if found else ""
    cached = bool(cache) and load_modules(cache)
    from .command_line import run

    return run(argv, "" if cached else cache)


def cache_path(verb: str) -> str:
    """The file for a verb; "" when there is no folder for it."""
    environ = posix.environ
    if b"WHERRY_NO_CACHE" in environ:
        return ""
    if posix.geteuid() == 0:
        folder = "/run/wherry/cache"
    else:
        runtime_dir = environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
        if runtime_dir[:1] != "/":
            return ""
        folder = f"{runtime_dir}/wherry/cache"
    source = __file__.replace("/", "%")
    return f"{folder}/{verb}-{sys.implementation.cache_tag}-{source}"


def load_modules(path: str) -> bool:
    """Execute the modules kept at `path`, in an order in which each finds those it needs."""
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    except OSError:
        return False
    try:
        found = posix.fstat(fd)
        if found.st_uid != posix.geteuid() or found.st_mode & 0o170022 != 0o100000:
            return False
        if found.st_size > CACHE_BYTES_LIMIT:
            return False
        version, modules = loads(posix.read(fd, found.st_size))
        if version != sys.version:
            return False
        for _, source, time_ns, size, _ in modules:
            now = posix.stat(source)
            if now.st_mtime_ns != time_ns or now.st_size != size:
                return False
    except (OSError, EOFError, ValueError, TypeError):
        return False
    finally:
        posix.close(fd)
    for name, source, _, _, code in modules:
        if name not in sys.modules:
            _execute(name, source, code)
    return True


def _execute(name: str, source: str, code: object) -> None:
    module = type(sys)(name)
    namespace = module.__dict__
    namespace["__file__"] = source
    parent, _, child = name.rpartition(".")
    if source.endswith("/__init__.py"):
        namespace["__package__"] = name
        namespace["__path__"] = [source[:-12]]
    else:
        namespace["__package__"] = parent
    sys.modules[name] = module
    try:
        exec(code, namespace)  # type: ignore[arg-type]  # noqa: S102
    except BaseException:
        del sys.modules[name]
        raise
    if parent:
        setattr(sys.modules[parent], child, module)
