"""mounts: every option, in order, inside the root directory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..bundle import Bundle
from ..runtimes import Container
from .inside import mounts_of

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = "wherry-runtime"


@pytest.fixture
def source(place: Path) -> Path:
    """A host directory to bind."""
    path = place / "source"
    path.mkdir()
    (path / "file").write_text("content\n")
    return path


@pytest.fixture
def mounted(place: Path) -> Iterator[Path]:
    """A host directory that is a tmpfs mount, with a second one at "inner"."""
    path = place / "mounted"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "relatime", "outer", path], check=True)
    try:
        (path / "inner").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "relatime", "inner", path / "inner"], check=True)
        yield path
    finally:
        subprocess.run(["umount", "-R", path], check=True)


# Options of a single mount: the option, and what must or must not stand in mountinfo.
SINGLE = [
    ("ro", {"ro"}, {"rw"}),
    ("rw", {"rw"}, {"ro"}),
    ("nosuid", {"nosuid"}, set()),
    ("suid", set(), {"nosuid"}),
    ("nodev", {"nodev"}, set()),
    ("dev", set(), {"nodev"}),
    ("noexec", {"noexec"}, set()),
    ("exec", set(), {"noexec"}),
    ("noatime", {"noatime"}, {"relatime"}),
    ("atime", {"relatime"}, {"noatime"}),
    ("nodiratime", {"nodiratime"}, set()),
    ("diratime", set(), {"nodiratime"}),
    ("relatime", {"relatime"}, {"noatime"}),
    ("norelatime", set(), {"noatime"}),
    ("strictatime", set(), {"noatime", "relatime"}),
    ("nostrictatime", set(), {"noatime"}),
    ("defaults", {"rw"}, {"nosuid", "nodev", "noexec"}),
]


@pytest.mark.parametrize(("option", "there", "absent"), SINGLE, ids=[row[0] for row in SINGLE])
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_option(container, source: Path, kind: str, option: str, there: set[str], absent: set[str], only) -> None:
    only(OURS, "crun", *([] if option == "defaults" else ["runc"]))
    if kind == "tmpfs":
        container.bundle.mount("/target", "tmpfs", "tmpfs", option)
    else:
        container.bundle.mount("/target", "none", str(source), "bind", option)
    options = mounts_of(container)["/target"].options
    assert there <= options
    assert not absent & options


@pytest.mark.parametrize(("option", "shown"), [("sync", "sync"), ("dirsync", "dirsync")])
def test_option_of_the_file_system(container: Container, option: str, shown: str) -> None:
    container.bundle.mount("/target", "tmpfs", "tmpfs", option)
    assert shown in mounts_of(container)["/target"].data


def test_no_symbolic_links(container: Container, only) -> None:
    only(OURS)
    container.bundle.mount("/target", "tmpfs", "tmpfs", "nosymfollow")
    container.bundle.shell("ln -s /etc/passwd /target/link; cat /target/link 2>/dev/null || echo refused")
    assert container.output() == "refused\n"


@pytest.mark.parametrize(
    "option", ["async", "nomand", "mand", "iversion", "noiversion", "loud", "silent", "lazytime", "nolazytime"]
)
def test_options_without_a_trace_are_known(container: Container, option: str, only) -> None:
    peers = {"async": ["runc", "crun"], "mand": ["runc", "crun"], "nomand": ["runc", "crun"]}
    only(OURS, *(["runc"] if "iversion" in option else peers.get(option, [])))
    container.bundle.mount("/target", "tmpfs", "tmpfs", option)
    assert "/target" in mounts_of(container)


def test_unknown_options_go_to_the_file_system(container: Container) -> None:
    container.bundle.mount("/target", "tmpfs", "tmpfs", "nosuid", "size=64k", "mode=711", "uid=7", "nr_inodes=99")
    data = mounts_of(container)["/target"].data
    assert {"size=64k", "mode=711", "uid=7", "nr_inodes=99"} <= data


def test_a_file_systems_own_refusal_is_an_error(container: Container) -> None:
    container.bundle.mount("/target", "tmpfs", "tmpfs", "nonsense=1")
    assert container.run(check=False).status == 1
    assert not container.exists


def test_mounts_without_options(container: Container, only) -> None:
    only(OURS, "runc")
    container.bundle.mounts.append({"destination": "/target", "type": "tmpfs", "source": "tmpfs"})
    assert mounts_of(container)["/target"].kind == "tmpfs"


# Binds


@pytest.mark.parametrize("kind", ["bind", "none", "", None])
def test_bind_whatever_the_type(container: Container, source: Path, kind: str | None, only) -> None:
    only(OURS, "crun", *(["runc"] if kind != "" else []))
    container.bundle.mount("/target", kind or "", str(source), "rbind")
    if kind is None:
        del container.bundle.mounts[-1]["type"]
    assert container.output("cat /target/file") == "content\n"


def test_type_bind_needs_no_option(container: Container, source: Path, only) -> None:
    only(OURS)
    container.bundle.mount("/target", "bind", str(source))
    assert container.output("cat /target/file") == "content\n"


def test_bind_of_a_file(container: Container, source: Path) -> None:
    container.bundle.mount("/new/folder/name", "bind", str(source / "file"), "bind", "ro")
    assert container.output("cat /new/folder/name; echo x 2>/dev/null >/new/folder/name || echo ro") == "content\nro\n"


def test_bind_of_a_relative_source(container: Container, source: Path, only) -> None:
    """Relative to the bundle."""
    only(OURS, "runc")
    container.bundle.mount("/target", "bind", os.path.relpath(source, container.bundle.path), "bind")
    assert container.output("cat /target/file") == "content\n"


def test_bind_over_a_file(container: Container, source: Path) -> None:
    container.bundle.mount("/etc/passwd", "bind", str(source / "file"), "bind")
    assert container.output("cat /etc/passwd") == "content\n"
    assert "root" in (container.bundle.rootfs / "etc/passwd").read_text()


def test_bind_of_a_device(container: Container) -> None:
    container.bundle.mount("/dev/named", "bind", "/dev/zero", "bind")
    assert container.output("stat -c %t:%T /dev/named") == "1:5\n"


def test_bind_of_a_socket(container: Container, place: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "socket"))
        container.bundle.mount("/run/socket", "bind", str(place / "socket"), "bind")
        assert container.output("test -S /run/socket && echo yes") == "yes\n"


def test_writes_through_a_bind_reach_the_host(container: Container, source: Path) -> None:
    container.bundle.mount("/target", "bind", str(source), "bind")
    container.output("echo new >/target/made")
    assert (source / "made").read_text() == "new\n"


def test_read_only_bind_leaves_the_source_writable(container: Container, source: Path) -> None:
    container.bundle.mount("/target", "bind", str(source), "bind", "ro")
    assert container.output("touch /target/x 2>/dev/null || echo refused") == "refused\n"
    (source / "y").touch()


def test_bind_keeps_the_sources_flags(container: Container, mounted: Path, only) -> None:
    only(OURS, "runc")
    subprocess.run(["mount", "-o", "remount,bind,nosuid,noexec", mounted], check=True)
    container.bundle.mount("/target", "bind", str(mounted), "bind")
    assert {"nosuid", "noexec"} <= mounts_of(container)["/target"].options


def test_bind_takes_one_mount_and_rbind_all(container: Container, mounted: Path) -> None:
    container.bundle.mount("/one", "bind", str(mounted), "bind")
    container.bundle.mount("/all", "bind", str(mounted), "rbind")
    mounts = mounts_of(container)
    assert "/one/inner" not in mounts
    assert "/all/inner" in mounts


def test_a_missing_source_is_named(container: Container, place: Path) -> None:
    container.bundle.mount("/target", "bind", str(place / "missing"), "bind")
    result = container.create(check=False)
    assert result.status == 1
    assert "missing" in result.stderr
    assert not container.exists


RECURSIVE = [
    ("rro", "ro", True),
    ("rrw", "ro", False),
    ("rnosuid", "nosuid", True),
    ("rsuid", "nosuid", False),
    ("rnodev", "nodev", True),
    ("rdev", "nodev", False),
    ("rnoexec", "noexec", True),
    ("rexec", "noexec", False),
    ("rnoatime", "noatime", True),
    ("ratime", "noatime", False),
    ("rnodiratime", "nodiratime", True),
    ("rdiratime", "nodiratime", False),
    ("rrelatime", "relatime", True),
    ("rstrictatime", "relatime", False),
    ("rnosymfollow", "nosymfollow", True),
    ("rsymfollow", "nosymfollow", False),
]


@pytest.mark.parametrize(("option", "shown", "there"), RECURSIVE, ids=[row[0] for row in RECURSIVE])
def test_recursive_option(container: Container, mounted: Path, option: str, shown: str, there: bool, only) -> None:
    newer = "symfollow" in option or "atime" in option or option == "rrw"
    only(OURS, *([] if newer else ["runc", "crun"]))
    if not there:
        for path in (mounted / "inner", mounted):
            subprocess.run(["mount", "-o", f"remount,bind,{shown}", path], check=True)
    container.bundle.mount("/target", "bind", str(mounted), "rbind", option)
    mounts = mounts_of(container)
    for path in ("/target", "/target/inner"):
        assert (shown in mounts[path].options) == there, path


def test_only_the_top_of_rbind_gets_plain_options(container: Container, mounted: Path) -> None:
    container.bundle.mount("/target", "bind", str(mounted), "rbind", "ro", "nosuid")
    mounts = mounts_of(container)
    assert {"ro", "nosuid"} <= mounts["/target"].options
    assert not {"ro", "nosuid"} & mounts["/target/inner"].options


@pytest.mark.parametrize(
    ("option", "top", "inner"),
    [
        ("private", (), ("shared",)),
        ("rprivate", (), ()),
        ("slave", ("master",), ("shared",)),
        ("rslave", ("master",), ("master",)),
        ("shared", ("shared",), ("shared",)),
        ("rshared", ("shared",), ("shared",)),
        ("unbindable", ("unbindable",), ("shared",)),
        ("runbindable", ("unbindable",), ("unbindable",)),
    ],
)
def test_propagation(container: Container, mounted: Path, option: str, top: tuple, inner: tuple, only) -> None:
    only(OURS, "runc")  # our wrapper for crun hides shared mounts
    container.bundle.linux["rootfsPropagation"] = "shared"  # else every mount of the host arrives as a slave
    for path in (mounted, mounted / "inner"):
        subprocess.run(["mount", "--make-shared", path], check=True)
    container.bundle.mount("/target", "bind", str(mounted), "rbind", option)
    mounts = mounts_of(container)
    assert mounts["/target"].propagation == top
    assert mounts["/target/inner"].propagation == inner


def test_what_the_host_mounts_later_arrives_at_a_slave(container: Container, mounted: Path, only) -> None:
    only(OURS, "runc")
    subprocess.run(["mount", "--make-shared", mounted], check=True)
    (mounted / "late").mkdir()
    container.bundle.mount("/target", "bind", str(mounted), "rbind", "rslave").args("sleep", "1000")
    container.create()
    container.start()
    subprocess.run(["mount", "-t", "tmpfs", "late", mounted / "late"], check=True)
    assert " /target/late " in container.exec("cat", "/proc/self/mountinfo").stdout


def test_mounts_of_the_container_stay_inside(container: Container, mounted: Path, only) -> None:
    only(OURS, "runc")
    subprocess.run(["mount", "--make-shared", mounted], check=True)
    container.bundle.mount("/target", "bind", str(mounted), "rbind", "rslave")
    container.bundle.mount("/target/sub", "tmpfs", "tmpfs")
    container.bundle.args("sleep", "1000")
    container.create()
    assert f" {mounted}/sub " not in Path("/proc/self/mountinfo").read_text()


# tmpfs


def test_copy_up(container: Container, only) -> None:
    only(OURS, "crun")  # runc 1.1 needs a directory of the host's /tmp that its own mounts hide here
    etc = container.bundle.rootfs / "etc"
    (etc / "sub").mkdir(mode=0o750)
    (etc / "sub/deep").write_text("deep")
    (etc / "sub/link").symlink_to("deep")
    os.chown(etc / "sub/deep", 12, 34)
    container.bundle.mount("/etc", "tmpfs", "tmpfs", "tmpcopyup")
    container.bundle.shell("stat -c '%a %u:%g' /etc/sub /etc/sub/deep; readlink /etc/sub/link; touch /etc/new; id -un")
    assert container.output() == "750 0:0\n644 12:34\ndeep\nroot\n"
    assert not (etc / "new").exists()


def test_a_tmpfs_without_a_mode_keeps_that_of_its_target(container: Container, only) -> None:
    only(OURS, "runc")
    (container.bundle.rootfs / "target").mkdir()
    (container.bundle.rootfs / "target").chmod(0o1750)
    container.bundle.mount("/target", "tmpfs", "tmpfs")
    assert container.output("stat -c %a /target") == "1750\n"


# Id-mapped mounts


def id_mapped(bundle: Bundle, source: Path, option: str = "idmap", **more: object) -> None:
    bundle.mount("/target", "bind", str(source), "rbind", option, **more)
    bundle.shell("stat -c %u:%g /target/file")


def test_id_mapped_mount(container: Container, mounted: Path, only) -> None:
    only(OURS)
    (mounted / "file").touch()
    maps = [{"containerID": 0, "hostID": 1000, "size": 100}]
    id_mapped(container.bundle, mounted, uidMappings=maps, gidMappings=maps)
    assert container.output() == "1000:1000\n"


def test_mappings_alone_make_an_id_mapped_mount(container: Container, mounted: Path, only) -> None:
    only(OURS)
    (mounted / "file").touch()
    container.bundle.mount(
        "/target",
        "bind",
        str(mounted),
        "bind",
        uidMappings=[{"containerID": 0, "hostID": 1000, "size": 100}],
        gidMappings=[{"containerID": 0, "hostID": 2000, "size": 100}],
    )
    assert container.output("stat -c %u:%g /target/file") == "1000:2000\n"


def test_the_containers_own_maps_are_the_default(container: Container, mounted: Path, only) -> None:
    only(OURS)
    (mounted / "file").touch()
    container.bundle.map_root()
    id_mapped(container.bundle, mounted)
    assert container.output() == "0:0\n"


@pytest.mark.parametrize(("option", "inner"), [("idmap", "0:0"), ("ridmap", "1000:1000")])
def test_recursive_id_mapping(container: Container, mounted: Path, option: str, inner: str, only) -> None:
    only(OURS)
    (mounted / "inner/file").touch()
    maps = [{"containerID": 0, "hostID": 1000, "size": 100}]
    id_mapped(container.bundle, mounted, option, uidMappings=maps, gidMappings=maps)
    assert container.output("stat -c %u:%g /target/inner/file") == f"{inner}\n"


def test_id_mapped_tmpfs_of_the_container(container: Container, mounted: Path, only) -> None:
    only(OURS)
    (mounted / "file").touch()
    (mounted / "free").mkdir(mode=0o777)
    (mounted / "free").chmod(0o777)
    maps = [{"containerID": 0, "hostID": 1000, "size": 100}]
    container.bundle.process["user"] = {"uid": 1007, "gid": 1007}
    id_mapped(container.bundle, mounted, uidMappings=maps, gidMappings=maps)
    container.output("touch /target/free/made")
    assert (mounted / "free/made").stat().st_uid == 7


def test_id_mapping_without_any_map_is_an_error(container: Container, mounted: Path, only) -> None:
    only(OURS)
    id_mapped(container.bundle, mounted)
    result = container.run(check=False)
    assert result.status == 1
    assert "mounts[6]" in result.stderr


def test_crun_style_id_mapping(container: Container, mounted: Path, only) -> None:
    only(OURS)
    (mounted / "file").touch()
    id_mapped(container.bundle, mounted, "idmap=uids=0-1000-10;gids=0-2000-10")
    assert container.output() == "1000:2000\n"


# Order and targets


def test_mounts_are_made_in_order(container: Container, source: Path) -> None:
    container.bundle.mount("/a", "tmpfs", "tmpfs", "mode=700")
    container.bundle.mount("/a/b", "bind", str(source), "bind")
    container.bundle.mount("/a/b/c", "tmpfs", "tmpfs")
    container.bundle.mount("/over", "tmpfs", "first")
    container.bundle.mount("/over", "tmpfs", "second")
    mounts = mounts_of(container)
    assert {"/a", "/a/b", "/a/b/c"} <= set(mounts)
    assert mounts["/over"].source == "second"


def test_a_later_mount_hides_an_earlier_one_below_it(container: Container, source: Path) -> None:
    container.bundle.mount("/a/b", "bind", str(source), "bind")
    container.bundle.mount("/a", "tmpfs", "tmpfs")
    assert container.output("ls /a") == ""


def test_targets_are_made_for_everybody(container: Container, only) -> None:
    only(OURS, "runc")  # crun 1.8 sets the sticky bit
    container.bundle.mount("/new/deep/target", "tmpfs", "tmpfs")
    assert container.output("stat -c %a:%u /new /new/deep") == "755:0\n755:0\n"


def test_links_in_a_destination_stay_in_the_container(container: Container, source: Path, place: Path) -> None:
    inside = container.bundle.rootfs
    (inside / "absolute").symlink_to("/tmp")
    (inside / "upward").symlink_to("../../../../../../var")
    (inside / "tmp/x").mkdir()
    container.bundle.mount("/absolute/x", "bind", str(source), "bind")
    container.bundle.mount("/upward/y", "bind", str(source), "bind")
    container.bundle.mount("/bin/../../../etc/z", "bind", str(source), "bind")
    container.bundle.shell("cat /tmp/x/file /var/y/file /etc/z/file")
    assert container.output() == "content\n" * 3
    assert not Path("/var/y").exists()
    assert not Path("/etc/z").exists()


def test_a_destination_that_is_a_link_to_the_host(container: Container, source: Path, place: Path) -> None:
    """The link's text is read inside the container; nothing is made or mounted at that place of the host."""
    (place / "outside").mkdir()
    (container.bundle.rootfs / "link").symlink_to(place / "outside")
    container.bundle.mount("/link", "bind", str(source), "bind").shell("cat /link/file")
    container.run(check=False)
    assert list((place / "outside").iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_source_of_another_kind_than_the_target(container: Container, source: Path, kind: str) -> None:
    container.bundle.mount(
        *(("/tmp", "bind", f"{source}/file") if kind == "file" else ("/etc/passwd", "bind", f"{source}")), "bind"
    )
    assert container.create(check=False).status == 1
    assert not container.exists


def test_the_whole_dev_of_the_host(container: Container, only) -> None:
    only(OURS, "runc")
    container.bundle.config["mounts"] = [
        mount for mount in container.bundle.mounts if not mount["destination"].startswith("/dev")
    ]
    container.bundle.mount("/dev", "bind", "/dev", "rbind")
    before = sorted(os.listdir("/dev"))
    assert container.output("stat -c %t:%T /dev/null") == "1:3\n"
    assert sorted(os.listdir("/dev")) == before


# Kinds


def test_kinds_of_every_day(container: Container) -> None:
    mounts = mounts_of(container)
    expected = {
        "/proc": "proc",
        "/dev": "tmpfs",
        "/dev/pts": "devpts",
        "/dev/shm": "tmpfs",
        "/dev/mqueue": "mqueue",
        "/sys": "sysfs",
    }
    assert {path: mounts[path].kind for path in expected} == expected
    assert {"nosuid", "noexec", "nodev", "ro"} <= mounts["/sys"].options
    assert {"gid=5", "mode=620", "ptmxmode=666"} <= mounts["/dev/pts"].data
    assert mounts["/"].root.endswith("/rootfs")


def test_proc_shows_only_the_container(container: Container) -> None:
    container.bundle.shell("ls -d /proc/[0-9]*")
    assert len(container.output().split()) <= 2


def test_proc_with_its_own_options(container: Container, only) -> None:
    only(OURS, "crun")
    container.bundle.mounts[0]["options"] = ["hidepid=2", "nosuid", "noexec", "nodev"]
    options = mounts_of(container)["/proc"]
    assert {"nosuid", "noexec", "nodev"} <= options.options
    assert {"hidepid=invisible"} & options.data


def test_control_groups(container: Container) -> None:
    """Version 1: a tmpfs with every hierarchy the host has, each showing the container's own group."""
    container.bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "ro")
    container.bundle.shell("cat /sys/fs/cgroup/pids/cgroup.procs; cat /proc/self/mountinfo")
    lines = container.output().splitlines()
    assert lines[0] == "1"
    points = [line.split() for line in lines if " /sys/fs/cgroup/" in line]
    names = {fields[4].rpartition("/")[2] for fields in points}
    assert {"pids", "memory", "cpu", "devices"} <= names
    assert all("ro" in fields[5].split(",") for fields in points)


