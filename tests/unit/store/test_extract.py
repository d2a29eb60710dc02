"""Layers as they should not be: each trap on its own, in a directory of its own."""

import os
import stat
import subprocess

import pytest

from wherry import errors
from wherry.errors import WherryError
from wherry.store import ownership
from wherry.store.base import LayerTarget
from wherry.store.extract import Limits, extract, normalise

from .tarballs import CHARACTER, FIFO, archive, directory, entry, hardlink, header, pax, symlink, whiteout


def descriptors_below(path):
    """How many descriptors of this process lead to the directory or below it."""
    return sum(link.startswith(str(path)) for link in map(read_link, os.listdir("/proc/self/fd")))


def read_link(number):
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return ""


class Tree:
    """A directory that layers are applied to, and its neighbour, which must never change."""

    def __init__(self, path, *, flat, base):
        self.root = path / "root"
        self.outside = path / "outside"
        self.root.mkdir()
        self.outside.mkdir(mode=0o750)
        (self.outside / "victim").write_text("untouched")
        os.utime(self.outside, (1, 1))
        self.flat = flat
        self.base = base
        self.before = self._look_outside()

    def apply(self, *members, chunk=4096, limits=None, end=bytes(1024)):
        data = archive(*members, end=end)
        chosen = ownership.detect()
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        target = LayerTarget(fd, flat=self.flat, base=self.base, ownership=chosen, xattr_prefix=chosen.overlay_prefix)
        before = descriptors_below(self.root)
        try:
            return extract(target, (data[start : start + chunk] for start in range(0, len(data), chunk)), limits)
        finally:
            assert descriptors_below(self.root) == before, "a descriptor was left open"
            target.close()
            assert self._look_outside() == self.before, "something outside of the root was touched"

    def refuse(self, *members, code=errors.INVALID_ARGUMENT, **options):
        with pytest.raises(WherryError) as caught:
            self.apply(*members, **options)
        assert caught.value.code == code
        assert "\n" not in str(caught.value)
        return caught.value

    def mode(self, name):
        return stat.S_IMODE(os.lstat(self.root / name).st_mode)

    def is_whiteout(self, name):
        status = os.lstat(self.root / name)
        return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0

    def is_opaque(self, name):
        return "trusted.overlay.opaque" in os.listxattr(self.root / name)

    def names(self):
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))

    def _look_outside(self):
        victim = self.outside / "victim"
        return (
            os.stat(self.outside).st_mtime_ns,
            os.stat(self.outside).st_mode,
            os.listdir(self.outside),
            victim.read_text(),
            victim.stat().st_mode,
            victim.stat().st_uid,
            victim.stat().st_nlink,
        )


@pytest.fixture
def upper(tmp_path):
    """A layer above others, as overlayfs has them."""
    return Tree(tmp_path, flat=False, base=False)


@pytest.fixture
def lowest(tmp_path):
    """The lowest layer of an image."""
    return Tree(tmp_path, flat=False, base=True)


@pytest.fixture
def flat(tmp_path):
    """A whole tree that layers change."""
    return Tree(tmp_path, flat=True, base=False)


@pytest.fixture(params=[True, False], ids=["flat", "overlay"])
def tree(tmp_path, request):
    """Either form."""
    return Tree(tmp_path, flat=request.param, base=False)


# Metadata


