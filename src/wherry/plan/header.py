"""Generate `native/instructions.h`: `python -m wherry.plan.header > native/instructions.h`."""

from __future__ import annotations

import sys

from . import instructions as table

_SLOTS = ("ROOT", "PROC", "FIFO", "CONSOLE_SOCKET", "SECCOMP_SOCKET", "PIDFD_SOCKET", "TARGET", "CGROUP")
_FLAGS = (
    "WRITE_", "CGROUP_", "HOOK_", "KIND_", "MOUNT_", "ATTACH_", "TREE_", "ATTR_", "ROOT_",
    "PIVOT_", "CONSOLE_", "CHDIR_", "EXEC_",
)  # fmt: skip


def header() -> str:
    """The text of the C header."""
    lines = [
        "/* Generated from wherry/plan/instructions.py by `python -m wherry.plan.header`. Do not edit. */",
        "#pragma once",
        "",
        f"#define PLAN_MAGIC 0x{table.MAGIC:08X}u",
        f"#define PLAN_VERSION {table.VERSION}",
        f"#define PLAN_SLOTS {table.SLOTS}",
        f"#define SLOT_NONE {table.NONE}",
    ]
    lines += [f"#define SLOT_{name} {getattr(table, name)}" for name in _SLOTS]
    lines.append("")
    lines.append("enum {")
    lines += [f"\tPROGRAM_{name} = {number}," for number, name in enumerate(table.PROGRAMS)]
    lines += [f"\tPROGRAM_COUNT = {len(table.PROGRAMS)}", "};", ""]
    flags = [
        (name, value)
        for name, value in vars(table).items()
        if name.startswith(_FLAGS) and isinstance(value, int) and name not in _SLOTS
    ]
    lines += [f"#define PLAN_{name} {value}" for name, value in flags]
    lines += ["", "/* INSTRUCTION(code, name, argument kinds) */", "#define INSTRUCTIONS(INSTRUCTION) \\"]
    lines += [f'\tINSTRUCTION({i.code}, {i.name}, "{i.kinds}") \\' for i in table.INSTRUCTIONS]
    lines += ["", "/* Argument positions. */", "enum {"]
    for instruction in table.INSTRUCTIONS:
        lines += [
            f"\t{instruction.name}_{argument.upper()} = {position},"
            for position, argument in enumerate(instruction.names)
        ]
    lines += ["};", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(header())