def test_control_groups_in_a_namespace_of_their_own(container: Container) -> None:
    container.bundle.namespace("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "ro")
    container.bundle.shell("cat /proc/self/cgroup; cat /sys/fs/cgroup/pids/cgroup.procs; cat /proc/self/mountinfo")
    lines = container.output().splitlines()
    assert "1" in lines
    own = [line for line in lines if "mountinfo" not in line and line.count(":") == 2 and ":pids:" in line]
    assert own[0].endswith(":/")
    pids = next(line.split() for line in lines if " /sys/fs/cgroup/pids " in line)
    assert pids[3] == "/"


def test_writable_control_groups(container: Container) -> None:
    container.bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "rw")
    container.bundle.shell("mkdir /sys/fs/cgroup/pids/sub && echo made; rmdir /sys/fs/cgroup/pids/sub")
    assert container.output() == "made\n"


def test_mount_label_without_a_policy(container: Container, only) -> None:
    """Without SELinux at work a label means nothing, as podman and CRI-O expect."""
    only(OURS, "crun")
    assert not Path("/sys/fs/selinux/enforce").exists(), "this test expects a kernel without an SELinux policy"
    container.bundle.linux["mountLabel"] = "system_u:object_r:container_file_t:s0:c1,c2"
    assert mounts_of(container)["/dev"].kind == "tmpfs"


