"""The features document: what this runtime understands (runtime-spec features.md, features-linux.md)."""

from __future__ import annotations

import ctypes
import errno
import os

from wherry import __version__
from wherry.runtime.capabilities import CAPABILITIES
from wherry.runtime.compile.attributes import MEMORY_FLAGS, MEMORY_MODES
from wherry.runtime.compile.draft import OCI_VERSION
from wherry.runtime.compile.mount_options import MOUNT_OPTIONS
from wherry.runtime.seccomp.filter import FLAG_NEW_LISTENER, FLAG_WAIT_KILLABLE_RECV
from wherry.runtime.seccomp.program import ACTIONS, ARCHITECTURES, FLAGS, OPERATORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts")

# annotations of a config.json that change what happens on the host; a final "." stands for all that begin so
UNSAFE_ANNOTATIONS = (
    "org.systemd.property.",
    "run.oci.delegate-cgroup",
    "run.oci.keep_original_groups",
    "run.oci.mount_context_type",
    "run.oci.systemd.subgroup",
)

_SYS_SECCOMP = {"x86_64": 317, "aarch64": 277, "riscv64": 277, "armv7l": 383, "i686": 354, "s390x": 348, "ppc64le": 358}
_SYS_LANDLOCK_CREATE_RULESET = 444
_SET_MODE_FILTER = 1


def features() -> dict[str, Any]:
    """The document. Only `supportedFlags` and the Landlock annotation tell of the kernel, the rest of the runtime."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": list(MOUNT_OPTIONS),
        "linux": {
            "namespaces": list(NAMESPACES),
            "capabilities": list(CAPABILITIES),
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
            "seccomp": _seccomp(),
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": False},
            "memoryPolicy": {"modes": sorted(MEMORY_MODES), "flags": sorted(MEMORY_FLAGS)},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {
            "io.wherry.version": __version__,
            "io.wherry.landlock.abi": str(landlock_abi()),
        },
        "potentiallyUnsafeConfigAnnotations": list(UNSAFE_ANNOTATIONS),
    }


def _seccomp() -> dict[str, Any]:
    return {
        "enabled": True,
        "actions": sorted(ACTIONS),
        "operators": sorted(OPERATORS),
        "archs": sorted(ARCHITECTURES),
        "knownFlags": sorted(FLAGS),
        "supportedFlags": supported_flags(),
    }


def supported_flags() -> list[str]:
    """The flags that the running kernel takes, found by offering each with no filter (seccomp(2), NOTES)."""
    number = _SYS_SECCOMP.get(os.uname().machine)
    if number is None:
        return []
    libc = ctypes.CDLL(None, use_errno=True)
    found = []
    for name, bit in sorted(FLAGS.items()):
        if bit == FLAG_WAIT_KILLABLE_RECV:
            bit |= FLAG_NEW_LISTENER
        if libc.syscall(number, _SET_MODE_FILTER, bit, None) < 0 and ctypes.get_errno() == errno.EFAULT:
            found.append(name)
    return found


def landlock_abi() -> int:
    """The version of the kernel's Landlock; 0 when it has none or has it switched off."""
    version = 1  # LANDLOCK_CREATE_RULESET_VERSION
    return max(0, int(ctypes.CDLL(None).syscall(_SYS_LANDLOCK_CREATE_RULESET, None, 0, version)))
