"""Keep the compiled code of the modules that a hot verb used, for `start.KeptModules`.

The file: the size of the index (8 bytes, little endian), the index (marshal of the interpreter's version and
{name: (source, its time in ns, its size, offset, length)}), and the code of the modules (marshal), one after
another; the offsets count from the end of the index. Every page that is read and every object made costs at each
start, so the code is kept as lean as can be.
"""

from __future__ import annotations

import ast
import os
import sys
from _frozen_importlib_external import SourceFileLoader
from marshal import dumps

from .start import HEAD_BYTES, KeptModules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType

    Entry = tuple[str, int, int, bytes]

# These are needed to read the file at all, or only to write it.
APART = ("wherry", "wherry.start", "wherry.module_cache")


def save_modules(path: str) -> None:
    """Write what is loaded now, and what `path` has already. A failure is silent: the file only saves time."""
    try:
        sources = {name: source for name, module in list(sys.modules.items()) if (source := _source(name, module))}
        entries = {name: _compile(name, source) for name, source in sources.items()}
        _make_folder(os.path.dirname(path))
        _write(path, pack({**_kept_before(path), **entries}))
    except (OSError, SyntaxError, ValueError):
        pass


def _source(name: str, module: ModuleType) -> str:
    """The file of a module that is worth keeping; "" for one that is in the interpreter, or may read its own files."""
    top = name.partition(".")[0]
    if name in APART or top == "encodings" or not (top == "wherry" or top in sys.stdlib_module_names):
        return ""
    spec = getattr(module, "__spec__", None)  # typing.io of Python 3.11 is a class, and has none
    if not isinstance(getattr(spec, "loader", None), KeptModules | SourceFileLoader):
        return ""
    return str(module.__file__)


def _kept_before(path: str) -> dict[str, Entry]:
    before = KeptModules(path)
    try:
        return {
            name: (source, time_ns, size, os.pread(before.fd, length, before.base + offset))
            for name, (source, time_ns, size, offset, length) in before.index.items()
        }
    finally:
        if before.fd >= 0:
            os.close(before.fd)


def pack(entries: dict[str, Entry]) -> bytes:
    """The file's bytes."""
    index = {}
    at = 0
    for name, (source, time_ns, size, code) in entries.items():
        index[name] = (source, time_ns, size, at, len(code))
        at += len(code)
    head = dumps((sys.version, index))
    size_bytes = len(head).to_bytes(HEAD_BYTES, "little")
    return b"".join([size_bytes, head, *[code for _, _, _, code in entries.values()]])


def _make_folder(path: str) -> None:
    """Raises OSError unless it is ours alone."""
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        found = os.lstat(path)
        if found.st_uid != os.geteuid() or found.st_mode & 0o170022 != 0o040000:
            raise


def _compile(name: str, source: str) -> Entry:
    found = os.stat(source)
    with open(source, "rb") as file:
        tree = ast.parse(file.read())
    if name.startswith("wherry."):
        tree = ast.fix_missing_locations(_Lean().visit(tree))
    code = compile(tree, source, "exec", dont_inherit=True, optimize=2)
    return source, found.st_mtime_ns, found.st_size, dumps(without_columns(code))


class _Lean(ast.NodeTransformer):
    """Without what serves type checkers only: annotations of functions, and what is under TYPE_CHECKING."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        for argument in every:
            if argument is not None:
                argument.annotation = None
        return node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        typing = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return (node.orelse or ast.copy_location(ast.Pass(), node)) if typing else node


def without_columns(code: CodeType) -> CodeType:
    """The same code with line numbers only, a third of the size of its positions (Objects/locations.md)."""
    table = bytearray()
    previous = code.co_firstlineno
    for start, end, line in code.co_lines():
        units = (end - start) // 2
        while units > 0:
            count = min(units, 8)
            units -= count
            kind = 15 if line is None else 13
            table.append(0x80 | kind << 3 | count - 1)
            if line is not None:
                table += _signed(line - previous)
                previous = line
    constants = tuple([without_columns(c) if isinstance(c, type(code)) else c for c in code.co_consts])
    return code.replace(co_linetable=bytes(table), co_consts=constants)


def _signed(number: int) -> bytes:
    rest = (-number << 1) | 1 if number < 0 else number << 1
    data = bytearray()
    while rest >= 0x40:
        data.append(0x40 | rest & 0x3F)
        rest >>= 6
    data.append(rest)
    return bytes(data)


def _write(path: str, data: bytes) -> None:
    draft = f"{path}.{os.getpid()}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if os.write(fd, data) != len(data):
            raise OSError("short write")
    finally:
        os.close(fd)
    os.rename(draft, path)
