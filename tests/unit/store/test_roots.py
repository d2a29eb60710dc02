import subprocess
import sys

import pytest

from wherry import errors
from wherry.errors import WherryError
from wherry.store import Store, layout
from wherry.store.base import MOUNT_DATA_LIMIT_BYTES, ContainerRoot, Mount


def test_default_root(monkeypatch):
    assert layout.default_root({"WHERRY_ROOT": "/x"}) == "/x"
    assert layout.default_root({"WHERRY_ROOT": "x"}).endswith("/x")
    assert layout.default_root({}) == "/var/lib/wherry"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert layout.default_root({"XDG_DATA_HOME": "/d", "HOME": "/h"}) == "/d/wherry"
    assert layout.default_root({"XDG_DATA_HOME": "relative", "HOME": "/h"}) == "/h/.local/share/wherry"
    with pytest.raises(WherryError):
        layout.default_root({})


def test_the_root_is_for_its_owner_alone(tmp_path):
    Store.open(str(tmp_path / "root")).close()
    assert (tmp_path / "root").stat().st_mode & 0o777 == 0o700


def test_the_driver_is_remembered(tmp_path):
    root = str(tmp_path / "root")
    with Store.open(root, driver="copy") as store:
        assert store.snapshotter.name == "copy"
    with Store.open(root) as store:
        assert store.snapshotter.name == "copy"
    with pytest.raises(WherryError) as caught:
        Store.open(root, driver="overlay")
    assert caught.value.code == errors.FAILED_PRECONDITION
    with pytest.raises(WherryError):
        Store.open(str(tmp_path / "other"), driver="zfs")


def test_many_layers_need_relative_options():
    few = ContainerRoot(base="/r", directory="/r/c", upperdir="/r/c/diff", lowerdirs=["/r/l/1"], workdir="/r/c/work")
    assert few.mounts == (Mount("overlay", "overlay", ("lowerdir=/r/l/1", "upperdir=/r/c/diff", "workdir=/r/c/work")),)
    assert not few.needs_relative()
    base = "/home/somebody/.local/share/wherry"
    many = ContainerRoot(
        base=base,
        directory=f"{base}/containers/c",
        upperdir=f"{base}/containers/c/diff",
        lowerdirs=[f"{base}/l/{number}" for number in range(400)],
        workdir=f"{base}/containers/c/work",
        options=("userxattr",),
    )
    assert many.needs_relative()
    options = many.overlay_options(relative=True)
    assert len(",".join(options)) <= MOUNT_DATA_LIMIT_BYTES
    assert options[0].startswith("lowerdir=l/0:l/1:")
    assert options[3] == "userxattr"


def test_values_are_frozen():
    with pytest.raises(AttributeError):
        Mount("bind", "/x").source = "/y"
    assert {Mount("bind", "/x"), Mount("bind", "/x")} == {Mount("bind", "/x")}


HEAVY = {"json", "urllib3", "ssl", "isal", "zstandard", "hashlib", "dataclasses", "typing", "tarfile", "ctypes", "re"}


def test_finding_an_image_loads_nothing_heavy(tmp_path):
    Store.open(str(tmp_path)).close()
    script = (
        "import sys; sys.path.insert(0, 'src')\n"
        "from wherry.store import Store\n"
        f"store = Store.open({str(tmp_path)!r})\n"
        "store.images.list(); store.snapshots.create('c', ''); store.snapshots.get('c')\n"
        "print(*sorted(name for name in sys.modules if '.' not in name))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-E", "-c", script], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())