def test_everything_an_entry_can_say(tree):
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    tree.apply(
        directory("d", 0o2750, uid=5, gid=6),
        entry("d/f", b"data", mode=0o4711, uid=1000, gid=1001),
        entry("d/cap", b"x", mode=0o755, uid=7, pax_records={b"SCHILY.xattr.security.capability": capability}),
        entry("d/attr", b"x", pax_records={b"SCHILY.xattr.user.note": b"\0hi", b"mtime": b"5.25"}),
        symlink("d/l", "f", uid=8, gid=9),
        entry("d/p", kind=FIFO, mode=0o622),
        entry("d/null", kind=CHARACTER, device=(1, 3), mode=0o666, uid=3, mtime=9),
        directory("e", 0o1777),
    )
    d = tree.root / "d"
    assert (tree.mode("d"), d.stat().st_uid, d.stat().st_gid) == (0o2750, 5, 6)
    file = (d / "f").stat()
    assert (tree.mode("d/f"), file.st_uid, file.st_gid, file.st_mtime) == (0o4711, 1000, 1001, 1_700_000_000)
    assert os.getxattr(d / "cap", "security.capability") == capability
    assert os.getxattr(d / "attr", "user.note") == b"\0hi"
    assert (d / "attr").stat().st_mtime_ns == 5_250_000_000
    link = os.lstat(d / "l")
    assert (os.readlink(d / "l"), link.st_uid, link.st_gid, link.st_mtime) == ("f", 8, 9, 1_700_000_000)
    assert stat.S_ISFIFO(os.lstat(d / "p").st_mode)
    assert tree.mode("d/p") == 0o622
    node = os.lstat(d / "null")
    assert (node.st_rdev, node.st_uid, node.st_mtime) == (os.makedev(1, 3), 3, 9)
    assert tree.mode("e") == 0o1777


def test_times_of_directories_come_last(tree):
    tree.apply(directory("a", mtime=100), directory("a/b", mtime=200), entry("a/b/f", b"x"), entry("a/g", b"y"))
    assert [int((tree.root / name).stat().st_mtime) for name in ("a", "a/b")] == [100, 200]


def test_a_read_only_directory_still_takes_its_files(tree):
    tree.apply(directory("a", 0o555), entry("a/f", b"x"), directory("a/b", 0), entry("a/b/g", b"y"))
    assert (tree.mode("a"), tree.mode("a/b")) == (0o555, 0)
    assert (tree.root / "a/b/g").read_bytes() == b"y"


def test_the_umask_does_not_show(tree):
    old = os.umask(0o077)
    try:
        tree.apply(directory("d", 0o775), entry("d/f", b"", mode=0o666), entry("implicit/f", b""))
    finally:
        os.umask(old)
    assert [tree.mode(name) for name in ("d", "d/f", "implicit")] == [0o775, 0o666, 0o755]


def test_a_setgid_directory_around_the_store_does_not_show(tree):
    os.chown(tree.root, -1, 50)
    tree.root.chmod(0o2755)
    tree.apply(directory("d"), entry("d/f", b"x"), symlink("d/l", "f"))
    assert [os.lstat(tree.root / name).st_gid for name in ("d", "d/f", "d/l")] == [0, 0, 0]
    assert tree.mode("d") == 0o755


def test_a_default_access_list_around_the_store_does_not_show(tree):
    subprocess.run(["setfattr", "-n", "system.posix_acl_default", "-v", ACL, tree.root], check=True)
    tree.apply(entry("f", b"x", mode=0o644))
    assert tree.mode("f") == 0o644


# user::rwx group::--- other::--- in the kernel's own form
ACL = "0x0200000001000700ffffffff04000000ffffffff20000000ffffffff"


def test_the_root_entry_describes_the_root(tree):
    tree.apply(directory("./", 0o700, uid=4, mtime=77), entry("./f", b"x"))
    status = tree.root.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, int(status.st_mtime)) == (0o700, 4, 77)


def test_names_that_are_not_text(tree):
    tree.apply(entry(b"\xff\xfe\n", b"x"), symlink(b"l\xff", b"\xff\xfe\n"), hardlink(b"h", b"\xff\xfe\n"))
    assert sorted(os.listdir(os.fsencode(tree.root))) == [b"h", b"l\xff", b"\xff\xfe\n"]


def test_xattrs_that_would_speak_to_overlayfs_are_escaped(upper):
    upper.apply(
        directory("d", pax_records={b"SCHILY.xattr.trusted.overlay.opaque": b"y"}),
        entry("f", b"", pax_records={b"SCHILY.xattr.trusted.overlay.redirect": b"/etc"}),
    )
    assert os.listxattr(upper.root / "d") == ["trusted.overlay.overlay.opaque"]
    assert os.listxattr(upper.root / "f") == ["trusted.overlay.overlay.redirect"]


