"""linux.seccomp of an OCI document, compiled to the classic BPF program that seccomp(2) takes.

runtime-spec config-linux.md "Seccomp". The meaning of a profile is what runc and crun give it through
libseccomp, and where those leave it open, this:

- a rule whose action is the default action changes nothing;
- for one system call, a rule without `args` beats every rule with them, and the first of either kind counts;
- the entries of `args` must all hold, unless two of them look at the same argument: then each is a rule of
  its own, as profiles written for docker expect;
- an unknown system call name is ignored; when the default action refuses, calls younger than the youngest
  that the profile names fail with ENOSYS, so that a libc falls back to what it knows;
- a call by an architecture that is not listed (the host's own always is) kills its thread.
"""

from __future__ import annotations

import sys

from wherry.errors import FAILED_PRECONDITION, INVALID_ARGUMENT, NOT_IMPLEMENTED, WherryError
from wherry.runtime.seccomp import syscalls
from wherry.runtime.seccomp.bpf import AND, JEQ, JGE, JGT, LOAD, MAX_INSTRUCTIONS, Assembler
from wherry.runtime.seccomp.filter import (
    FLAG_LOG,
    FLAG_NEW_LISTENER,
    FLAG_SPEC_ALLOW,
    FLAG_TSYNC,
    FLAG_TSYNC_ESRCH,
    FLAG_WAIT_KILLABLE_RECV,
    Filter,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Condition = tuple[int, str, int, int]  # argument, operator, value, valueTwo
    Chain = tuple[tuple[tuple[Condition, ...], int], ...]  # rules in order: what must hold, and the action then
    Leaf = int | Chain

FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": FLAG_WAIT_KILLABLE_RECV,
}

RET_KILL_THREAD = 0
RET_ERRNO = 0x00050000
RET_NOTIFY = 0x7FC00000
RET_TRACE = 0x7FF00000
RET_LOG = 0x7FFC0000
RET_ALLOW = 0x7FFF0000

ACTIONS = {
    "SCMP_ACT_KILL": RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_KILL_THREAD": RET_KILL_THREAD,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": RET_ERRNO,
    "SCMP_ACT_TRACE": RET_TRACE,
    "SCMP_ACT_ALLOW": RET_ALLOW,
    "SCMP_ACT_LOG": RET_LOG,
    "SCMP_ACT_NOTIFY": RET_NOTIFY,
}

OPERATORS = (
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
)

# name: (AUDIT_ARCH_*, key of the system call table)
ARCHITECTURES = {
    "SCMP_ARCH_X86_64": (0xC000003E, "x86_64"),
    "SCMP_ARCH_X86": (0x40000003, "x86"),
    "SCMP_ARCH_X32": (0xC000003E, "x32"),
    "SCMP_ARCH_AARCH64": (0xC00000B7, "aarch64"),
    "SCMP_ARCH_ARM": (0x40000028, "arm"),
    "SCMP_ARCH_RISCV64": (0xC00000F3, "riscv64"),
    "SCMP_ARCH_S390X": (0x80000016, "s390x"),
    "SCMP_ARCH_S390": (0x00000016, "s390"),
    "SCMP_ARCH_PPC64LE": (0xC0000015, "ppc64le"),
    "SCMP_ARCH_PPC64": (0x80000015, "ppc64"),
    "SCMP_ARCH_PPC": (0x00000014, "ppc"),
    "SCMP_ARCH_MIPS": (0x00000008, "mips"),
    "SCMP_ARCH_MIPS64": (0x80000008, "mips64"),
    "SCMP_ARCH_MIPS64N32": (0xA0000008, "mips64n32"),
    "SCMP_ARCH_MIPSEL": (0x40000008, "mipsel"),
    "SCMP_ARCH_MIPSEL64": (0xC0000008, "mipsel64"),
    "SCMP_ARCH_MIPSEL64N32": (0xE0000008, "mipsel64n32"),
    "SCMP_ARCH_LOONGARCH64": (0xC0000102, "loongarch64"),
    "SCMP_ARCH_M68K": (0x00000004, "m68k"),
    "SCMP_ARCH_PARISC": (0x0000000F, "parisc"),
    "SCMP_ARCH_PARISC64": (0x8000000F, "parisc64"),
    "SCMP_ARCH_SH": (0x4000002A, "sh"),
    "SCMP_ARCH_SHEB": (0x0000002A, "sheb"),
}

