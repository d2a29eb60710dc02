#!/usr/bin/env python3
"""Write src/wherry/runtime/seccomp/syscalls.py from kernel headers.

The headers are read with the C preprocessor from --root (default /): Debian's linux-libc-dev-ARCH-cross
packages for amd64, i386, arm64, armhf, riscv64, s390x and ppc64el hold them (`dpkg -x` of each into one
folder is enough). System calls younger than those headers are in YOUNGER below, up to Linux 6.18.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

# arch: (include folders below the root, first that exists; preprocessor flags; main file)
SOURCES = {
    "x86_64": (("usr/include/x86_64-linux-gnu", "usr/x86_64-linux-gnu/include"), (), "asm/unistd_64.h"),
    "x86": (("usr/include/x86_64-linux-gnu", "usr/i686-linux-gnu/include"), (), "asm/unistd_32.h"),
    "x32": (
        ("usr/include/x86_64-linux-gnu", "usr/x86_64-linux-gnu/include"),
        ("-D__X32_SYSCALL_BIT=0",),
        "asm/unistd_x32.h",
    ),
    "aarch64": (("usr/aarch64-linux-gnu/include",), ("-D__aarch64__",), "asm/unistd.h"),
    "arm": (("usr/arm-linux-gnueabihf/include",), ("-D__ARM_EABI__",), "asm/unistd.h"),
    "riscv64": (("usr/riscv64-linux-gnu/include",), ("-D__LP64__", "-D__SIZEOF_POINTER__=8"), "asm/unistd.h"),
    "s390x": (("usr/s390x-linux-gnu/include",), ("-D__s390x__",), "asm/unistd.h"),
    "ppc64le": (("usr/powerpc64le-linux-gnu/include",), ("-D__powerpc64__",), "asm/unistd.h"),
}

# number: (name, architectures that lack it); the numbers are the same everywhere
YOUNGER = {
    451: ("cachestat", ()),
    452: ("fchmodat2", ()),
    453: ("map_shadow_stack", ()),
    454: ("futex_wake", ()),
    455: ("futex_wait", ()),
    456: ("futex_requeue", ()),
    457: ("statmount", ()),
    458: ("listmount", ()),
    459: ("lsm_get_self_attr", ()),
    460: ("lsm_set_self_attr", ()),
    461: ("lsm_list_modules", ()),
    462: ("mseal", ()),
    463: ("setxattrat", ()),
    464: ("getxattrat", ()),
    465: ("listxattrat", ()),
    466: ("removexattrat", ()),
    467: ("open_tree_attr", ()),
    468: ("file_getattr", ()),
    469: ("file_setattr", ()),
}
YOUNGER_OF_ONE = {
    "x86_64": {"uretprobe": 335, "uprobe": 336},
    "x32": {"uretprobe": 335, "uprobe": 336},
    "riscv64": {"riscv_hwprobe": 258},
}
NOT_CALLS = ("syscalls", "arch_specific_syscall", "BASE", "SYSCALL_BASE", "SYSCALL_MASK", "OABI_SYSCALL_BASE")
GAP = 8  # a hole of more numbers than this starts a new segment

HEAD = '''"""System call names and numbers by architecture, up to Linux 6.18.

Written by tools/generate_syscalls.py; change that instead. A table is a list of segments: the first number
and the names from there on, separated by blanks, with "-" for a number that is not in use.
"""

from __future__ import annotations

'''

TAIL = '''
_built: dict[str, dict[str, int]] = {}


def table(arch: str) -> dict[str, int]:
    """Name to number for one of `TABLES` or "x32" (numbers without the x32 bit), ascending; else KeyError."""
    known = _built.get(arch)
    if known is None:
        known = _built[arch] = _x32() if arch == "x32" else _build(TABLES[arch])
    return known


def _build(segments: tuple[tuple[int, str], ...]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for first, text in segments:
        names = text.split(" ")
        numbers.update(zip(names, range(first, first + len(names)), strict=True))
    numbers.pop("-", None)
    return numbers


def _x32() -> dict[str, int]:
    numbers = _build(TABLES["x86_64"])
    own = _build(X32_OWN)
    for name in (*X32_LACKS.split(" "), *own):
        numbers.pop(name, None)  # own names go to the end: tables ascend
    numbers.update(own)
    return numbers
'''


def read_headers(root: Path, arch: str) -> dict[str, int]:
    """The architecture's `__NR_` macros with a number as their value."""
    folders, flags, header = SOURCES[arch]
    folder = next((root / f for f in folders if (root / f / header).exists()), None)
    if folder is None:
        raise SystemExit(f"no {header} for {arch} below {root}")
    base = ["cc", "-E", "-undef", "-nostdinc", "-I", str(folder), "-I", str(root / "usr/include"), *flags]
    macros = subprocess.run(
        [*base, "-dM", "-include", header, "-"], input="", capture_output=True, text=True, check=True
    ).stdout
    prefixes = ("__NR_", "__ARM_NR_")
    names = [
        line.split()[1] for line in macros.splitlines() if line.startswith(tuple(f"#define {p}" for p in prefixes))
    ]
    source = "".join(f"@{name} {name}\n" for name in names if "(" not in name)
    source = source.replace("@__NR_", "@").replace("@__ARM_NR_", "@")
    expanded = subprocess.run(
        [*base, "-P", "-include", header, "-"], input=source, capture_output=True, text=True, check=True
    ).stdout
    return dict(filter(None, map(parse_line, expanded.splitlines())))


