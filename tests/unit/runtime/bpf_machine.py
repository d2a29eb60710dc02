"""An interpreter of classic BPF over struct seccomp_data, and libseccomp as a second opinion."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys

X86_64, X86, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
X32_BIT = 0x40000000
STEP = struct.Struct("=HBBI")


def run(program: bytes, arch: int, number: int, args=(0,) * 6) -> int:
    """The verdict, with the checks that the kernel's verifier does on the way."""
    data = struct.pack("=IIQ6Q", number, arch, 0, *args)
    steps = list(STEP.iter_unpack(program))
    assert 0 < len(steps) <= 4096
    accumulator = 0
    at = 0
    while True:
        code, yes, no, operand = steps[at]
        at += 1
        match code:
            case 0x20:
                assert operand % 4 == 0
                (accumulator,) = struct.unpack_from("=I", data, operand)
            case 0x54:
                accumulator &= operand
            case 0x05:
                at += operand
            case 0x15:
                at += yes if accumulator == operand else no
            case 0x25:
                at += yes if accumulator > operand else no
            case 0x35:
                at += yes if accumulator >= operand else no
            case 0x06:
                return operand
            case _:
                raise AssertionError(f"instruction {code:#x}")


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
LIBSECCOMP_ARCHES = {"SCMP_ARCH_X86_64": X86_64, "SCMP_ARCH_X86": X86, "SCMP_ARCH_X32": 0x4000003E}


def libseccomp_program(default: int, arches: list[str], rules) -> bytes:
    """libseccomp's own filter; a rule is (action, name, [(index, operator, value, second)])."""
    lib = ctypes.CDLL("libseccomp.so.2")
    lib.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(default)))
    try:
        for arch in arches:
            lib.seccomp_arch_add(context, ctypes.c_uint32(LIBSECCOMP_ARCHES[arch]))
        for action, name, conditions in rules:
            number = lib.seccomp_syscall_resolve_name(name.encode())
            if number == -1 or action == default:
                continue
            array = (Comparison * max(1, len(conditions)))(
                *[Comparison(i, OPERATORS[op], value, second) for i, op, value, second in conditions]
            )
            code = lib.seccomp_rule_add_array(context, ctypes.c_uint32(action), number, len(conditions), array)
            assert code == 0, (name, conditions, code)
        fd = os.memfd_create("filter")
        try:
            assert lib.seccomp_export_bpf(context, fd) == 0
            return os.pread(fd, 1 << 20, 0)
        finally:
            os.close(fd)
    finally:
        lib.seccomp_release(context)


EXECUTOR = """
import ctypes, os, sys
program = bytes.fromhex(sys.argv[1])
class Fprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Fprog(len(program) // 8, program)), 0, 0) == 0, ctypes.get_errno()
os.execvp(sys.argv[2], sys.argv[2:])
"""


def execute_under(program: bytes, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the filter in force."""
    return subprocess.run(
        [sys.executable, "-IS", "-c", EXECUTOR, program.hex(), *command], capture_output=True, text=True
    )