# uname machine: the architectures whose system calls such a kernel takes, its own first
_FAMILIES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "i686": ("SCMP_ARCH_X86",),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "armv7l": ("SCMP_ARCH_ARM",),
    "riscv64": ("SCMP_ARCH_RISCV64",),
    "s390x": ("SCMP_ARCH_S390X", "SCMP_ARCH_S390"),
    "ppc64le": ("SCMP_ARCH_PPC64LE",),
}

_WIDE = 0x80000000  # AUDIT_ARCH_64BIT
_X32_BIT = 0x40000000
_EPERM = 1
_ENOSYS = 38
_U64 = (1 << 64) - 1

# offsets in struct seccomp_data
_NR = LOAD
_ARCH = LOAD | 4 << 32
_ARGS = 16
_LOW, _HIGH = (0, 4) if sys.byteorder == "little" else (4, 0)

# 32-bit libcs reach these through one call that takes the number of the real one as its first argument
_MULTIPLEXED = {
    "socketcall": (
        "socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom "
        "shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg"
    ),
    "ipc": (
        "semop semget semctl semtimedop - - - - - - msgsnd msgrcv msgget msgctl - - - - - - shmat shmdt shmget shmctl"
    ),
}


def compile_profile(seccomp: dict[str, Any], path: str, host_arch: str) -> Filter:
    """See `wherry.runtime.seccomp.filter.compile_filter`."""
    if not isinstance(seccomp, dict):
        raise WherryError(INVALID_ARGUMENT, "must be an object", path=path)
    default = _action(seccomp, "defaultAction", "defaultErrnoRet", path)
    if default == RET_NOTIFY:
        raise WherryError(INVALID_ARGUMENT, "SCMP_ACT_NOTIFY cannot be the default", path=f"{path}.defaultAction")
    warnings: list[str] = []
    architectures = _architectures(seccomp, path, host_arch)
    leaves, notifies = _leaves(seccomp, path, default)
    flags = _flags(seccomp, path, notifies, warnings)
    listener, metadata = _listener(seccomp, path, notifies)
    program = _assemble(architectures, leaves, default)
    if len(program) > MAX_INSTRUCTIONS * 8:
        raise WherryError(
            FAILED_PRECONDITION,
            f"the profile needs {len(program) // 8} filter instructions, the kernel takes {MAX_INSTRUCTIONS}",
            path=path,
        )
    return Filter(program, flags, listener, metadata, warnings)


def _action(holder: dict[str, Any], key: str, errno_key: str, path: str) -> int:
    """The SECCOMP_RET_* value of an action and its errno."""
    name = holder.get(key)
    action = ACTIONS.get(name) if isinstance(name, str) else None
    if action is None:
        raise WherryError(INVALID_ARGUMENT, f"unknown seccomp action {name!r}", path=f"{path}.{key}")
    errno = holder.get(errno_key)
    if action not in (RET_ERRNO, RET_TRACE):
        if errno is not None:
            raise WherryError(INVALID_ARGUMENT, f"{name} takes no errno", path=f"{path}.{errno_key}")
        return action
    if errno is None:
        return action | _EPERM
    limit = 4095 if action == RET_ERRNO else 0xFFFF
    if type(errno) is not int or not 0 <= errno <= limit:
        raise WherryError(INVALID_ARGUMENT, f"must be a number from 0 to {limit}", path=f"{path}.{errno_key}")
    return action | errno


def _architectures(seccomp: dict[str, Any], path: str, host_arch: str) -> list[tuple[int, str]]:
    """(AUDIT_ARCH_*, table) of those listed architectures that the host can run, its own first."""
    family = _FAMILIES.get(host_arch)
    if family is None:
        raise WherryError(NOT_IMPLEMENTED, f"no system call table for {host_arch}", path=path)
    listed = _list(seccomp, "architectures", path)
    for index, name in enumerate(listed):
        if not isinstance(name, str) or name not in ARCHITECTURES:
            raise WherryError(INVALID_ARGUMENT, f"unknown architecture {name!r}", path=f"{path}.architectures[{index}]")
    return [ARCHITECTURES[name] for name in family if name is family[0] or name in listed]


