"""Keep the compiled code of the modules that a hot verb loaded, for `main.load_modules`.

Every page that is read and every object made costs at each start, so the code is kept as lean as can be.
"""

from __future__ import annotations

import ast
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
        tree = _Lean().visit(ast.parse(file.read()))
    code = compile(ast.fix_missing_locations(tree), source, "exec", dont_inherit=True, optimize=2)
    return source, found.st_mtime_ns, found.st_size, without_columns(code)


class _Lean(ast.NodeTransformer):
    """Without what serves type checkers only: annotations, and imports under TYPE_CHECKING."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        for argument in every:
            if argument is not None:
                argument.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        plain = ast.Pass() if node.value is None else ast.Assign([node.target], node.value)
        return ast.copy_location(plain, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return ast.copy_location(ast.Pass(), node) if node.module == "__future__" else node

    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        typing = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return ast.copy_location(ast.Pass(), node) if typing else node


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
