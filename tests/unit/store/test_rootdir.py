import errno
import os
import subprocess

import pytest

from wherry.store import rootdir


@pytest.fixture(params=["openat2", "walk"])
def open_inside(request):
    """Both ways must agree."""
    if request.param == "openat2":
        return rootdir.open_inside
    return lambda fd, path: rootdir.walk(fd, path, follow=True)


@pytest.fixture(params=["openat2", "walk"])
def open_straight(request):
    if request.param == "openat2":
        return rootdir.open_straight
    return lambda fd, path: rootdir.walk(fd, path, follow=False)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "root/etc").mkdir()
    (tmp_path / "outside").mkdir()
    for name, target in {
        "up": "../../../a",
        "abs": "/a",
        "abs-outside": str(tmp_path / "outside"),
        "a/back": "..",
        "loop": "loop",
        "chain": "a/back/abs/b",
        "file-link": "file",
    }.items():
        (tmp_path / "root" / name).symlink_to(target)
    (tmp_path / "root/file").write_text("x")
    fd = os.open(tmp_path / "root", os.O_RDONLY)
    yield fd
    os.close(fd)


def where(fd, opened):
    try:
        base = os.readlink(f"/proc/self/fd/{fd}")
        return os.readlink(f"/proc/self/fd/{opened}").removeprefix(base) or "/"
    finally:
        os.close(opened)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"", "/"),
        (b".", "/"),
        (b"a/b", "/a/b"),
        (b"up/b", "/a/b"),
        (b"abs/b", "/a/b"),
        (b"a/back/etc", "/etc"),
        (b"chain", "/a/b"),
        (b"../../..", "/"),
        (b"a/../../etc", "/etc"),
    ],
)
def test_symlinks_stay_inside(root, open_inside, path, expected):
    assert where(root, open_inside(root, path)) == expected


@pytest.mark.parametrize(
    ("path", "number"),
    [
        (b"missing", errno.ENOENT),
        (b"abs-outside", errno.ENOENT),
        (b"loop", errno.ELOOP),
        (b"file", errno.ENOTDIR),
        (b"file/x", errno.ENOTDIR),
        (b"file-link", errno.ENOTDIR),
    ],
)
def test_what_is_not_there(root, open_inside, path, number):
    with pytest.raises(OSError) as caught:
        open_inside(root, path)
    assert caught.value.errno == number


@pytest.mark.parametrize("path", [b"up", b"abs/b", b"abs-outside", b"loop"])
def test_straight_means_without_symlinks(root, open_straight, path):
    assert where(root, open_straight(root, b"a/b")) == "/a/b"
    with pytest.raises(OSError) as caught:
        open_straight(root, path)
    assert caught.value.errno == errno.ELOOP


def test_remove_tree_does_not_follow(tmp_path):
    (tmp_path / "t/d").mkdir(parents=True)
    (tmp_path / "keep").write_text("x")
    (tmp_path / "t/d/link").symlink_to(tmp_path)
    (tmp_path / "t/file").write_text("x")
    rootdir.remove_tree(str(tmp_path / "t"))
    assert os.listdir(tmp_path) == ["keep"]
    rootdir.remove_tree(str(tmp_path / "t"))
    rootdir.remove_tree(str(tmp_path / "no/such"))


def test_remove_tree_copes_with_depth(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    os.mkdir("deep", dir_fd=fd)
    inner = os.open("deep", os.O_RDONLY, dir_fd=fd)
    for _ in range(500):
        os.mkdir("d" * 50, dir_fd=inner)
        below = os.open("d" * 50, os.O_RDONLY, dir_fd=inner)
        os.close(inner)
        inner = below
    os.close(inner)
    rootdir.remove_tree("deep", fd)
    assert os.listdir(fd) == []
    os.close(fd)


def test_remove_tree_does_not_enter_mounts(tmp_path):
    (tmp_path / "t/m").mkdir(parents=True)
    (tmp_path / "host").mkdir()
    (tmp_path / "host/data").write_text("x")
    script = (
        f"mount --bind {tmp_path}/host {tmp_path}/t/m && "
        f'python3 -c \'import sys; sys.path.insert(0, "src"); from wherry.store import rootdir\n'
        f'try: rootdir.remove_tree("{tmp_path}/t")\n'
        f"except OSError as error: print(error.errno)'"
    )
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(errno.EBUSY)
    assert (tmp_path / "host/data").read_text() == "x"


def test_allocated_counts_hard_links_once(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_bytes(b"x" * 100_000)
    os.link(tmp_path / "d/f", tmp_path / "g")
    fd = os.open(tmp_path, os.O_RDONLY)
    size, inodes = rootdir.allocated(fd)
    os.close(fd)
    assert inodes == 2
    assert 100_000 <= size < 150_000