def _list(holder: dict[str, Any], key: str, path: str) -> list[Any]:
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise WherryError(INVALID_ARGUMENT, "must be a list", path=f"{path}.{key}")
    return value


def _leaves(seccomp: dict[str, Any], path: str, default: int) -> tuple[dict[str, Leaf], bool]:
    """What each named system call leads to, and whether anything notifies."""
    plain: dict[str, Leaf] = {}
    chains: dict[str, list[tuple[tuple[Condition, ...], int]]] = {}
    without_effect: list[str] = []
    notifies = False
    for index, rule in enumerate(_list(seccomp, "syscalls", path)):
        place = f"{path}.syscalls[{index}]"
        if not isinstance(rule, dict):
            raise WherryError(INVALID_ARGUMENT, "must be an object", path=place)
        action = _action(rule, "action", "errnoRet", place)
        names = _names(rule, place)
        alternatives = _alternatives(_list(rule, "args", place), place)
        if action == RET_NOTIFY:
            notifies = True
            _refuse_notify(names, place)
        if action == default:
            without_effect += names
        elif not alternatives and len(names) > len(plain):
            earlier, plain = plain, dict.fromkeys(names, action)
            plain.update(earlier)
        elif not alternatives:
            for name in names:
                plain.setdefault(name, action)
        else:
            for name in names:
                chains.setdefault(name, []).extend((conditions, action) for conditions in alternatives)
    leaves: dict[str, Leaf] = dict.fromkeys(without_effect, default)
    for name, chain in chains.items():
        leaves[name] = tuple(chain)
    leaves.update(plain)
    return leaves, notifies


def _names(rule: dict[str, Any], path: str) -> list[str]:
    names = rule.get("names")
    if not isinstance(names, list):
        raise WherryError(INVALID_ARGUMENT, "must be a list of system call names", path=f"{path}.names")
    try:
        "".join(names)  # the cheapest way to see that all are strings
        sound = "" not in names
    except TypeError:
        sound = False
    if not sound:
        wrong = next(i for i, name in enumerate(names) if type(name) is not str or not name)
        raise WherryError(INVALID_ARGUMENT, "must be a system call name", path=f"{path}.names[{wrong}]")
    return names


def _refuse_notify(names: list[str], path: str) -> None:
    """The process that loads the filter must still be able to report the listener's descriptor."""
    if "write" in names:
        raise WherryError(
            INVALID_ARGUMENT,
            "SCMP_ACT_NOTIFY cannot be used for the write system call",
            path=f"{path}.names[{names.index('write')}]",
        )


def _alternatives(args: list[Any], path: str) -> list[tuple[Condition, ...]]:
    """The ways to satisfy `args`: none when there is nothing to satisfy."""
    conditions = [_condition(arg, f"{path}.args[{index}]") for index, arg in enumerate(args)]
    if not conditions:
        return []
    if len({condition[0] for condition in conditions}) < len(conditions):
        return [(condition,) for condition in conditions]
    return [tuple(conditions)]


def _condition(arg: object, path: str) -> Condition:
    if not isinstance(arg, dict):
        raise WherryError(INVALID_ARGUMENT, "must be an object", path=path)
    operator = arg.get("op")
    if operator not in OPERATORS:
        raise WherryError(INVALID_ARGUMENT, f"unknown operator {operator!r}", path=f"{path}.op")
    return (
        _number(arg, "index", 5, path, required=True),
        operator,
        _number(arg, "value", _U64, path, required=True),
        _number(arg, "valueTwo", _U64, path, required=False),
    )


def _number(arg: dict[str, Any], key: str, limit: int, path: str, *, required: bool) -> int:
    value = arg.get(key)
    if value is None and not required:
        return 0
    if type(value) is not int or not 0 <= value <= limit:
        raise WherryError(INVALID_ARGUMENT, f"must be a number from 0 to {limit}", path=f"{path}.{key}")
    return value


