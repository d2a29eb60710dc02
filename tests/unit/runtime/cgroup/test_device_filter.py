from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.errors import INVALID_ARGUMENT, WherryError
from wherry.runtime.cgroup import device_filter as df

STEP = struct.Struct("=BBhi")
KINDS = {"b": 1, "c": 2}
LETTERS = {"m": 1, "r": 2, "w": 4}


def bits(access):
    return sum(LETTERS[letter] for letter in set(access))


def run(program: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    """An interpreter of the instructions that the compiler knows."""
    context = struct.pack("=III", bits(access) << 16 | KINDS[kind], major, minor)
    steps = list(STEP.iter_unpack(program))
    registers = [0] * 11
    at = 0
    while True:
        code, pair, offset, value = steps[at]
        target, source = pair & 15, pair >> 4
        at += 1
        match code:
            case 0x61:
                (registers[target],) = struct.unpack_from("=I", context, offset)
            case 0xBF:
                registers[target] = registers[source]
            case 0xB7:
                registers[target] = value
            case 0x57:
                registers[target] &= value
            case 0x77:
                registers[target] >>= value
            case 0x55:
                at += offset if registers[target] != value else 0
            case 0x15:
                at += offset if registers[target] == value else 0
            case 0x95:
                assert registers[0] in (0, 1)
                return bool(registers[0])
            case _:
                raise AssertionError(f"instruction {code:#x}")


def expected(rules, kind, major, minor, access) -> bool:
    allowed = dict.fromkeys("rwm", False)
    for allow, rule_kind, rule_major, rule_minor, rule_access in rules:
        if rule_kind in ("a", kind) and rule_major in (-1, major) and rule_minor in (-1, minor):
            allowed.update(dict.fromkeys(rule_access, allow))
    return all(allowed[letter] for letter in access)


NUMBERS = st.sampled_from([-1, 0, 1, 3, 255, 1 << 20, (1 << 31) - 1])
RULES = st.lists(
    st.tuples(
        st.booleans(), st.sampled_from("abc"), NUMBERS, NUMBERS, st.sampled_from(["", "r", "w", "rw", "rwm", "m", "mr"])
    ),
    max_size=10,
)


@settings(max_examples=200, deadline=None)
@given(RULES)
def test_each_access_is_decided_by_its_last_rule(rules):
    program = df.compile_devices(rules)
    for kind in "bc":
        for major, minor in [(0, 0), (1, 3), (3, 1), (255, 1 << 20), (7, 7)]:
            for access in ("r", "w", "m", "rw", "rwm"):
                assert run(program, kind, major, minor, access) == expected(rules, kind, major, minor, access)


def test_no_rules_deny():
    assert not run(df.compile_devices([]), "c", 1, 3, "r")


def test_denying_one_access_of_a_wide_permission():
    program = df.compile_devices([(True, "a", -1, -1, "rwm"), (False, "c", 1, 3, "w")])
    assert run(program, "c", 1, 3, "r")
    assert not run(program, "c", 1, 3, "rw")
    assert run(program, "c", 1, 5, "rw")


def test_the_documents_rules():
    devices = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"}]
    assert df.device_rules(devices) == [(False, "a", -1, -1, "rwm"), (True, "c", 1, 3, "r")]
    assert df.device_rules(None) == []


@pytest.mark.parametrize(
    ("device", "path"),
    [
        (7, "d[0]"),
        ({}, "d[0].allow"),
        ({"allow": 1}, "d[0].allow"),
        ({"allow": True, "type": "p"}, "d[0].type"),
        ({"allow": True, "type": "c", "major": "1"}, "d[0].major"),
        ({"allow": True, "type": "c", "minor": 1 << 31}, "d[0].minor"),
        ({"allow": True, "access": "rx"}, "d[0].access"),
        ({"allow": True, "access": 3}, "d[0].access"),
    ],
)
def test_errors_name_their_place(device, path):
    with pytest.raises(WherryError) as caught:
        df.device_rules([device], "d")
    assert (caught.value.code, caught.value.path) == (INVALID_ARGUMENT, path)


# --- the kernel -----------------------------------------------------------------------------------------

LICENSE = ctypes.create_string_buffer(b"GPL")
LIBC = ctypes.CDLL(None, use_errno=True)
BPF = {"x86_64": 321, "aarch64": 280}.get(os.uname().machine, 0)


def bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    value = LIBC.syscall(BPF, command, buffer, len(attributes))
    if value < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return value


def load(program: bytes) -> int:
    steps = ctypes.create_string_buffer(program, len(program))
    log = ctypes.create_string_buffer(1 << 16)
    attributes = struct.pack(
        "=IIQQIIQII16sII",
        *(df.PROG_TYPE_CGROUP_DEVICE, len(program) // 8, ctypes.addressof(steps)),
        *(ctypes.addressof(LICENSE), 1, len(log), ctypes.addressof(log)),
        *(0, 0, b"test", 0, df.ATTACH_TYPE_CGROUP_DEVICE),
    )
    try:
        return bpf(5, attributes)
    except OSError as error:
        pytest.fail(f"{error}: {log.value.decode()}")


def why_no_cgroup_bpf() -> str:
    """What is missing to attach a program; empty when nothing is."""
    if not BPF:
        return "no number of bpf(2) for this machine"
    try:
        os.close(load(df.compile_devices([])))
    except BaseException as error:
        return f"bpf(2): {error}"
    return "" if version_2_mount() else "no mounted version 2 cgroup hierarchy"


def version_2_mount() -> Path | None:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2" and os.access(place, os.W_OK):
            return Path(place)
    return None


@pytest.fixture
def cgroup():
    if reason := why_no_cgroup_bpf():
        pytest.skip(reason)
    folder = version_2_mount() / f"wherry-devices-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        folder.rmdir()


OPENER = """
import json, os, sys
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
results = []
for path, flags in json.loads(sys.argv[2]):
    try:
        os.close(os.open(path, flags)); results.append(0)
    except OSError as error:
        results.append(error.errno)
print(json.dumps(results))
"""


def opened_in(cgroup: Path, *attempts) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-ISc", OPENER, str(cgroup), json.dumps(attempts)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextlib.contextmanager
def attached(cgroup: Path, rules):
    program_fd = load(df.compile_devices(rules))
    cgroup_fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        bpf(8, struct.pack("=IIII", cgroup_fd, program_fd, df.ATTACH_TYPE_CGROUP_DEVICE, 0))
        yield
    finally:
        os.close(cgroup_fd)
        os.close(program_fd)


def test_the_kernel_denies_what_the_rules_deny(cgroup):
    rules = [
        (False, "a", -1, -1, "rwm"),
        (True, "c", 1, 3, "r"),
        (True, "c", 1, 5, "rwm"),
        (False, "c", 1, 5, "w"),
        (True, "c", 1, 9, "rwm"),
    ]
    with attached(cgroup, rules):
        results = opened_in(
            cgroup,
            ("/dev/null", os.O_RDONLY),
            ("/dev/null", os.O_WRONLY),
            ("/dev/zero", os.O_RDONLY),
            ("/dev/zero", os.O_RDWR),
            ("/dev/urandom", os.O_RDWR),
            ("/dev/full", os.O_RDONLY),
        )
    assert results == [0, errno.EPERM, 0, errno.EPERM, 0, errno.EPERM]


def test_the_kernel_allows_the_default_devices(cgroup):
    with attached(cgroup, list(df.DEFAULT_RULES)):
        names = ("null", "zero", "full", "random", "urandom", "ptmx")
        results = opened_in(cgroup, *[(f"/dev/{name}", os.O_RDWR | os.O_NOCTTY) for name in names])
    assert results == [0] * 6


@settings(max_examples=60, deadline=None)
@given(RULES)
def test_the_kernels_verifier_takes_every_program(rules):
    if reason := why_no_cgroup_bpf():
        pytest.skip(reason)
    os.close(load(df.compile_devices(rules)))
