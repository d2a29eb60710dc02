from __future__ import annotations

import marshal
import os
import subprocess
import sys
from pathlib import Path

import pytest

import wherry
from wherry.module_cache import pack, save_modules
from wherry.start import KeptModules

SOURCE = str(Path(wherry.__file__).parents[1])
SCRIPT = """
import sys
sys.path.append(sys.argv[1])
from wherry.start import KeptModules
kept = KeptModules(sys.argv[2])
sys.meta_path.insert(0, kept)
from wherry.runtime import compile, launch
from wherry.oci import config
from wherry.runtime.default_config import default_config
from wherry.runtime.host import Host
from wherry.runtime.options import Options
document = default_config()
document["process"]["env"].append("HOME=/")
plan = compile.compile_container(document, Host.probe(), Options(id="x", bundle="/b", root="/r"))
print(len(plan.encode()))
loaders = {name: type(module.__spec__.loader) for name, module in sys.modules.items() if name.startswith("wherry.")}
print(*[name for name, loader in loaders.items() if loader is not KeptModules and name != "wherry.start"])
print(kept.missed)
if len(sys.argv) > 3:
    from wherry.module_cache import save_modules
    save_modules(sys.argv[2])
"""


def python(*words):
    command = [sys.executable, "-I", "-S", "-E", "-c", SCRIPT, SOURCE, *map(str, words)]
    size, imported, missed, *_ = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    assert (missed == "True") == bool(imported)
    return not imported, int(size), imported.split()


@pytest.fixture
def cache(tmp_path):
    path = tmp_path / "wherry/cache/run"
    assert python(path, "save")[0] is False
    return path


def test_modules_are_loaded_from_one_file(cache):
    loaded, size, imported = python(cache)
    assert loaded
    assert imported == []
    assert size == python("/nonexistent")[1]


def test_what_is_no_module_among_the_modules_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "typing.io", type("io", (), {}))  # as `import typing` does in Python 3.11
    save_modules(str(tmp_path / "wherry/cache/run"))
    assert (tmp_path / "wherry/cache/run").exists()


def test_nobody_else_may_read_or_write_it(cache):
    assert cache.stat().st_mode & 0o777 == 0o600
    assert cache.parent.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o666)
    assert python(cache)[0] is False


@pytest.mark.parametrize("content", [b"", b"nonsense", b"N", b"\x07" + bytes(7) + b"(\x02\x00\x00\x00NN"])
def test_a_damaged_file_means_the_ordinary_import(cache, content):
    cache.write_bytes(content)
    loaded, size, imported = python(cache)
    assert (loaded, bool(imported)) == (False, True)
    assert size


def test_a_link_is_not_followed(cache, tmp_path):
    os.rename(cache, tmp_path / "real")
    cache.symlink_to(tmp_path / "real")
    assert python(cache)[0] is False


def test_a_source_that_changed_is_imported_anew(tmp_path):
    source = tmp_path / "module.py"
    source.write_text("x = 1\n")
    found = source.stat()
    code = marshal.dumps(compile("x = 1", str(source), "exec"))
    path = tmp_path / "cache"
    path.write_bytes(pack({"wherry.imagined": (str(source), found.st_mtime_ns, found.st_size, code)}))
    path.chmod(0o600)
    assert KeptModules(str(path)).find_spec("wherry.imagined") is not None
    source.write_text("x = 12\n")
    assert KeptModules(str(path)).find_spec("wherry.imagined") is None


def test_a_file_of_another_interpreter_is_not_used(cache):
    data = cache.read_bytes()
    cache.write_bytes(data.replace(sys.version[:6].encode(), b"9.9.99"[: len(sys.version[:6])], 1))
    assert python(cache)[0] is False


def test_modules_used_later_join_those_of_before(cache):
    before = KeptModules(str(cache)).index
    code = "import sys; sys.path.append(sys.argv[1]); import wherry.oci.reference; from wherry.module_cache import *; "
    subprocess.run([sys.executable, "-ISE", "-c", code + "save_modules(sys.argv[2])", SOURCE, str(cache)], check=True)
    assert set(KeptModules(str(cache)).index) >= {"wherry.oci.reference", *before}


def test_a_folder_of_someone_else_is_not_used(tmp_path):
    folder = tmp_path / "wherry/cache"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    python(folder / "run", "save")
    assert list(folder.iterdir()) == []


def test_lines_are_kept_when_columns_are_dropped():
    from wherry.module_cache import without_columns
    from wherry.runtime import compile_process

    def codes(code):
        yield code
        for constant in code.co_consts:
            if isinstance(constant, type(code)):
                yield from codes(constant)

    source = Path(compile_process.__file__).read_text()
    before = compile(source, "x", "exec")
    after = without_columns(before)
    for one, other in zip(codes(before), codes(after), strict=True):
        lines = [dict.fromkeys(range(start, end, 2), line) for start, end, line in one.co_lines()]
        expected = {at: line for part in lines for at, line in part.items()}
        found = {at: line for start, end, line in other.co_lines() for at in range(start, end, 2)}
        assert found == expected
