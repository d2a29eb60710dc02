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
from _frozen_importlib_external import PathFinder, SourceFileLoader
from _imp import is_builtin, is_frozen
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

RUNTIME_VERBS = ("create", "run", "exec")
COMMAND_VERBS = ("create", "exec", "kill", "ps", "rm", "run", "start", "stop")
# These are needed to read the file at all, or only to write it.
APART = ("wherry", "wherry.start", "wherry.module_cache")
FORMAT = 1  # of the file; another one means the ordinary import
HEAD_BYTES = 8
INDEX_BYTES_LIMIT = 1 << 20


def runtime(argv: "Sequence[str]") -> int:
    """Run a command line of `wherry-runtime` (without the program's name); returns the exit status."""
    return _run("wherry.runtime.command_line", argv, RUNTIME_VERBS, together=True)


def command(argv: "Sequence[str]") -> int:
    """Run a command line of `wherry` (without the program's name); returns the exit status."""
    return _run("wherry.cli.main", argv, COMMAND_VERBS, together=False)


def _run(module: str, argv: "Sequence[str]", verbs: "Sequence[str]", *, together: bool) -> int:
    found = [word for word in argv if word in verbs]
    if found:
        gc.disable()  # a command this short leaves its garbage to the kernel
        path = cache_path(f"runtime-{found[0]}" if together else "command")
        if path:
            kept = KeptModules(path, together=together)
            sys.meta_path.insert(0, kept)
            kept.load_bundle()
    # By name: every layer may ask to keep its modules, and none may know the layers above.
    status: int = __import__(module, fromlist=["main"]).main(argv)
    if found:
        sys.stdout.flush()
        sys.stderr.flush()
        posix._exit(status)  # nor does it take its modules apart
    return status


def keep_modules() -> None:
    """At the end of a command: keep what it had to import the ordinary way."""
    for finder in sys.meta_path:
        if type(finder) is KeptModules and finder.missed:
            missed = list(finder.missed)  # without what the next line imports
            from .module_cache import save_modules

            save_modules(finder, missed)


def cache_path(name: str) -> str:
    """The file for `name` of this user, interpreter and package; "" when there is no folder for it."""
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
    return f"{folder}/{name}-{sys.implementation.cache_tag}-{source}"


class KeptModules:
    """Finds and loads the modules of the file at `path` (see `module_cache`).

    A bundle is executed at once, which is quicker but right only for verbs that always need the same modules; others
    are executed when they are asked for. `missed` are those that were not in the file, ours and the standard
    library's, in an order in which each follows those it imports.
    """

    __slots__ = ("base", "bundle_bytes", "fd", "index", "missed", "path", "together")

    def __init__(self, path: str, *, together: bool = False) -> None:
        self.path = path
        self.together = together
        self.missed: list[str] = []
        # name: (source, its time in ns, its size, offset, length); the offset of what is in the bundle is -1
        self.index: dict[str, tuple[str, int, int, int, int]] = {}
        self.bundle_bytes = self.base = 0
        self.fd = -1
        try:
            self.fd = _open(path)
            size = int.from_bytes(posix.pread(self.fd, HEAD_BYTES, 0), "little")
            if size <= INDEX_BYTES_LIMIT:
                version, bundle_bytes, index = loads(posix.pread(self.fd, size, HEAD_BYTES))
                if version == f"{FORMAT} {sys.version}":
                    self.base = HEAD_BYTES + size
                    self.bundle_bytes = bundle_bytes
                    self.index = index
        except (OSError, EOFError, ValueError, TypeError):
            pass

    def load_bundle(self) -> None:
        """Execute the bundle; if any of it is stale forget all, so that it is made anew."""
        if not self.bundle_bytes:
            return
        bundle = [(name, entry[0]) for name, entry in self.index.items() if entry[3] < 0]
        if not all(self._is_current(name) for name, _ in bundle):
            self.bundle_bytes = 0
            self.index = {}
            return
        codes = loads(posix.pread(self.fd, self.bundle_bytes, self.base))
        modules = sys.modules
        for (name, source), code in zip(bundle, codes, strict=True):
            if name not in modules:
                module = modules[name] = _module(name, source)
                exec(code, module.__dict__)  # noqa: S102
                parent, _, child = name.rpartition(".")
                if parent:
                    setattr(modules[parent], child, module)

    def find_spec(self, name: str, path: "Sequence[str] | None" = None, target: object = None) -> "ModuleSpec | None":
        entry = self.index.get(name)
        if entry is not None and self._is_current(name):
            package = entry[0][-12:] == "/__init__.py"
            spec = ModuleSpec(name, self, is_package=package)  # type: ignore[arg-type]
            if package:
                spec.submodule_search_locations = [entry[0][:-12]]
            return spec
        return None if is_builtin(name) or is_frozen(name) else self._recording_spec(name, path)

    def _recording_spec(self, name: str, path: "Sequence[str] | None") -> "ModuleSpec | None":
        """The ordinary way, noting the name when the module is complete."""
        spec = PathFinder.find_spec(name, path)
        top = name.partition(".")[0]
        if spec is None or name in APART or not (top == "wherry" or top in sys.stdlib_module_names):
            return spec
        if isinstance(spec.loader, SourceFileLoader):
            execute = spec.loader.exec_module

            def recording(module: "ModuleType") -> None:
                execute(module)
                self.missed.append(name)

            spec.loader.exec_module = recording  # type: ignore[method-assign]
        return spec

    def _is_current(self, name: str) -> bool:
        source, time_ns, size, _, _ = self.index[name]
        try:
            now = posix.stat(source)
        except OSError:
            return False
        return now.st_mtime_ns == time_ns and now.st_size == size

    def create_module(self, spec: "ModuleSpec") -> None:
        """The import system makes it."""

    def exec_module(self, module: "ModuleType") -> None:
        source, _, _, offset, length = self.index[module.__name__]
        module.__file__ = source
        exec(loads(posix.pread(self.fd, length, self.base + offset)), module.__dict__)  # noqa: S102


def _module(name: str, source: str) -> "ModuleType":
    module = type(sys)(name)
    module.__file__ = source
    if source[-12:] == "/__init__.py":
        module.__path__ = [source[:-12]]
        module.__package__ = name
    else:
        module.__package__ = name.rpartition(".")[0]
    return module


def _open(path: str) -> int:
    """Raises OSError unless the file is ours alone."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    found = posix.fstat(fd)
    if found.st_uid != posix.geteuid() or found.st_mode & 0o170022 != 0o100000:
        posix.close(fd)
        raise PermissionError(path)
    return fd