# The root


def test_read_only_root(container: Container) -> None:
    container.bundle.config["root"]["readonly"] = True
    container.bundle.mount("/tmp", "tmpfs", "tmpfs").mount("/new/target", "tmpfs", "tmpfs")
    container.bundle.shell("touch /x 2>/dev/null || echo refused; touch /tmp/x && touch /new/target/x && echo ok")
    assert container.output() == "refused\nok\n"


def test_writable_root(container: Container) -> None:
    container.output("echo inside >/made")
    assert (container.bundle.rootfs / "made").read_text() == "inside\n"


def test_the_hosts_root_is_gone(container: Container) -> None:
    mounts = mounts_of(container)
    host = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    extra = {path for path in mounts if path in host and path not in ("/", "/proc", "/dev", "/sys")}
    assert extra <= {"/dev/pts", "/dev/shm", "/dev/mqueue"}


def test_absolute_root_path(container: Container) -> None:
    container.bundle.config["root"]["path"] = str(container.bundle.rootfs)
    assert container.output("echo here") == "here\n"


def test_root_behind_a_link(container: Container, only) -> None:
    only(OURS, "crun")
    (container.bundle.path / "link").symlink_to("rootfs")
    container.bundle.config["root"]["path"] = "link"
    assert container.output("echo here") == "here\n"


def test_without_pivot(container: Container) -> None:
    container.bundle.shell("ls /bin/busybox; ls /work 2>/dev/null")
    result = container.run("--no-pivot", check=False)
    assert result.stdout == "/bin/busybox\n"


# Extensions of crun


def test_a_copied_link(container: Container, source: Path, only) -> None:
    only(OURS)
    (source / "link").symlink_to("file")
    container.bundle.mount("/target/link", "bind", str(source / "link"), "bind", "copy-symlink")
    assert container.output("readlink /target/link") == "file\n"


def test_a_source_that_is_not_followed(container: Container, source: Path, only) -> None:
    only(OURS)
    (source / "link").symlink_to("/etc/shadow")
    container.bundle.mount("/target", "bind", str(source / "link"), "bind", "src-nofollow")
    result = container.run(check=False)
    assert "root:" not in result.stdout
