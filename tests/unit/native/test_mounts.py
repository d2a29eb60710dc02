"""Mounts of every kind, and where they may land."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wherry.plan import instructions as i

from .harness import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, make_rootfs

if TYPE_CHECKING:
    from .harness import Box

RDONLY, NOSUID, NOEXEC = 1, 2, 8


def fields(box: Box, target: str) -> tuple[str, list[str]]:
    """Type and options of the last mount on `target`."""
    box.mount("proc", "/proc")
    for line in reversed(box.output("cat /proc/self/mounts").splitlines()):
        words = line.split()
        if words[1] == target:
            return words[2], words[3].split(",")
    raise AssertionError(f"nothing on {target}")


def test_tmpfs_with_flags_and_data(box: Box) -> None:
    box.mount("tmpfs", "/data", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, "size=1m,mode=0710")
    kind, options = fields(box, "/data")
    assert kind == "tmpfs"
    assert {"ro", "nosuid", "nodev", "noexec", "size=1024k", "mode=710"} <= set(options)


def test_target_is_made_with_parents(box: Box) -> None:
    box.mount("tmpfs", "/a/b/c", mode=0o700)
    assert box.output("stat -c %a /a /a/b; stat -f -c %T /a/b/c") == "755\n755\ntmpfs\n"
    assert oct((box.rootfs / "a/b/c").stat().st_mode)[-3:] == "700"


def test_tmpfs_keeps_the_mode_of_its_target(box: Box) -> None:
    (box.rootfs / "data").chmod(0o1777)
    box.mount("tmpfs", "/data", how=i.MOUNT_KEEP_MODE)
    assert box.output("stat -c %a /data") == "1777\n"


def test_stated_mode_wins(box: Box) -> None:
    (box.rootfs / "data").chmod(0o1777)
    box.mount("tmpfs", "/data", data="mode=0750", how=i.MOUNT_KEEP_MODE)
    assert box.output("stat -c %a /data") == "750\n"


def test_copy_up(box: Box) -> None:
    data = box.rootfs / "data"
    (data / "sub").mkdir(mode=0o750)
    (data / "sub/file").write_text("x" * 100000)
    (data / "sub/file").chmod(0o4755)
    os.chown(data / "sub/file", 7, 8)
    (data / "sub/file").chmod(0o4755)
    os.utime(data / "sub/file", (1000, 2000))
    (data / "link").symlink_to("sub/file")
    os.mkfifo(data / "fifo", 0o600)
    box.mount("tmpfs", "/data", how=i.MOUNT_COPY_UP)
    out = box.output(
        "cd /data; stat -c '%n %a %u %g %s %Y' sub sub/file fifo; readlink link; echo new > added; wc -c < link"
    )
    assert "sub/file 4755 7 8 100000 2000\n" in out
    assert out.startswith("sub 750 0 0 ")
    assert "fifo 600 0 0 0 " in out
    assert out.endswith("sub/file\n100000\n")
    assert not (data / "added").exists()


def test_proc_needs_a_real_directory(box: Box) -> None:
    (box.rootfs / "proc").rmdir()
    (box.rootfs / "proc").symlink_to("data")
    box.mount("proc", "/proc", how=i.MOUNT_REAL_DIRECTORY)
    result = box.run()
    assert result.status == 1
    assert 'filesystem "proc" must be mounted on ordinary directory' in result.stderr


def test_unknown_file_system(box: Box) -> None:
    box.mount("nosuchfs", "/data")
    result = box.run()
    assert result.stderr == "mounts[0]: mount nosuchfs on /data: No such device\n"
    assert not box.state.exists()


def test_refused_option_is_told_in_the_kernel_s_words(box: Box) -> None:
    box.mount("tmpfs", "/data", data="size=nonsense")
    result = box.run()
    assert result.stderr.startswith("mounts[0]: mount tmpfs on /data (")
    assert "size" in result.stderr


def test_quoted_commas_are_no_separators(box: Box) -> None:
    box.mount("tmpfs", "/data", data='size="64k",mode=0700')
    assert "size=64k" in fields(box, "/data")[1]


def test_bind_directory_and_file(box: Box) -> None:
    source = box.place / "source"
    source.mkdir()
    (source / "file").write_text("content")
    box.bind(str(source), "/data/here")
    box.bind(str(source / "file"), "/etc/deep/er/file")
    assert box.output("cat /data/here/file /etc/deep/er/file") == "contentcontent"


def test_recursive_bind(box: Box) -> None:
    box.bind("/sys/fs/cgroup", "/data", recursive=True)
    assert "memory" in box.output("ls /data; ls /data/memory")


def test_missing_source(box: Box) -> None:
    box.bind("/no/such/source", "/data")
    assert box.run().stderr == ("mounts[0]: open the mount's source /no/such/source: No such file or directory\n")


def test_tree_attributes(box: Box) -> None:
    box.mounts += [
        ("TREE", 9, i.NONE, "/sys/fs/cgroup", i.TREE_RECURSIVE),
        ("TREE_ATTR", 9, RDONLY | NOSUID, 0, 0, i.NONE, i.ATTR_RECURSIVE),
        ("TREE_ATTR", 9, NOEXEC, 0, 0, i.NONE, 0),
        ("ATTACH", 9, "/data", i.KIND_LIKE_SOURCE, 0),
    ]
    box.mount("proc", "/proc")
    lines = [line.split() for line in box.output("grep /data /proc/self/mounts").splitlines()]
    assert len(lines) > 3
    assert all({"ro", "nosuid"} <= set(line[3].split(",")) for line in lines)
    assert [line[1] for line in lines if "noexec" in line[3].split(",")] == ["/data"]


def test_attr_of_what_is_mounted(box: Box) -> None:
    box.mount("tmpfs", "/data")
    box.mounts.append(("ATTR", "/data", RDONLY, 0, 0))
    assert "ro" in fields(box, "/data")[1]


def test_read_only_root_after_pivot(box: Box) -> None:
    box.mount("tmpfs", "/tmp")
    box.inside.append(("ATTR", "/", RDONLY, 0, 0))
    assert box.output("touch /x 2>&1 || touch /tmp/x && echo made") == ("touch: /x: Read-only file system\nmade\n")


def test_mount_over_the_root(box: Box) -> None:
    bin_copy = box.place / "bin"
    shutil.copytree(box.rootfs / "bin", bin_copy, symlinks=True)
    box.mount("tmpfs", "/")
    box.bind(str(bin_copy), "/bin")
    box.mounts.append(("MKDIR", i.ROOT, "/only/here", 0o755, -1, -1))
    assert box.output("ls /") == "bin\nonly\n"
    assert not (box.rootfs / "only").exists()


def test_bind_over_the_root(box: Box) -> None:
    other = box.place / "other"
    make_rootfs(other)
    (other / "marker").touch()
    box.bind(str(other), "/")
    box.mounts.append(("MKDIR", i.ROOT, "/made", 0o755, -1, -1))
    assert "marker" in box.output("ls /")
    assert (other / "made").is_dir()


@pytest.mark.parametrize("link", ["../../../../../../../../tmp", "/tmp", "/proc/self/root/tmp"])
def test_links_stay_inside(box: Box, link: str) -> None:
    """CVE-2021-30465, CVE-2024-45310: neither the mount nor a made directory lands on the host."""
    (box.rootfs / "evil").symlink_to(link)
    name = f"wherry-test-{os.getpid()}"
    box.mount("tmpfs", f"/evil/{name}")
    box.mounts.append(("MKDIR", i.ROOT, f"/evil/{name}-dir", 0o755, -1, -1))
    box.run()
    assert not Path(f"/tmp/{name}").exists()
    assert not Path(f"/tmp/{name}-dir").exists()


def test_dangling_link_is_made_inside(box: Box) -> None:
    (box.rootfs / "var").mkdir()
    (box.rootfs / "var/run").symlink_to("/run")
    box.mount("tmpfs", "/var/run/deep")
    assert box.output("test -d /run/deep && readlink /var/run") == "/run\n"
    assert (box.rootfs / "run/deep").is_dir()


def test_loop_of_links(box: Box) -> None:
    (box.rootfs / "one").symlink_to("two")
    (box.rootfs / "two").symlink_to("one")
    box.mount("tmpfs", "/one/x")
    assert "symbolic link" in box.run().stderr.lower()


def test_nofollow_and_copied_link(box: Box) -> None:
    source = box.place / "link"
    source.symlink_to("/bin/busybox")
    box.mounts += [
        ("TREE", 9, i.NONE, str(source), i.TREE_NOFOLLOW),
        ("ATTACH", 9, "/etc/copied", i.KIND_LIKE_SOURCE, i.ATTACH_COPY_SYMLINK),
    ]
    assert box.output("readlink /etc/copied") == "/bin/busybox\n"


def test_attach_on_a_link_itself(box: Box) -> None:
    (box.rootfs / "etc/file").write_text("target")
    (box.rootfs / "etc/link").symlink_to("file")
    source = box.place / "file"
    source.write_text("source")
    box.bind(str(source), "/etc/link", flags=i.ATTACH_NOFOLLOW)
    assert box.output("cat /etc/file /etc/link") == "targetsource"


def test_propagation_reaches_and_not(box: Box) -> None:
    box.mount("tmpfs", "/data")
    box.mounts.append(("PROPAGATE", "/data", 1 << 20))
    box.mount("proc", "/proc")
    line = box.output("grep ' /data ' /proc/self/mountinfo")
    assert " shared:" in line


def test_cgroup_v1_hierarchy(box: Box) -> None:
    box.mount("tmpfs", "/sys", data="mode=755")
    box.mount("cgroup", "/sys/memory", data="memory")
    box.mount("cgroup", "/sys/systemd", data="none,name=systemd")
    assert "cgroup.procs" in box.output("ls /sys/memory /sys/systemd")


def test_overlay_with_long_data(box: Box) -> None:
    """Values that fsconfig does not take go through mount(2)."""
    lowers = []
    for number in range(8):
        lower = box.place / ("layer-with-a-quite-long-name-" * 2 + str(number))
        lower.mkdir()
        (lower / f"from{number}").touch()
        lowers.append(str(lower))
    for name in ("upper", "work"):
        (box.place / name).mkdir()
    data = f"lowerdir={':'.join(lowers)},upperdir={box.place}/upper,workdir={box.place}/work"
    box.mount("overlay", "/data", data=data)
    assert box.output("ls /data; echo > /data/new").split() == [f"from{number}" for number in range(8)]
    assert (box.place / "upper/new").exists()


def test_rootfs_mount(box: Box) -> None:
    place = box.place
    for name in ("upper", "work", "merged"):
        (place / name).mkdir()
    data = f"lowerdir={box.rootfs.name},upperdir=upper,workdir=work"
    options = [f"lowerdir+={box.rootfs}", f"upperdir={place}/upper", f"workdir={place}/work"]
    step = ("ROOTFS_MOUNT", "overlay", str(place / "merged"), options, data, str(place))
    box.early += [("PROPAGATION", "/", (1 << 19) | (1 << 14)), step]
    box.rootfs = place / "merged"
    assert box.output("echo x > /made; ls /") == "bin\ndata\ndev\netc\nmade\nproc\nsys\ntmp\n"
    assert (place / "upper/made").exists()
    assert list((place / "merged").iterdir()) == []


def test_may_bind(box: Box) -> None:
    """A procfs that this user namespace may not mount is bound from the host instead."""
    box.mount("sysfs", "/sys", MS_RDONLY, how=i.MOUNT_MAY_BIND | i.MOUNT_REAL_DIRECTORY, source="/sys")
    assert "kernel" in box.output("ls /sys")


def test_pivot_move(box: Box) -> None:
    box.pivot = i.PIVOT_MOVE
    box.mount("proc", "/proc")
    assert box.output("ls / | wc -l; grep -c . /proc/self/mounts").startswith("7\n")


def test_chroot(box: Box) -> None:
    box.pivot = i.PIVOT_CHROOT
    assert box.output("ls / | wc -l") == "7\n"
