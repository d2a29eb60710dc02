"""OCI bundles for tests: a busybox root directory and a config.json kept as an editable dict."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

BUSYBOX = Path("/bin/busybox")
CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
NAMESPACES = ("pid", "network", "ipc", "uts", "mount")
MASKED = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
]
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
MOUNTS = (
    ("/proc", "proc", "proc", ()),
    ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    ("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),
    ("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    ("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
)


def default_config(*args: str) -> dict[str, Any]:
    """What `spec` of the known runtimes gives, without a terminal and with a writable root.

    The version is one that every peer in the field accepts.
    """
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": list(args) or ["true"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: list(CAPABILITIES) for name in ("bounding", "effective", "permitted", "ambient")},
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": False},
        "hostname": "wherry-test",
        "mounts": [
            {"destination": destination, "type": kind, "source": source, "options": list(options)}
            for destination, kind, source, options in MOUNTS
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in NAMESPACES],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READONLY),
        },
    }


def make_rootfs(path: Path) -> None:
    """A root directory with a static busybox, its applets as links, and the usual empty directories."""
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr", "var"):
        (path / name).mkdir(parents=True)
    (path / "tmp").chmod(0o1777)
    (path / "sbin").symlink_to("bin")
    (path / "usr/bin").symlink_to("../bin")
    (path / "usr/sbin").symlink_to("../bin")
    shutil.copy(BUSYBOX, path / "bin/busybox")
    applets = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout
    for applet in applets.split():
        if applet != "busybox":
            (path / "bin" / applet).symlink_to("busybox")
    (path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\n")
    (path / "etc/group").write_text("root:x:0:\nalice:x:1000:\nstaff:x:50:alice\n")


class Bundle:
    """A bundle directory; `config` is written to config.json by `save`."""

    def __init__(self, path: Path, template: Path) -> None:
        self.path = path
        self.rootfs = path / "rootfs"
        shutil.copytree(template, self.rootfs, symlinks=True)
        self.config = default_config()

    @property
    def process(self) -> dict[str, Any]:
        return self.config["process"]

    @property
    def linux(self) -> dict[str, Any]:
        return self.config["linux"]

    @property
    def mounts(self) -> list[dict[str, Any]]:
        return self.config["mounts"]

    def args(self, *args: str) -> Bundle:
        """Set the command."""
        self.process["args"] = list(args)
        return self

    def shell(self, script: str) -> Bundle:
        """Set the command to `sh -c script`."""
        return self.args("sh", "-c", script)

    def mount(self, destination: str, kind: str, source: str, *options: str, **more: Any) -> Bundle:
        """Append a mount."""
        entry = {"destination": destination, "type": kind, "source": source, "options": list(options)}
        self.mounts.append(entry | more)
        return self

    def without_namespace(self, kind: str) -> Bundle:
        """Drop a namespace: the host's is used."""
        self.linux["namespaces"] = [n for n in self.linux["namespaces"] if n["type"] != kind]
        return self

    def namespace(self, kind: str, path: str = "") -> Bundle:
        """Ask for a new namespace, or the one at `path`, instead of what is there for this type."""
        self.without_namespace(kind)
        self.linux["namespaces"].append({"type": kind} | ({"path": path} if path else {}))
        return self

    def map_root(self, host_id: int = 100000, size: int = 65536) -> Bundle:
        """Use a user namespace whose id 0 is `host_id`, and give it the root directory."""
        self.namespace("user")
        mapping = [{"containerID": 0, "hostID": host_id, "size": size}]
        self.linux["uidMappings"] = mapping
        self.linux["gidMappings"] = mapping
        subprocess.run(["chown", "-hR", f"{host_id}:{host_id}", self.rootfs], check=True)
        return self

    def save(self) -> None:
        (self.path / "config.json").write_text(json.dumps(self.config, indent=1))
