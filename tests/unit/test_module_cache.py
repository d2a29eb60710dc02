from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import wherry
from wherry.module_cache import pack
from wherry.start import KeptModules

SOURCE = str(Path(wherry.__file__).parents[1])
SCRIPT = """
import sys
sys.path.append(sys.argv[1])
from wherry.start import KeptModules
kept = KeptModules(sys.argv[2], together=sys.argv[3] == "together")
sys.meta_path.insert(0, kept)
kept.load_bundle()
from wherry.runtime import launch
from wherry.runtime.compile import container as compile
from wherry.oci import config
from wherry.runtime.default_config import default_config
from wherry.runtime.host import Host
from wherry.runtime.options import Options
document = default_config()
document["process"]["env"].append("HOME=/")
plan = compile.compile_container(document, Host.probe(), Options(id="x", bundle="/b", root="/r"))
print(len(plan.encode()))
print(*[name for name in kept.missed])
if sys.argv[4] == "save":
    from wherry.start import keep_modules
    keep_modules()
"""


def python(path, *, together=False, save=False):
    """Compile a plan in a new interpreter: did all modules come from the file; the plan's size; those that did not."""
    words = [SOURCE, str(path), "together" if together else "", "save" if save else ""]
    command = [sys.executable, "-I", "-S", "-E", "-c", SCRIPT, *words]
    size, imported, *_ = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    return not imported, int(size), imported.split()


@pytest.fixture(params=[False, True], ids=["apart", "together"])
def together(request):
    return request.param


@pytest.fixture
def cache(tmp_path, together):
    path = tmp_path / "wherry/cache/run"
    assert python(path, together=together, save=True)[0] is False
    return path


def test_modules_are_loaded_from_one_file(cache, together):
    loaded, size, imported = python(cache, together=together)
    assert loaded
    assert imported == []
    assert size == python("/nonexistent", together=together)[1]


def test_nobody_else_may_read_or_write_it(cache, together):
    assert cache.stat().st_mode & 0o777 == 0o600
    assert cache.parent.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o666)
    assert python(cache, together=together)[0] is False


@pytest.mark.parametrize("content", [b"", b"nonsense", b"N", b"\x07" + bytes(7) + b"(\x02\x00\x00\x00NN"])
def test_a_damaged_file_means_the_ordinary_import(cache, content, together):
    cache.write_bytes(content)
    loaded, size, imported = python(cache, together=together)
    assert (loaded, bool(imported)) == (False, True)
    assert size


def test_a_link_is_not_followed(cache, tmp_path, together):
    os.rename(cache, tmp_path / "real")
    cache.symlink_to(tmp_path / "real")
    assert python(cache, together=together)[0] is False


def imagined(path):
    sys.modules.pop("wherry.imagined", None)
    kept = KeptModules(str(path))
    kept.load_bundle()
    if "wherry.imagined" in sys.modules:
        return sys.modules["wherry.imagined"]
    spec = kept.find_spec("wherry.imagined", [])
    if spec is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_source_that_changed_is_imported_anew(tmp_path, together):
    source = tmp_path / "module.py"
    source.write_text("x = 1\n")
    found = source.stat()
    code = compile("x = 1", str(source), "exec")
    path = tmp_path / "cache"
    modules = {"wherry.imagined": ((str(source), found.st_mtime_ns, found.st_size), code)}
    path.write_bytes(pack({}, modules) if not together else pack(modules, {}))
    path.chmod(0o600)
    try:
        assert imagined(path).x == 1
        source.write_text("x = 12\n")
        assert imagined(path) is None
    finally:
        sys.modules.pop("wherry.imagined", None)


def test_a_file_of_another_interpreter_is_not_used(cache, together):
    data = cache.read_bytes()
    cache.write_bytes(data.replace(sys.version[:6].encode(), b"9.9.99"[: len(sys.version[:6])], 1))
    assert python(cache, together=together)[0] is False


def test_modules_used_later_join_those_of_before(cache, together):
    before = KeptModules(str(cache)).index
    code = """
import sys
sys.path.append(sys.argv[1])
from wherry.start import KeptModules, keep_modules
kept = KeptModules(sys.argv[2], together=bool(sys.argv[3]))
sys.meta_path.insert(0, kept)
kept.load_bundle()
import wherry.oci.reference
keep_modules()
"""
    words = [SOURCE, str(cache), "x" if together else ""]
    subprocess.run([sys.executable, "-ISE", "-c", code, *words], check=True)
    after = KeptModules(str(cache)).index
    assert after["wherry.oci.reference"][3] >= 0
    assert {name: entry[3] < 0 for name, entry in before.items()}.items() <= {
        name: entry[3] < 0 for name, entry in after.items()
    }.items()
    assert python(cache, together=together)[0]


def test_the_order_of_a_bundle_suits_every_module(cache, together):
    names = [name for name, entry in KeptModules(str(cache)).index.items() if entry[3] < 0]
    assert bool(names) == together
    for name in names:
        parent = name.rpartition(".")[0]
        assert parent in ("", "wherry") or names.index(parent) < names.index(name)


def test_a_folder_of_someone_else_is_not_used(tmp_path):
    folder = tmp_path / "wherry/cache"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    python(folder / "run", save=True)
    assert list(folder.iterdir()) == []


def test_lines_are_kept_when_columns_are_dropped():
    from wherry.module_cache import without_columns
    from wherry.runtime.compile import process as compile_process

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
