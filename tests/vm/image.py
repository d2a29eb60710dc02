"""Disks for the test machine: a Debian root with systemd, kept in `.build/vm`, and the project as it is now.

No loop devices and no mounts: mke2fs fills a file system from a folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CACHE = PROJECT / ".build" / "vm"
PACKAGES = (
    "apparmor",
    "busybox-static",
    "criu",
    "crun",
    "dbus",
    "dbus-user-session",
    "iproute2",
    "iptables",
    "kmod",
    "libpam-systemd",
    "nftables",
    "procps",
    "python3",
    "systemd-sysv",
    "udev",
    "uidmap",
)
# what the tests in the guest import beside the project
LIBRARIES = ("_pytest", "iniconfig*", "packaging*", "pluggy*", "py.py", "pygments*", "pytest*")
ROOT_SIZE_MIB = 1536
PROJECT_SIZE_MIB = 96
# an ordinary user whose session is always there
USER, USER_ID = "machine", 1000

FILES = {
    "etc/fstab": "/dev/vdb /opt/wherry ext4 ro 0 0\n",
    "etc/hostname": "wherry-vm\n",
    "etc/machine-id": "",
    "etc/subuid": f"{USER}:100000:65536\n",
    "etc/subgid": f"{USER}:100000:65536\n",
    f"var/lib/systemd/linger/{USER}": "",
    "etc/systemd/system/user@.service.d/delegate.conf": "[Service]\nDelegate=cpu cpuset io memory pids\n",
    "etc/systemd/system/wherry-tests.service": f"""\
[Unit]
Description=Tests of the host
After=multi-user.target user@{USER_ID}.service
FailureAction=poweroff-force
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/opt/wherry/tests/vm/guest/run.sh
""",
}
LINKS = {
    "etc/systemd/system/default.target": "/lib/systemd/system/multi-user.target",
    "etc/systemd/system/multi-user.target.wants/wherry-tests.service": "../wherry-tests.service",
    "etc/systemd/system/apt-daily.timer": "/dev/null",
    "etc/systemd/system/apt-daily-upgrade.timer": "/dev/null",
    "etc/systemd/system/e2scrub_all.timer": "/dev/null",
    "etc/systemd/system/systemd-networkd-wait-online.service": "/dev/null",
    "etc/systemd/system/serial-getty@ttyS0.service": "/dev/null",
    "etc/systemd/system/getty@tty1.service": "/dev/null",
}


@dataclass(frozen=True)
class Kernel:
    """A kernel of the host's packages with the modules that belong to it."""

    image: Path
    initrd: Path
    modules: Path


def find_kernel() -> Kernel:
    """The newest cloud kernel in /boot (Debian package linux-image-cloud-amd64)."""
    images = sorted(Path("/boot").glob("vmlinuz-*-cloud-*"))
    assert images, "no kernel for the test machine: apt-get install linux-image-cloud-amd64"
    version = images[-1].name.removeprefix("vmlinuz-")
    return Kernel(images[-1], Path(f"/boot/initrd.img-{version}"), Path(f"/lib/modules/{version}"))


def root_disk(kernel: Kernel) -> Path:
    """The root file system without the project, made once for each list of packages and kernel."""
    recipe = repr((PACKAGES, FILES, LINKS, ROOT_SIZE_MIB, USER_ID, kernel.modules.name))
    disk = CACHE / f"root-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.ext4"
    if not disk.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        for old in CACHE.glob("root-*.ext4"):
            old.unlink()
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            root = Path(folder, "root")
            _install_debian(root)
            shutil.copytree(kernel.modules, root / "lib/modules" / kernel.modules.name, symlinks=True)
            _configure(root)
            make_disk(root, disk, ROOT_SIZE_MIB)
    return disk


def project_disk(disk: Path) -> Path:
    """The project, its executables, its tests and what those import, for /opt/wherry of the guest."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        site = root / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
        clean = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(PROJECT / "src/wherry", site / "wherry", ignore=clean)
        shutil.copytree(PROJECT / "tests", root / "tests", ignore=clean)
        shutil.copy(PROJECT / "pyproject.toml", root)
        installed = Path(sysconfig.get_path("purelib"))
        for source in [path for pattern in LIBRARIES for path in installed.glob(pattern)]:
            if source.is_dir():
                shutil.copytree(source, site / source.name, ignore=clean)
            else:
                shutil.copy(source, site)
        (root / "bin").mkdir()
        for name in ("wherry", "wherry-runtime"):
            shutil.copy(PROJECT / ".build/native/wherry", root / "bin" / name)
        subprocess.run(
            ["/usr/bin/python3", "-m", "compileall", "-q", "-s", folder, "-p", "/opt/wherry", site, root / "tests"],
            check=True,
        )
        make_disk(root, disk, PROJECT_SIZE_MIB)
    return disk


def make_disk(folder: Path, disk: Path, size_mib: int) -> None:
    """An ext4 file system that holds the folder, complete or not there."""
    unfinished = disk.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", folder, unfinished, f"{size_mib}M"], check=True)
    unfinished.rename(disk)


def _install_debian(root: Path) -> None:
    sources = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")
    archive = root.with_suffix(".tar")
    subprocess.run(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={','.join(PACKAGES)}",
            "bookworm",
            archive,
            next(path for path in sources if os.path.exists(path)),
        ],
        check=True,
        env=os.environ | {"LC_ALL": "C"},
    )
    root.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", root, "--exclude=./dev/*", "--numeric-owner"], check=True)
    archive.unlink()


def _configure(root: Path) -> None:
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, target in LINKS.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)
    (root / "opt/wherry").mkdir(parents=True)
    subprocess.run(["useradd", "--root", root, "--create-home", "--uid", str(USER_ID), USER], check=True)
    # useradd gives sub-ids of its own choice
    for name in ("etc/subuid", "etc/subgid"):
        (root / name).write_text(FILES[name])
