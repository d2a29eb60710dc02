"""Keep the compiled code of the modules that a hot verb loaded, for `main.load_modules`."""

from __future__ import annotations

import os
import sys
from marshal import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

PREFIX = "wherry"
# These are needed to read the file at all.
ALWAYS_IMPORTED = ("wherry", "wherry.runtime", "wherry.runtime.main")


def save_modules(path: str) -> None:
    """Write what is loaded now to `path`. A failure is silent: the file only saves time."""
    try:
        _make_folder(os.path.dirname(path))
        modules = {}
        for name, module in list(sys.modules.items()):
            source = getattr(module, "__file__", None) or ""
            ours = name.startswith(PREFIX + ".") and source.endswith(".py")
            if ours and name not in ALWAYS_IMPORTED and name != __name__:
                modules[name] = _compile(source)
        entries = [(name, *modules[name]) for name in _ordered(modules)]
        _write(path, dumps((sys.version, entries)))
    except (OSError, SyntaxError, ValueError):
        pass


def _make_folder(path: str) -> None:
    """Raises OSError unless it is ours alone."""
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        found = os.lstat(path)
        if found.st_uid != os.geteuid() or found.st_mode & 0o170022 != 0o040000:
            raise


def _compile(source: str) -> tuple[str, int, int, CodeType]:
    found = os.stat(source)
    with open(source, "rb") as file:
        code = compile(file.read(), source, "exec", dont_inherit=True, optimize=2)
    return source, found.st_mtime_ns, found.st_size, code


def _ordered(modules: dict[str, tuple[str, int, int, CodeType]]) -> list[str]:
    """Names so that, as far as can be told, each follows those it imports at its top."""
    order: list[str] = []
    visited = set()

    def visit(name: str) -> None:
        if name in visited or name not in modules:
            return
        visited.add(name)
        source, _, _, code = modules[name]
        package = name if source.endswith("/__init__.py") else name.rpartition(".")[0]
        visit(name.rpartition(".")[0])
        for word in code.co_names:
            visit(word)
            visit(f"{package}.{word}")
            visit(f"{package.rpartition('.')[0]}.{word}")
            visit(f"wherry.oci.{word}")
        order.append(name)

    for name in modules:
        visit(name)
    return order


def _write(path: str, data: bytes) -> None:
    draft = f"{path}.{os.getpid()}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
    os.rename(draft, path)
