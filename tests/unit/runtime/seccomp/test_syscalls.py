from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from wherry.runtime.seccomp import syscalls


@pytest.mark.parametrize("arch", [*syscalls.TABLES, "x32"])
def test_tables_ascend(arch):
    numbers = list(syscalls.table(arch).values())
    assert all(first <= second for first, second in itertools.pairwise(numbers))
    assert syscalls.table(arch)["file_setattr"] == 469
    assert "-" not in syscalls.table(arch)


@pytest.mark.parametrize(
    ("arch", "numbers"),
    [
        ("x86_64", {"read": 0, "execve": 59, "uprobe": 336, "clone3": 435}),
        ("x86", {"read": 3, "socketcall": 102, "clock_gettime64": 403}),
        ("x32", {"read": 0, "execve": 520, "pwritev2": 547, "clone3": 435}),
        ("aarch64", {"read": 63, "execve": 221, "newfstatat": 79}),
        ("arm", {"read": 3, "cacheflush": 0xF0002, "arm_sync_file_range": 341, "sync_file_range2": 341}),
        ("riscv64", {"read": 63, "riscv_flush_icache": 259, "fstat": 80}),
        ("s390x", {"read": 3, "s390_pci_mmio_read": 353, "lchown": 198}),
        ("ppc64le", {"read": 3, "rtas": 255, "swapcontext": 249}),
    ],
)
def test_numbers(arch, numbers):
    table = syscalls.table(arch)
    assert {name: table.get(name) for name in numbers} == numbers


def test_x32_lacks_what_its_headers_lack():
    assert not {"create_module", "nfsservctl", "uselib"} & syscalls.table("x32").keys()


HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")


@pytest.mark.skipif(not HEADER.exists(), reason="the headers of the kernel's system calls are not installed")
def test_the_machines_headers_say_the_same():
    lines = [line.split() for line in HEADER.read_text().splitlines() if line.startswith("#define __NR_")]
    table = syscalls.table("x86_64")
    assert {name[5:]: int(number) for _, name, number in lines}.items() <= table.items()