def _flags(seccomp: dict[str, Any], path: str, notifies: bool, warnings: list[str]) -> int:
    """SECCOMP_FILTER_FLAG_*. Without `flags` it is SPEC_ALLOW, as in runc; an empty list means none."""
    if seccomp.get("flags") is None:
        flags = FLAG_SPEC_ALLOW
    else:
        flags = 0
        for index, name in enumerate(_list(seccomp, "flags", path)):
            bit = FLAGS.get(name) if isinstance(name, str) else None
            if bit is None:
                raise WherryError(INVALID_ARGUMENT, f"unknown flag {name!r}", path=f"{path}.flags[{index}]")
            flags |= bit
    if notifies:
        flags |= FLAG_NEW_LISTENER
        if flags & FLAG_TSYNC:
            flags |= FLAG_TSYNC_ESRCH  # the kernel refuses the pair without it: both would be the result
    elif flags & FLAG_WAIT_KILLABLE_RECV:
        flags &= ~FLAG_WAIT_KILLABLE_RECV
        warnings.append(f"{path}.flags: WAIT_KILLABLE_RECV has no effect without SCMP_ACT_NOTIFY")
    return flags


def _listener(seccomp: dict[str, Any], path: str, notifies: bool) -> tuple[str, str]:
    values = []
    for key in ("listenerPath", "listenerMetadata"):
        value = seccomp.get(key)
        if value is not None and (not isinstance(value, str) or "\0" in value):
            raise WherryError(INVALID_ARGUMENT, "must be a string", path=f"{path}.{key}")
        values.append(value or "")
    listener, metadata = values
    if metadata and not listener:
        raise WherryError(INVALID_ARGUMENT, "needs listenerPath", path=f"{path}.listenerMetadata")
    if not notifies:
        return "", ""
    if not listener:
        raise WherryError(INVALID_ARGUMENT, "SCMP_ACT_NOTIFY needs it", path=f"{path}.listenerPath")
    return listener, metadata


def _assemble(architectures: list[tuple[int, str]], leaves: dict[str, Leaf], default: int) -> bytes:
    """The whole program: a jump to the architecture's part, each of which is a search by number."""
    asm = Assembler()
    stub = default if default & 0xFFFF0000 in (RET_ALLOW, RET_LOG, RET_TRACE) else RET_ERRNO | _ENOSYS
    entries: list[tuple[int, int]] = []
    x32: int | None = None
    for audit, arch in reversed(architectures):
        ranges = _ranges(arch, leaves, default, stub)
        if arch == "x32":
            x32 = _search(asm, ranges, default, wide=False)
            continue
        if arch == "x86_64" and x32 is None and ranges[-1][1] != RET_ERRNO | _ENOSYS:
            ranges += [(_X32_BIT, RET_KILL_THREAD), ((1 << 32) - 1, default)]
        entry = _search(asm, ranges, default, wide=audit & _WIDE != 0)
        if arch == "x86_64" and x32 is not None:
            entry = asm.jump(JGE, _X32_BIT, x32, entry)
        entries.append((audit, asm.before(entry, _NR)))
    entry = asm.ret(RET_KILL_THREAD)
    for audit, target in entries:
        entry = asm.jump(JEQ, audit, target, entry)
    asm.before(entry, _ARCH)
    return asm.program()


def _ranges(arch: str, leaves: dict[str, Leaf], default: int, stub: int) -> list[tuple[int, Leaf]]:
    """(first number, leaf) of runs of system calls that end in the same leaf, in ascending order from 0.

    `stub` is for the numbers above the highest that the profile names.
    """
    if arch not in syscalls.TABLES and arch != "x32":
        return [(0, default)]
    base = _X32_BIT if arch == "x32" else 0
    table = syscalls.table(arch)
    if arch in ("x86", "s390x", "ppc64le"):
        leaves = _demultiplex(leaves, default)
    ranges: list[tuple[int, Leaf]] = [(0, default)]
    last: Leaf = default
    following = 0
    find = leaves.get
    for name, number in table.items():
        leaf = find(name)
        if leaf is None or number < following:
            continue
        if number > following and last != default:
            ranges.append((base + following, default))
            last = default
        if leaf != last:
            ranges.append((base + number, leaf))
            last = leaf
        following = number + 1
    end = stub if following else default
    if last != end:
        ranges.append((base + following, end))
    if len(ranges) > 1 and ranges[1][0] == 0:
        del ranges[0]
    return ranges