def parse_line(line: str) -> tuple[str, int] | None:
    """One line `@name expression` of the preprocessor's output."""
    name, _, text = line.partition(" ")
    if not name.startswith("@") or name[1:] in NOT_CALLS:
        return None
    text = text.strip().strip("()")
    total = 0
    for part in text.split("+"):
        part = part.strip(" ()")
        if part[:1].isdigit():
            total += int(part, 0)
        elif part:
            return None
    return name[1:], total


def complete(arch: str, numbers: dict[str, int]) -> dict[str, int]:
    """Add what is younger than the headers."""
    for number, (name, lacking) in YOUNGER.items():
        if arch not in lacking:
            numbers.setdefault(name, number)
    numbers.update(YOUNGER_OF_ONE.get(arch, {}))
    return numbers


def segments(numbers: dict[str, int]) -> list[tuple[int, list[str]]]:
    """The numbers in order, cut at wide holes. A second name of one number gets a segment of its own."""
    found: list[tuple[int, list[str]]] = []
    for number, name in sorted((number, name) for name, number in numbers.items()):
        end = found[-1][0] + len(found[-1][1]) if found else -GAP - 1
        if not found or number < end or number - end > GAP:
            found.append((number, [name]))
        else:
            found[-1][1].extend(["-"] * (number - end) + [name])
    return found


def render(parts: list[tuple[int, list[str]]], indent: str) -> str:
    """The segments as the body of a tuple."""
    lines = []
    for first, names in parts:
        lines.append(f"{indent}(\n{indent}    {first},\n")
        wrapped = wrap(" ".join(names), 104 - len(indent))
        lines += [f'{indent}    "{text}"\n' for text in wrapped[:-1]]
        lines.append(f'{indent}    "{wrapped[-1]}",\n{indent}),\n')
    return "".join(lines)


def wrap(text: str, width: int) -> list[str]:
    """Cut at blanks and keep them, so that the joined pieces are the text."""
    pieces = [""]
    for word in text.split(" "):
        if len(pieces[-1]) + len(word) + 1 > width - 6:
            pieces.append("")
        pieces[-1] += word + " "
    pieces[-1] = pieces[-1][:-1]
    return pieces


def main() -> int:
    """Write the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("/"))
    parser.add_argument("--output", type=Path, default=Path("src/wherry/runtime/seccomp/syscalls.py"))
    options = parser.parse_args()
    tables = {arch: complete(arch, read_headers(options.root, arch)) for arch in SOURCES}
    x32, x86_64 = tables.pop("x32"), tables["x86_64"]
    own = {name: number for name, number in x32.items() if x86_64.get(name) != number}
    lacks = sorted(name for name in x86_64 if name not in x32)
    out = [HEAD, "TABLES: dict[str, tuple[tuple[int, str], ...]] = {\n"]
    for arch, numbers in tables.items():
        out.append(f'    "{arch}": (\n{render(segments(numbers), " " * 8)}    ),\n')
    out.append("}\n\n# x32 shares the numbers of x86_64 but for these\n")
    lacking = wrap(" ".join(lacks), 104)
    out.append("X32_LACKS = (\n" + "".join(f'    "{text}"\n' for text in lacking) + ")\n")
    out.append("X32_OWN: tuple[tuple[int, str], ...] = (\n" + render(segments(own), "    ") + ")\n")
    out.append(TAIL)
    options.output.write_text("".join(out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
