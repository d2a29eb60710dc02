from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import pytest

from tests.unit.runtime.bpf_machine import AARCH64, ARM, X32_BIT, X86, X86_64, execute_under, libseccomp_program, run
from wherry.runtime.capabilities import CAPABILITIES, DEFAULT
from wherry.runtime.seccomp import default as ds
from wherry.runtime.seccomp import program as seccomp
from wherry.runtime.seccomp import syscalls
from wherry.runtime.seccomp.filter import compile_filter

ENOSYS, EPERM, EINVAL, EAFNOSUPPORT = (seccomp.RET_ERRNO | e for e in (38, 1, 22, 97))
EVERY_NAME = set().union(*(syscalls.table(arch) for arch in [*syscalls.TABLES, "x32"]))


def program(caps=DEFAULT, arch="x86_64"):
    return compile_filter(ds.default_profile(frozenset(caps), arch), host_arch=arch).program


def verdict(code, name, *args, arch="x86_64"):
    audit = {"x86_64": X86_64, "x32": X86_64, "x86": X86, "aarch64": AARCH64, "arm": ARM}[arch]
    number = syscalls.table(arch)[name] | (X32_BIT if arch == "x32" else 0)
    return run(code, audit, number, (*args, *[0] * (6 - len(args))))


def test_every_known_call_is_decided_once():
    guarded = [name for names in ds.GUARDED.values() for name in names.split()]
    groups = [*ds.ALLOWED, *set(guarded), *ds.REFUSED, *ds.FILTERED]
    assert len(groups) == len(set(groups))
    assert set(groups) == EVERY_NAME
    assert set(ds.GUARDED) <= set(CAPABILITIES)


@pytest.mark.parametrize("arch", ["x86_64", "x86", "x32"])
def test_what_a_container_may_do(arch):
    code = program()
    for name in ("openat", "mount", "clone3", "chroot", "ptrace", "statx", "listmount"):
        assert verdict(code, name, arch=arch) == seccomp.RET_ALLOW
    for name in ("io_uring_setup", "bpf", "kexec_load", "reboot", "init_module", "add_key", "perf_event_open"):
        assert verdict(code, name, arch=arch) == EPERM
    assert run(code, X86 if arch == "x86" else X86_64, 470 | (X32_BIT if arch == "x32" else 0)) == ENOSYS


@pytest.mark.parametrize(("cap", "name"), [(cap, name) for cap, names in ds.GUARDED.items() for name in names.split()])
def test_a_capability_opens_its_calls(cap, name):
    if name not in syscalls.table("x86_64"):
        return
    assert verdict(program([]), name) == EPERM
    assert verdict(program([cap]), name) == seccomp.RET_ALLOW


def test_personalities():
    code = program()
    for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF):
        assert verdict(code, "personality", value) == seccomp.RET_ALLOW
    assert verdict(code, "personality", 0x0040000) == ENOSYS


def socket_verdict(family, protocol, caps):
    if family in (38, 40):
        return EAFNOSUPPORT
    if family == 16 and protocol == 9 and "CAP_AUDIT_WRITE" not in caps:
        return EINVAL
    if family > 45 or (family == 16 and protocol > 31 and "CAP_AUDIT_WRITE" not in caps):
        return ENOSYS
    return seccomp.RET_ALLOW


@pytest.mark.parametrize("caps", [(), ("CAP_AUDIT_WRITE",)])
def test_sockets(caps):
    ours = program(caps)
    theirs = theirs_of(ds.default_profile(frozenset(caps), "x86_64"))
    for family in range(50):
        for protocol in (0, 1, 8, 9, 10, 15, 16, 31, 32):
            expected = socket_verdict(family, protocol, caps)
            assert verdict(ours, "socket", family, 1, protocol) == expected, (family, protocol)
            assert verdict(theirs, "socket", family, 1, protocol) == expected, (family, protocol)
    for family, protocol in [(38 | 1 << 32, 0), (40 | 1 << 63, 0), (16, 9 | 1 << 32)]:
        if family == 16 and caps:
            continue
        assert verdict(ours, "socket", family, 1, protocol) == ENOSYS


def theirs_of(profile):
    rules = []
    for rule in profile["syscalls"]:
        action = seccomp.ACTIONS[rule["action"]] | rule.get("errnoRet", 0)
        args = [(a["index"], a["op"], a["value"], a.get("valueTwo", 0)) for a in rule.get("args", [])]
        rules += [(action, name, args) for name in rule["names"]]
    return libseccomp_program(ENOSYS, ["SCMP_ARCH_X86_64"], rules)


def test_libseccomp_reads_the_profile_alike():
    profile = ds.default_profile(frozenset(DEFAULT), "x86_64")
    ours, theirs = program(), theirs_of(profile)
    for name, number in syscalls.table("x86_64").items():
        if number <= 456 and not 335 <= number <= 336:
            assert verdict(ours, name) == verdict(theirs, name), name


def test_other_machines():
    code = program(arch="aarch64")
    assert verdict(code, "openat", arch="aarch64") == verdict(code, "open", arch="arm") == seccomp.RET_ALLOW
    assert verdict(code, "bpf", arch="aarch64") == EPERM
    for arch in ("riscv64", "s390x", "ppc64le"):
        assert program(arch=arch)


def test_the_filter_stays_small():
    """What the kernel must check and translate at each start."""
    assert len(program()) // 8 < 600


ATTEMPTS = """
import socket, threading, subprocess, tempfile, os, ctypes
threading.Thread(target=print, args=("thread",)).start()
subprocess.run(["true"], check=True)
tempfile.TemporaryFile().write(b"x")
socket.socket(socket.AF_INET).close()
for family, protocol in ((38, 0), (16, 9)):
    try:
        socket.socket(family, socket.SOCK_RAW, protocol)
    except OSError as error:
        print(family, error.errno)
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall(321, 0, 0, 0), ctypes.get_errno())
print(libc.syscall(471, 0), ctypes.get_errno())
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the attempts know the numbers of x86_64 only")
def test_the_kernel_obeys_it():
    done = execute_under(program(), sys.executable, "-c", ATTEMPTS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["thread", "38 97", "16 22", "-1 1", "-1 38"]


PODMANS = Path("/usr/share/containers/seccomp.json")


@pytest.mark.skipif(not PODMANS.exists(), reason="containers-common is not installed")
def test_what_it_allows_beyond_podmans_profile():
    document = json.loads(PODMANS.read_text())
    caps = frozenset(DEFAULT)
    allowed = set()
    for rule in document["syscalls"]:
        includes, excludes = rule.get("includes", {}).get("caps", []), rule.get("excludes", {}).get("caps", [])
        if rule["action"] == "SCMP_ACT_ALLOW" and caps.issuperset(includes) and not caps & set(excludes):
            allowed |= set(rule["names"])
    ours = set(ds.default_profile(caps, "x86_64")["syscalls"][0]["names"])
    younger = {n for n, number in syscalls.table("x86_64").items() if number >= 449} | {"uretprobe", "uprobe"}
    of_others = set(ds._OF_ONE_ARCHITECTURE.split())
    assert ours - allowed - younger - of_others == {"io_pgetevents", "io_pgetevents_time64"}
    assert allowed - ours <= {"syslog", "reboot", "socket", "personality", "syscall"}


def test_errno_names():
    assert (ds._EPERM, ds._EINVAL, ds._ENOSYS, ds._EAFNOSUPPORT) == (
        errno.EPERM,
        errno.EINVAL,
        errno.ENOSYS,
        errno.EAFNOSUPPORT,
    )
