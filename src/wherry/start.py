"""Entry of the Python part of `wherry-runtime` and `wherry`.

Half of a short command's time is Python finding and reading its modules. The hot verbs therefore keep the compiled
code of all modules they used in one file, in a folder that only this user can write, and load a module from there
as long as its source still has the size and time that it had (the test that Python's own .pyc files use). Anything
unexpected means the ordinary import.

This file is itself found the ordinary way at every start, so it imports next to nothing, not even `__future__`.
"""

import gc
import posix
import sys
from _frozen_importlib import ModuleSpec
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

RUNTIME_VERBS = ("create", "run", "exec")
COMMAND_VERBS = ("create", "exec", "kill", "ps", "rm", "run", "start", "stop")
HEAD_BYTES = 8
INDEX_BYTES_LIMIT = 1 << 20


def runtime(argv: "Sequence[str]") -> int:
    """Run a command line of `wherry-runtime` (without the program's name); returns the exit status."""
    return _run("wherry.runtime.command_line", argv, RUNTIME_VERBS)


def command(argv: "Sequence[str]") -> int:
    """Run a command line of `wherry` (without the program's name); returns the exit status."""
    return _run("wherry.cli.main", argv, COMMAND_VERBS)


def _run(module: str, argv: "Sequence[str]", verbs: "Sequence[str]") -> int:
    hot = any(word in verbs for word in argv)
    if hot:
        gc.disable()  # a command this short leaves its garbage to the kernel
        path = cache_path()
        if path:
            sys.meta_path.insert(0, KeptModules(path))
    # By name: every layer may ask to keep its modules, and none may know the layers above.
    status: int = __import__(module, fromlist=["main"]).main(argv)
    if hot:
        sys.stdout.flush()
        sys.stderr.flush()
        posix._exit(status)  # nor does it take its modules apart
    return status


def keep_modules() -> None:
    """At the end of a command: keep what it had to import the ordinary way."""
    for finder in sys.meta_path:
        if type(finder) is KeptModules and finder.missed:
            from .module_cache import save_modules

            save_modules(finder.path)


def cache_path() -> str:
    """The file of this user, interpreter and package; "" when there is no folder for it."""
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
    return f"{folder}/{sys.implementation.cache_tag}-{source}"


class KeptModules:
    """Finds and loads the modules of the file at `path`; `missed` says that one of ours was not in it."""

    __slots__ = ("base", "fd", "index", "missed", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.missed = False
        self.index: dict[str, tuple[str, int, int, int, int]] = {}
        self.base = 0
        self.fd = -1
        try:
            self.fd = _open(path)
            head = posix.pread(self.fd, HEAD_BYTES, 0)
            size = int.from_bytes(head, "little")
            if size <= INDEX_BYTES_LIMIT:
                version, index = loads(posix.pread(self.fd, size, HEAD_BYTES))
                if version == sys.version:
                    self.index = index
                    self.base = HEAD_BYTES + size
        except (OSError, EOFError, ValueError, TypeError):
            pass

    def find_spec(self, name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        entry = self.index.get(name)
        if entry is not None:
            source, time_ns, size = entry[:3]
            try:
                now = posix.stat(source)
            except OSError:
                return None
            if now.st_mtime_ns == time_ns and now.st_size == size:
                package = source[-12:] == "/__init__.py"
                spec = ModuleSpec(name, self, is_package=package)  # type: ignore[arg-type]
                if package:
                    spec.submodule_search_locations = [source[:-12]]
                return spec
        if name[:7] == "wherry.":
            self.missed = True
        return None

    def create_module(self, spec: "ModuleSpec") -> None:
        """The import system makes it."""

    def exec_module(self, module: "ModuleType") -> None:
        source, _, _, offset, length = self.index[module.__name__]
        module.__file__ = source
        exec(loads(posix.pread(self.fd, length, self.base + offset)), module.__dict__)  # noqa: S102


def _open(path: str) -> int:
    """Raises OSError unless the file is ours alone."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    found = posix.fstat(fd)
    if found.st_uid != posix.geteuid() or found.st_mode & 0o170022 != 0o100000:
        posix.close(fd)
        raise PermissionError(path)
    return fd
