from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import wherry

SOURCE = str(Path(wherry.__file__).parents[1])
SCRIPT = """
import sys
sys.path.append(sys.argv[1])
from wherry.runtime import main
print(main.load_modules(sys.argv[2]))
before = set(sys.modules)
from wherry.runtime import compile, launch
from wherry.oci import config
from wherry.runtime.default_config import default_config
from wherry.runtime.host import Host
from wherry.runtime.options import Options
document = default_config()
document["process"]["env"].append("HOME=/")
plan = compile.compile_container(document, Host.probe(), Options(id="x", bundle="/b", root="/r"))
print(len(plan.encode()))
print(*[name for name in sys.modules if name not in before and name.startswith("wherry")])
if len(sys.argv) > 3:
    from wherry.runtime.module_cache import save_modules
    save_modules(sys.argv[2])
"""


def python(*words):
    command = [sys.executable, "-I", "-S", "-E", "-c", SCRIPT, SOURCE, *map(str, words)]
    loaded, size, imported, *_ = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    return loaded == "True", int(size), imported.split()


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


def test_nobody_else_may_read_or_write_it(cache):
    assert cache.stat().st_mode & 0o777 == 0o600
    assert cache.parent.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o666)
    assert python(cache)[0] is False


@pytest.mark.parametrize("content", [b"", b"nonsense", b"N", b"(\x02\x00\x00\x00NN"])
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
    import marshal

    source = tmp_path / "module.py"
    source.write_text("x = 1\n")
    found = source.stat()
    code = compile("x = 1", str(source), "exec")
    path = tmp_path / "cache"
    entry = ("wherry.imagined", str(source), found.st_mtime_ns, found.st_size, code)
    path.write_bytes(marshal.dumps((sys.version, [entry])))
    path.chmod(0o600)
    assert python(path)[0] is True
    source.write_text("x = 12\n")
    assert python(path)[0] is False
    path.write_bytes(marshal.dumps(("another version", [])))
    assert python(path)[0] is False


def test_a_folder_of_someone_else_is_not_used(tmp_path):
    folder = tmp_path / "wherry/cache"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    python(folder / "run", "save")
    assert list(folder.iterdir()) == []


def test_lines_are_kept_when_columns_are_dropped():
    from wherry.runtime import compile_process
    from wherry.runtime.module_cache import without_columns

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
