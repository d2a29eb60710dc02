from __future__ import annotations

import os

import pytest

from tests.unit.runtime.compiling import compiled, config
from wherry.runtime.compile.environment import read_inside


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "rootfs"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:r:/root:/bin/sh\nbad line\nme:x:1000:1000::/home/me:/bin/sh\n")
    return root


def home(root, uid=1000, mounts=()):
    document = config()
    document["root"]["path"] = str(root)
    document["process"]["env"] = ["A=b"]
    document["process"]["user"]["uid"] = uid
    document["mounts"] = list(mounts)
    env = compiled(document).one("INIT", "EXEC")["env"]
    (value,) = [item[5:] for item in env if item.startswith("HOME=")]
    return value


def test_home_is_looked_up(root):
    assert home(root) == "/home/me"
    assert home(root, uid=0) == "/root"
    assert home(root, uid=5) == "/"


def test_home_of_a_bound_file_counts(root, tmp_path):
    other = tmp_path / "passwd"
    other.write_text("you:x:1000:1000::/other:/bin/sh\n")
    bind = {"destination": "/etc/passwd", "type": "bind", "source": str(other)}
    assert home(root, mounts=[bind]) == "/other"
    assert home(root, mounts=[{"destination": "/etc", "type": "tmpfs", "source": "tmpfs"}]) == "/"


def test_an_empty_home_is_looked_up_too(root):
    document = config()
    document["root"]["path"] = str(root)
    document["process"]["env"] = ["HOME="]
    assert compiled(document).one("INIT", "EXEC")["env"] == ["HOME=/root"]


def test_links_stay_inside(root, tmp_path):
    (tmp_path / "secret").write_text("out")
    (root / "in").write_text("in")
    for name, target in (
        ("absolute", "/in"),
        ("climbing", "../../../../in"),
        ("double", "absolute"),
        ("etc/deep", "../in"),
    ):
        os.symlink(target, root / name)
        assert read_inside(str(root), name, 100) == b"in"
    os.symlink(str(tmp_path / "secret"), root / "outside")
    os.symlink("../secret", root / "above")
    assert read_inside(str(root), "outside", 100) == b""
    assert read_inside(str(root), "above", 100) == b""
    assert read_inside(str(root), "../secret", 100) == b""


def test_only_bounded_regular_files_are_read(root):
    os.symlink("loop", root / "loop")
    os.mkfifo(root / "fifo")
    for name in ("loop", "fifo", "etc", "missing", "etc/passwd/x", ""):
        assert read_inside(str(root), name, 100) == b""
    assert read_inside(str(root), "etc/passwd", 4) == b"root"
    assert read_inside("/nonexistent", "etc/passwd", 4) == b""