def test_xattrs_of_the_host_are_left_out(tree):
    tree.apply(entry("f", b"", pax_records={b"SCHILY.xattr.security.selinux": b"x"}))
    assert "security.selinux" not in os.listxattr(tree.root / "f")


def test_xattrs_the_file_system_refuses_are_noted(tree):
    applied = tree.apply(symlink("l", "t", pax_records={b"SCHILY.xattr.user.a": b"b"}))
    assert "user.a" in applied.warnings[0]
    assert tree.names() == ["l"]


def test_a_sparse_file_keeps_its_holes(tree, tmp_path):
    path = tmp_path / "holes"
    with path.open("wb") as file:
        file.seek(8_000_000)
        file.write(b"end")
    made = subprocess.run(["tar", "-c", "-S", "-C", tmp_path, "holes"], capture_output=True, check=True).stdout
    tree.apply(made, end=b"")
    assert (tree.root / "holes").read_bytes() == path.read_bytes()
    assert (tree.root / "holes").stat().st_blocks < 1000


# Names that lead elsewhere


@pytest.mark.parametrize("name", ["../outside/new", "/../outside/new", "a/../../outside/new", "..", "a/b/../../../x"])
def test_names_above_the_root_are_refused(tree, name):
    error = tree.refuse(entry(name, b"x"))
    assert "leads out" in error.message
    assert tree.names() == []


def test_absolute_names_are_inside(tree):
    tree.apply(entry("/etc/passwd", b"ours"), directory("//d//e/./"), entry("d/../f", b"x"))
    assert tree.names() == ["d", "d/e", "etc", "etc/passwd", "f"]


def test_symlinks_are_resolved_inside(tree):
    outside = str(tree.outside)
    tree.apply(
        symlink("abs", outside),
        entry("abs/victim", b"changed"),
        symlink("up", "../../../../../outside"),
        directory("up/sub"),
        symlink("etc", "/usr/etc"),
        entry("etc/passwd", b"ours"),
    )
    assert (tree.root / outside.lstrip("/") / "victim").read_bytes() == b"changed"
    assert (tree.root / "outside/sub").is_dir()
    assert (tree.root / "usr/etc/passwd").read_bytes() == b"ours"


def test_a_file_replaces_a_symlink_and_does_not_follow_it(tree):
    tree.apply(symlink("f", str(tree.outside / "victim")), entry("f", b"ours", mode=0o777, uid=9))
    assert (tree.root / "f").read_bytes() == b"ours"
    assert not (tree.root / "f").is_symlink()


def test_a_directory_replaces_a_symlink_and_keeps_its_metadata_to_itself(tree):
    tree.apply(symlink("d", str(tree.outside)), directory("d", 0o777, uid=9, mtime=5))
    assert (tree.root / "d").is_dir()
    assert not (tree.root / "d").is_symlink()


def test_metadata_of_a_directory_that_became_a_symlink_goes_nowhere(tree):
    tree.apply(directory("d", 0o777, uid=9, mtime=5), symlink("d", str(tree.outside)))
    assert os.readlink(tree.root / "d") == str(tree.outside)


def test_metadata_of_a_directory_whose_parent_became_a_symlink_goes_nowhere(tree):
    (tree.outside / "inner").mkdir()
    os.utime(tree.outside, (1, 1))
    tree.before = tree._look_outside()
    tree.apply(directory("d"), directory("d/inner", 0o777, uid=9), symlink("d", str(tree.outside)))
    assert (tree.outside / "inner").stat().st_uid == 0
    assert stat.S_IMODE((tree.outside / "inner").stat().st_mode) != 0o777