def _demultiplex(leaves: dict[str, Leaf], default: int) -> dict[str, Leaf]:
    """Rules of socket and System V IPC calls, applied to the calls that multiplex them.

    Only those without conditions: the arguments of the real call lie in memory, where a filter cannot look.
    """
    found: dict[str, Leaf] = {}
    for multiplexer, names in _MULTIPLEXED.items():
        own = leaves.get(multiplexer, default)
        if isinstance(own, int) and own != default:
            continue
        rules: list[tuple[tuple[Condition, ...], int]] = [
            (((0, "SCMP_CMP_EQ", number, 0),), leaf)
            for number, name in enumerate(names.split(" "), 1)
            if isinstance(leaf := leaves.get(name), int) and leaf != default
        ]
        if isinstance(own, tuple):
            rules = [*own, *rules]
        if rules:
            found[multiplexer] = tuple(rules)
    return {**leaves, **found} if found else leaves


def _search(asm: Assembler, ranges: list[tuple[int, Leaf]], default: int, *, wide: bool) -> int:
    """A binary search for the system call's number, which is loaded; the place where it begins."""
    chains: dict[Leaf, int] = {}

    def leaf_at(leaf: Leaf) -> int:
        if isinstance(leaf, int):
            return asm.ret(leaf)
        known = chains.get(leaf)
        if known is None:
            known = chains[leaf] = _chain(asm, leaf, default, wide)
        return known

    def search(low: int, high: int) -> int:
        if low == high:
            return leaf_at(ranges[low][1])
        if high - low <= 8 and _is_dotted(ranges, low, high):
            entry = leaf_at(ranges[low][1])
            for dot in range(high - 1, low, -2):
                entry = asm.jump(JEQ, ranges[dot][0], leaf_at(ranges[dot][1]), entry)
            return entry
        middle = (low + high + 1) // 2
        right = search(middle, high)
        return asm.jump(JGE, ranges[middle][0], right, search(low, middle - 1))

    return search(0, len(ranges) - 1)


def _is_dotted(ranges: list[tuple[int, Leaf]], low: int, high: int) -> bool:
    """Whether this is one leaf but for single numbers, which an equality test each finds most cheaply."""
    if (high - low) % 2:
        return False
    ground = ranges[low][1]
    return all(
        ranges[dot + 1][1] == ground and ranges[dot + 1][0] - ranges[dot][0] == 1 for dot in range(low + 1, high, 2)
    )


def _chain(asm: Assembler, chain: Chain, default: int, wide: bool) -> int:
    """The rules of one system call; the place of the first."""
    entry = asm.ret(default)
    for conditions, action in reversed(chain):
        holds = asm.ret(action)
        for condition in reversed(conditions):
            holds = _compare(asm, condition, holds, entry, wide)
        entry = holds
    return entry


def _compare(asm: Assembler, condition: Condition, yes: int, no: int, wide: bool) -> int:
    """One comparison of a 64-bit argument (32 bits of it where the architecture has no more)."""
    index, operator, value, second = condition
    low_word, high_word = (LOAD | (_ARGS + 8 * index + half) << 32 for half in (_LOW, _HIGH))
    if operator in ("SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE"):
        yes, no = no, yes
    if operator == "SCMP_CMP_MASKED_EQ":
        mask, value = value, value & second
    else:
        mask = _U64
    high, low = value >> 32, value & 0xFFFFFFFF
    exact = operator in ("SCMP_CMP_EQ", "SCMP_CMP_NE", "SCMP_CMP_MASKED_EQ")
    test = JEQ if exact else JGT if operator in ("SCMP_CMP_GT", "SCMP_CMP_LE") else JGE
    entry = _test(asm, test, low_word, mask & 0xFFFFFFFF, low, yes, no)
    mask >>= 32
    if not wide or not mask:
        return entry
    if exact:
        return _test(asm, JEQ, high_word, mask, high, entry, no)
    # greater in the high word decides at once, equal leaves it to the low word
    entry = asm.jump(JEQ, high, entry, no if high else yes)
    if high:
        entry = asm.jump(JGT, high, yes, entry)
    return asm.before(entry, high_word)


def _test(asm: Assembler, test: int, word: int, mask: int, value: int, yes: int, no: int) -> int:
    entry = asm.jump(test, value, yes, no)
    if mask != 0xFFFFFFFF:
        entry = asm.before(entry, AND | mask << 32)
    return asm.before(entry, word)
