"""Keep the compiled code of the modules that a hot verb used, for `start.KeptModules`.

The file: the size of the index (8 bytes, little endian), the index (marshal of format and interpreter's version, the
size of the bundle, and the entries), the bundle (marshal of a list of code), and the code of other modules (marshal),
one after another; the offsets count from the end of the index. Every page that is read and every object made costs
at each start, so the code is kept as lean as can be.
"""

from __future__ import annotations

import ast
import os
import sys
from marshal import dumps, loads

from .start import FORMAT, HEAD_BYTES, KeptModules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType

    Source = tuple[str, int, int]
    Modules = dict[str, tuple[Source, CodeType]]


def save_modules(kept: KeptModules, missed: Sequence[str]) -> None:
    """Write what was missed, and what was in the file already. A failure is silent: the file only saves time."""
    try:
        new = {name: _compile(name, str(sys.modules[name].__file__)) for name in missed}
        bundle, others = _read(kept)
        if kept.together and not bundle:
            bundle = new
        else:
            others.update({name: entry for name, entry in new.items() if name not in bundle})
        _make_folder(os.path.dirname(kept.path))
        _write(kept.path, pack(bundle, others))
    except (OSError, SyntaxError, ValueError, KeyError):
        pass


def _read(kept: KeptModules) -> tuple[Modules, Modules]:
    """The bundle and the other modules of the file."""
    sources = {name: entry[:3] for name, entry in kept.index.items()}
    names = [name for name, entry in kept.index.items() if entry[3] < 0]
    codes = loads(os.pread(kept.fd, kept.bundle_bytes, kept.base)) if names else []
    bundle = {name: (sources[name], code) for name, code in zip(names, codes, strict=True)}
    others = {
        name: (sources[name], loads(os.pread(kept.fd, length, kept.base + offset)))
        for name, (_, _, _, offset, length) in kept.index.items()
        if offset >= 0
    }
    return bundle, others


def pack(bundle: Modules, others: Modules) -> bytes:
    """The file's bytes."""
    together = dumps([code for _, code in bundle.values()]) if bundle else b""
    index = {name: (*source, -1, 0) for name, (source, _) in bundle.items()}
    parts = [together]
    at = len(together)
    for name, (source, code) in others.items():
        parts.append(dumps(code))
        index[name] = (*source, at, len(parts[-1]))
        at += len(parts[-1])
    head = dumps((f"{FORMAT} {sys.version}", len(together), index))
    return b"".join([len(head).to_bytes(HEAD_BYTES, "little"), head, *parts])


def _make_folder(path: str) -> None:
    """Raises OSError unless it is ours alone."""
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        found = os.lstat(path)
        if found.st_uid != os.geteuid() or found.st_mode & 0o170022 != 0o040000:
            raise


def _compile(name: str, source: str) -> tuple[Source, CodeType]:
    found = os.stat(source)
    with open(source, "rb") as file:
        tree = ast.parse(file.read())
    if name.startswith("wherry."):
        tree = ast.fix_missing_locations(_Lean().visit(tree))
    code = compile(tree, source, "exec", dont_inherit=True, optimize=2)
    return (source, found.st_mtime_ns, found.st_size), without_columns(code)


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
        os.rename(draft, path)
    except OSError:
        os.unlink(draft)
        raise
    finally:
        os.close(fd)