@pytest.mark.parametrize(
    "member", [symlink(".", "/"), symlink("./", "/"), entry("/", b"x"), hardlink(".", "x"), entry(".", kind=FIFO)]
)
def test_the_root_cannot_be_replaced(tree, member):
    tree.refuse(member)
    assert tree.root.is_dir()


def test_a_loop_of_symlinks_ends(tree):
    tree.refuse(symlink("a", "b"), symlink("b", "a"), entry("a/f", b"x"))


def test_a_file_cannot_have_files_below_it(tree):
    error = tree.refuse(entry("f", b"x"), entry("f/g", b"y"))
    assert error.path == "f/g"


@pytest.mark.parametrize("name", ["n" * 256, "/".join(["d" * 250] * 20)])
def test_names_longer_than_the_kernel_takes(tree, name):
    tree.refuse(entry(name, b"x"))


def test_a_symlink_to_nothing_is_refused(tree):
    tree.refuse(symlink("l", ""))


# Hard links


def test_hard_links_inside_a_layer(tree):
    tree.apply(entry("a/f", b"x"), hardlink("g", "/a/f"), symlink("s", "a"), hardlink("h", "s/f"))
    assert os.stat(tree.root / "a/f").st_nlink == 3


def test_a_hard_link_to_a_symlink_is_a_link_to_the_link(tree):
    victim = str(tree.outside / "victim")
    tree.apply(symlink("s", victim), hardlink("h", "s", mode=0o777, uid=9))
    assert os.readlink(tree.root / "h") == victim


def test_a_hard_link_through_a_symlink_stays_inside(lowest):
    lowest.refuse(symlink("s", str(lowest.outside)), hardlink("h", "s/victim"))


@pytest.mark.parametrize("target", ["../outside/victim", "/../../outside/victim"])
def test_a_hard_link_above_the_root_is_refused(tree, target):
    tree.refuse(hardlink("h", target))


def test_a_hard_link_to_nothing(flat, tmp_path):
    flat.refuse(hardlink("h", "missing"))


def test_a_hard_link_to_a_lower_layer_is_left_for_later(upper):
    assert upper.apply(hardlink("d/h", "lower/f")).links == [(b"d/h", b"lower/f")]


def test_a_hard_link_to_a_directory_is_refused(tree):
    tree.refuse(directory("d"), hardlink("h", "d"))


def test_a_hard_link_to_itself_changes_nothing(tree):
    tree.apply(entry("f", b"x"), hardlink("f", "f"), hardlink("./f", "/f"))
    assert (tree.root / "f").read_bytes() == b"x"


def test_a_hard_link_replaces_what_is_there(tree):
    tree.apply(entry("f", b"x"), entry("g", b"old"), hardlink("g", "f"), directory("d"), hardlink("d", "f"))
    assert os.stat(tree.root / "f").st_nlink == 3
    tree.refuse(directory("e"), entry("e/f", b"x"), hardlink("e", "e/f"))


# The last entry of a name wins


def test_replacing(tree):
    tree.apply(
        entry("f", b"1"),
        entry("f", b"2"),
        directory("d"),
        entry("d/x", b"x"),
        entry("d", b"now a file"),
        entry("g", b"x"),
        directory("g"),
        entry("g/y", b"y"),
        entry("p", b"x"),
        entry("p", kind=FIFO),
        symlink("s", "1"),
        symlink("s", "2"),
    )
    assert tree.names() == ["d", "f", "g", "g/y", "p", "s"]
    assert (tree.root / "f").read_bytes() == b"2"
    assert (tree.root / "d").read_bytes() == b"now a file"
    assert os.readlink(tree.root / "s") == "2"


def test_a_directory_twice_keeps_its_files(tree):
    tree.apply(directory("d", 0o700), entry("d/x", b"x"), directory("d", 0o755))
    assert (tree.root / "d/x").read_bytes() == b"x"
    assert tree.mode("d") == 0o755


