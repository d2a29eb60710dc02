"""MASK, READONLY, MKNOD and writes to procfs, with hostile images (CVE-2025-31133, -52881, CVE-2026-41579)."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.plan import instructions as i

from .harness import MS_REC

if TYPE_CHECKING:
    from .harness import Box


def test_mask_file_directory_and_missing(box: Box) -> None:
    (box.rootfs / "etc/secret").write_text("secret")
    (box.rootfs / "data/secret").write_text("secret")
    box.mounts += [("MASK", "/etc/secret"), ("MASK", "/data"), ("MASK", "/tmp"), ("MASK", "/no/such")]
    out = box.output("cat /etc/secret; ls /data /tmp; stat -c %t:%T /etc/secret; touch /data/x 2>&1 || true")
    assert out == "/data:\n\n/tmp:\n1:3\ntouch: /data/x: Read-only file system\n"


def test_masked_proc(box: Box) -> None:
    box.mount("proc", "/proc")
    box.mounts += [("MASK", "/proc/uptime"), ("MASK", "/proc/fs"), ("READONLY", "/proc/sys")]
    out = box.output("wc -c < /proc/uptime; ls /proc/fs | wc -l; touch /proc/sys/x 2>/dev/null || echo no")
    assert out == "0\n0\nno\n"


def test_mask_after_pivot_refuses_a_false_null(box: Box) -> None:
    """Once inside, /dev/null is the image's: it must be the real device."""
    (box.rootfs / "etc/secret").write_text("secret")
    (box.rootfs / "dev/null").write_text("not null")
    box.inside.append(("MASK", "/etc/secret"))
    result = box.run()
    assert result.status == 1
    assert "/dev/null" in result.stderr


def test_readonly(box: Box) -> None:
    box.mounts += [("READONLY", "/data"), ("READONLY", "/nothing/there")]
    assert "Read-only file system" in box.output("touch /data/x 2>&1; true")


def test_readonly_keeps_other_flags(box: Box) -> None:
    box.mount("tmpfs", "/data", 2 | 4 | 8)
    box.mounts.append(("READONLY", "/data"))
    box.mount("proc", "/proc")
    options = box.output("grep ' /data ' /proc/self/mounts | tail -n1").split()[3].split(",")
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(options)


def test_devices(box: Box) -> None:
    box.mounts += [
        ("MKNOD", i.ROOT, "/dev/null", stat.S_IFCHR | 0o666, 1, 3, -1, -1),
        ("MKNOD", i.ROOT, "/dev/deep/owned", stat.S_IFCHR | 0o640, 1, 5, 5, 6),
        ("MKNOD", i.ROOT, "/dev/null", stat.S_IFCHR | 0o666, 1, 3, -1, -1),
        ("FIFO", i.ROOT, "/dev/fifo", 0o622, 1, 2),
        ("SYMLINK", i.ROOT, "/dev/fd", "/proc/self/fd"),
        ("SYMLINK", i.ROOT, "/dev/fd", "/proc/self/fd"),
        ("CHOWN", i.ROOT, "/dev/fd", 3, 4),
    ]
    out = box.output("cd /dev; stat -c '%n %F %a %u %g %t:%T' null deep/owned fifo fd; echo x > null")
    assert out.splitlines() == [
        "null character special file 666 0 0 1:3",
        "deep/owned character special file 640 5 6 1:5",
        "fifo fifo 622 1 2 0:0",
        "fd symbolic link 777 3 4 0:0",
    ]


def test_mode_is_exact(box: Box) -> None:
    box.mounts.append(("MKNOD", i.ROOT, "/dev/all", stat.S_IFCHR | 0o777, 1, 3, -1, -1))
    assert box.output("stat -c %a /dev/all") == "777\n"


def test_existing_device_must_match(box: Box) -> None:
    (box.rootfs / "dev/null").write_text("file")
    box.mounts.append(("MKNOD", i.ROOT, "/dev/null", stat.S_IFCHR | 0o666, 1, 3, -1, -1))
    result = box.run()
    assert result.stderr == "mounts[0]: make device /dev/null: a file that is not this device exists there\n"


def test_dev_link_does_not_reach_the_host(box: Box) -> None:
    """CVE-2026-41579: an image whose /dev is a link to a directory of the host."""
    outside = box.place / "outside"
    outside.mkdir()
    (box.rootfs / "dev").rmdir()
    (box.rootfs / "dev").symlink_to(outside)
    box.mounts += [
        ("MKNOD", i.ROOT, "/dev/node", stat.S_IFCHR | 0o666, 1, 3, -1, -1),
        ("SYMLINK", i.ROOT, "/dev/link", "x"),
        ("WRITE", i.ROOT, "/dev/file", b"x", i.WRITE_CREATE),
        ("FIFO", i.ROOT, "/dev/fifo", 0o600, -1, -1),
    ]
    assert box.run().status == 0
    assert list(outside.iterdir()) == []
    inside = box.rootfs / str(outside).lstrip("/")
    assert sorted(os.listdir(inside)) == ["fifo", "file", "link", "node"]


def test_write_does_not_follow_the_last_link(box: Box) -> None:
    outside = box.place / "outside"
    (box.rootfs / "etc/hostname").symlink_to(outside)
    box.mounts.append(("WRITE", i.ROOT, "/etc/hostname", b"x", i.WRITE_CREATE))
    assert box.run().status == 1
    assert not outside.exists()


def test_sysctl(box: Box) -> None:
    box.mounts.append(("SYSCTL", "net/ipv4/ip_forward", "1"))
    box.mount("proc", "/proc")
    assert box.output("cat /proc/sys/net/ipv4/ip_forward") == "1\n"


def test_sysctl_ignores_what_the_image_mounts_on_proc(box: Box) -> None:
    """CVE-2025-52881: writes go through the private procfs, whatever stands on the container's /proc."""
    fake = box.place / "fake"
    (fake / "sys/net/ipv4").mkdir(parents=True)
    (fake / "sys/net/ipv4/ip_forward").write_text("0")
    box.bind(str(fake), "/proc")
    box.mounts.append(("SYSCTL", "net/ipv4/ip_forward", "1"))
    box.inside += [("PROPAGATE", "/", (1 << 18) | MS_REC), ("SYSCTL", "net/ipv4/ip_forward", "1")]
    assert box.run().status == 0
    assert (fake / "sys/net/ipv4/ip_forward").read_text() == "0"


def test_refused_sysctl(box: Box) -> None:
    box.mounts.append(("SYSCTL", "net/ipv4/nothing", "1"))
    assert box.run().stderr == ('mounts[0]: write "1" to /proc/sys/net/ipv4/nothing: No such file or directory\n')


def test_label_goes_to_procfs(box: Box) -> None:
    """No LSM here: the kernel's own refusal proves that the write arrived."""
    box.mounts.append(("LSM", "attr/exec", "label"))
    result = box.run()
    assert 'write "label" to /proc/self/attr/exec' in result.stderr
    assert Path("/proc/self/attr").is_dir()