def test_more_open_directories_than_are_kept(tree):
    members = [entry(f"d{number}/sub/f", b"x") for number in range(200)]
    members += [hardlink(f"d{number}/sub/g", f"d{199 - number}/sub/f") for number in range(200)]
    tree.apply(*members)
    assert all(os.stat(tree.root / f"d{number}/sub/f").st_nlink == 2 for number in range(200))


# Whiteouts


def test_a_whiteout_is_a_device(upper):
    upper.apply(whiteout(".wh.gone"), whiteout("d/.wh.gone"))
    assert upper.is_whiteout("gone")
    assert upper.is_whiteout("d/gone")


@pytest.mark.parametrize("first", [True, False])
def test_a_file_of_the_same_layer_wins_over_its_whiteout(upper, first):
    members = [whiteout(".wh.f"), entry("f", b"new")]
    upper.apply(*(members if first else members[::-1]))
    assert (upper.root / "f").read_bytes() == b"new"


@pytest.mark.parametrize("first", [True, False])
def test_a_directory_of_the_same_layer_hides_what_was_below(upper, first):
    members = [whiteout(".wh.d"), directory("d"), entry("d/f", b"new")]
    upper.apply(*(members if first else [*members[1:], members[0]]))
    assert upper.is_opaque("d")
    assert (upper.root / "d/f").read_bytes() == b"new"


def test_a_directory_only_implied_after_its_whiteout_is_opaque(upper):
    upper.apply(whiteout(".wh.d"), entry("d/f", b"new"))
    assert upper.is_opaque("d")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_an_opaque_directory_has_no_whiteouts(upper, order):
    members = [entry("d/.wh..wh..opq"), whiteout("d/.wh.gone"), entry("d/f", b"x")]
    upper.apply(*(members[number] for number in order))
    assert upper.is_opaque("d")
    assert upper.names() == ["d", "d/f"]


def test_whiteouts_deep_in_an_opaque_directory(upper):
    upper.apply(entry("d/.wh..wh..opq"), directory("d/e"), whiteout("d/e/.wh.gone"))
    assert upper.names() == ["d", "d/e"]


def test_a_whiteout_below_a_whiteout_is_ignored(upper):
    upper.apply(whiteout(".wh.foo"), whiteout("foo/.wh.bar"))
    assert upper.names() == ["foo"]
    assert upper.is_whiteout("foo")


def test_an_opaque_root_is_left_for_later(upper):
    assert upper.apply(entry(".wh..wh..opq"), entry("f", b"x")).fresh_root


def test_the_lowest_layer_has_nothing_to_hide(lowest):
    lowest.apply(whiteout(".wh.x"), entry("d/.wh..wh..opq"), entry("d/f", b"x"))
    assert lowest.names() == ["d", "d/f"]


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh.", ".wh.d/f"])
def test_impossible_whiteouts_are_refused(tree, name):
    (tree.root / "d").mkdir()
    tree.refuse(entry(name))
    assert (tree.root / "d").is_dir()


def test_whiteouts_in_a_flat_tree_delete(flat):
    for name in ("gone", "kept"):
        (flat.root / name).write_text("old")
    (flat.root / "tree/deep").mkdir(parents=True)
    (flat.root / "tree/deep/f").write_text("old")
    flat.apply(whiteout(".wh.gone"), whiteout(".wh.tree"), whiteout("nowhere/.wh.x"), entry("new", b"x"))
    assert flat.names() == ["kept", "new"]


@pytest.mark.parametrize("first", [True, False])
def test_whiteouts_in_a_flat_tree_spare_what_the_layer_brings(flat, first):
    (flat.root / "d/old").mkdir(parents=True)
    (flat.root / "f").write_text("old")
    members = [whiteout(".wh.f"), whiteout(".wh.d"), entry("f", b"new"), entry("d/n", b"new")]
    flat.apply(*(members if first else members[::-1]))
    assert flat.names() == ["d", "d/n", "f"]


@pytest.mark.parametrize("first", [True, False])
def test_opaque_in_a_flat_tree(flat, first):
    (flat.root / "d/old").mkdir(parents=True)
    (flat.root / "d/e").mkdir()
    (flat.root / "d/e/old").write_text("old")
    members = [entry("d/.wh..wh..opq"), directory("d/e"), entry("d/e/new", b"x")]
    flat.apply(directory("d"), *(members if first else members[::-1]))
    assert flat.names() == ["d", "d/e", "d/e/new"]


def test_a_whiteout_does_not_follow(flat):
    (flat.root / "s").symlink_to(flat.outside)
    flat.apply(whiteout("s/.wh.victim"), whiteout(".wh.s"))
    assert flat.names() == []


def test_leavings_of_aufs(lowest):
    lowest.apply(
        entry(".wh..wh.aufs"),
        directory(".wh..wh.orph"),
        directory(".wh..wh.plnk", 0o700),
        entry(".wh..wh.plnk/1.2", b"shared"),
        hardlink("f", ".wh..wh.plnk/1.2"),
        hardlink("g", ".wh..wh.plnk/1.2"),
    )
    assert lowest.names() == ["f", "g"]
    assert (lowest.root / "f").stat().st_nlink == 2


def test_a_device_that_would_be_a_whiteout_is_skipped(upper):
    applied = upper.apply(entry("x", kind=CHARACTER, device=(0, 0)))
    assert upper.names() == []
    assert "0:0" in applied.warnings[0]


# Costs


def test_too_many_entries(tree):
    tree.refuse(*[directory(f"d{n}") for n in range(5)], code=errors.RESOURCE_EXHAUSTED, limits=Limits(entries=4))


def test_too_many_bytes(tree):
    tree.refuse(entry("f", b"x" * 9), code=errors.RESOURCE_EXHAUSTED, limits=Limits(size_bytes=8))


def test_free_space_is_left(tree):
    big = header(b"f", size=65 << 20)
    tree.refuse(big, code=errors.RESOURCE_EXHAUSTED, limits=Limits(reserve_bytes=1 << 60))


def test_an_extension_header_cannot_fill_the_memory(tree):
    tree.refuse(header(b"x", kind=b"x", size=1 << 30), code=errors.RESOURCE_EXHAUSTED)


def test_a_file_cut_short_names_itself(tree):
    error = tree.refuse(entry("f", size=1000, data=b"x"), end=b"")
    assert error.path == "f"


# Privileges


class Rootless(ownership.SingleId):
    """An ordinary user's rules, applied by whoever runs the test."""


def test_an_ordinary_user_gets_the_files_and_a_warning_for_devices(tmp_path):
    (tmp_path / "root").mkdir()
    fd = os.open(tmp_path / "root", os.O_RDONLY)
    target = LayerTarget(fd, flat=False, base=False, ownership=Rootless(), xattr_prefix=b"user.")
    data = archive(
        entry("f", b"x", uid=1234, gid=5678, mode=0o4755),
        symlink("l", "f", uid=99),
        entry("null", kind=CHARACTER, device=(1, 3)),
        entry("d/.wh..wh..opq"),
        entry("e", pax_records={b"SCHILY.xattr.user.overlay.opaque": b"y"}),
    )
    applied = extract(target, [data])
    target.close()
    assert (tmp_path / "root/f").stat().st_uid == os.geteuid()
    assert [warning.partition(":")[0] for warning in applied.warnings] == ["null"]
    assert os.getxattr(tmp_path / "root/d", "user.overlay.opaque") == b"y"
    assert os.listxattr(tmp_path / "root/e") == ["user.overlay.overlay.opaque"]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        (b"", b""),
        (b".", b""),
        (b"./", b""),
        (b"/", b""),
        (b"a/", b"a"),
        (b"./a/./b//c/../d", b"a/b/d"),
        (b"..a", b"..a"),
    ],
)
def test_normalise(name, plain):
    assert normalise(name) == plain


def test_pax_paths_are_checked_like_others(tree):
    tree.refuse(pax({b"path": b"../../outside/victim"}), header(b"innocent"))
