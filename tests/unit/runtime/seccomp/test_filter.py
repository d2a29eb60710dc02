from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.runtime.bpf_machine import AARCH64, ARM, X32_BIT, X86, X86_64, libseccomp_program, run
from wherry.errors import FAILED_PRECONDITION, INVALID_ARGUMENT, NOT_IMPLEMENTED, WherryError
from wherry.runtime.seccomp import filter as front
from wherry.runtime.seccomp import program as sc
from wherry.runtime.seccomp.syscalls import table

ENOSYS = sc.RET_ERRNO | errno.ENOSYS
EPERM = sc.RET_ERRNO | errno.EPERM
ALL_X86 = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]


def profile(*rules, default="SCMP_ACT_ERRNO", **more):
    return {"defaultAction": default, "syscalls": list(rules), **more}


def rule(action, *names, args=None, **more):
    return {"names": list(names), "action": action, **({"args": args} if args is not None else {}), **more}


def arg(index, op, value, second=0):
    return {"index": index, "op": "SCMP_CMP_" + op, "value": value, "valueTwo": second}


def compiled(document, host_arch="x86_64"):
    return front.compile_filter(document, host_arch=host_arch)


def verdict(program, name, *args, arch="x86_64"):
    audit = {"x86_64": X86_64, "x32": X86_64, "x86": X86, "aarch64": AARCH64, "arm": ARM}[arch]
    number = table(arch)[name] | (X32_BIT if arch == "x32" else 0)
    return run(program, audit, number, (*args, *[0] * (6 - len(args))))


# --- meaning --------------------------------------------------------------------------------------------


def test_an_allow_list():
    program = compiled(profile(rule("SCMP_ACT_ALLOW", "read", "write", "close", "statx"))).program
    assert verdict(program, "read") == verdict(program, "statx") == sc.RET_ALLOW
    assert verdict(program, "open") == EPERM
    assert verdict(program, "cachestat") == ENOSYS
    assert run(program, X86_64, 5000) == ENOSYS
    assert run(program, X86, 3) == sc.RET_KILL_THREAD
    assert run(program, X86_64, 3 | X32_BIT) == ENOSYS


def test_a_deny_list_has_no_enosys_stub():
    program = compiled(profile(rule("SCMP_ACT_ERRNO", "read"), default="SCMP_ACT_ALLOW")).program
    assert verdict(program, "read") == EPERM
    assert run(program, X86_64, 5000) == sc.RET_ALLOW
    assert run(program, X86_64, 3 | X32_BIT) == sc.RET_KILL_THREAD
    assert run(program, X86_64, 0xFFFFFFFF) == sc.RET_ALLOW


@pytest.mark.parametrize("default", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO"])
def test_every_refusing_default_gets_the_stub(default):
    program = compiled(profile(rule("SCMP_ACT_ALLOW", "read"), default=default)).program
    assert verdict(program, "statx") == ENOSYS


@pytest.mark.parametrize("default", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
def test_no_permitting_default_gets_the_stub(default):
    program = compiled(profile(rule("SCMP_ACT_ERRNO", "read"), default=default)).program
    assert verdict(program, "statx") & 0xFFFF0000 == sc.ACTIONS[default]


def test_a_profile_without_rules():
    assert verdict(compiled({"defaultAction": "SCMP_ACT_ALLOW"}).program, "read") == sc.RET_ALLOW
    assert verdict(compiled({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 7}).program, "read") == 0x50007


def test_other_architectures_share_the_profile():
    document = profile(rule("SCMP_ACT_ALLOW", "read", "llseek", "_llseek"), architectures=ALL_X86)
    program = compiled(document).program
    for arch in ("x86_64", "x86", "x32"):
        assert verdict(program, "read", arch=arch) == sc.RET_ALLOW
        assert verdict(program, "mount", arch=arch) in (EPERM, ENOSYS)
    assert verdict(program, "_llseek", arch="x86") == sc.RET_ALLOW
    arm = compiled({**document, "architectures": ["SCMP_ARCH_ARM", "SCMP_ARCH_S390X"]}, "aarch64").program
    assert verdict(arm, "read", arch="aarch64") == verdict(arm, "_llseek", arch="arm") == sc.RET_ALLOW
    assert run(arm, 0x80000016, 3) == sc.RET_KILL_THREAD


def test_actions_carry_their_errno():
    program = compiled(
        profile(
            rule("SCMP_ACT_ERRNO", "read", errnoRet=38),
            rule("SCMP_ACT_TRACE", "write", errnoRet=0x1234),
            rule("SCMP_ACT_KILL_PROCESS", "open"),
            rule("SCMP_ACT_LOG", "close"),
            rule("SCMP_ACT_TRAP", "stat"),
        )
    ).program
    assert [verdict(program, n) for n in ("read", "write", "open", "close", "stat")] == [
        0x50026,
        0x7FF01234,
        0x80000000,
        0x7FFC0000,
        0x30000,
    ]


def test_rules_of_one_call_are_alternatives_and_conditions_add_up():
    program = compiled(
        profile(
            rule("SCMP_ACT_ALLOW", "socket", args=[arg(0, "EQ", 1), arg(1, "EQ", 2)]),
            rule("SCMP_ACT_ALLOW", "socket", args=[arg(0, "EQ", 7)]),
        )
    ).program
    assert verdict(program, "socket", 1, 2) == verdict(program, "socket", 7) == sc.RET_ALLOW
    assert verdict(program, "socket", 1, 3) == verdict(program, "socket", 2, 2) == EPERM


def test_two_conditions_on_one_argument_are_alternatives():
    program = compiled(profile(rule("SCMP_ACT_ALLOW", "personality", args=[arg(0, "EQ", 0), arg(0, "EQ", 8)]))).program
    assert [verdict(program, "personality", v) for v in (0, 8, 1)] == [sc.RET_ALLOW, sc.RET_ALLOW, EPERM]


def test_a_rule_without_conditions_beats_the_others():
    conditional = rule("SCMP_ACT_LOG", "read", args=[arg(0, "EQ", 1)])
    plain = rule("SCMP_ACT_ALLOW", "read")
    for rules in ((conditional, plain), (plain, conditional), (plain, rule("SCMP_ACT_LOG", "read"))):
        assert verdict(compiled(profile(*rules)).program, "read", 1) == sc.RET_ALLOW


def test_unknown_names_are_ignored():
    program = compiled(profile(rule("SCMP_ACT_ALLOW", "no_such_call", "read"))).program
    assert verdict(program, "read") == sc.RET_ALLOW


def test_multiplexed_calls_of_32_bit_processes():
    program = compiled(
        profile(
            rule("SCMP_ACT_ALLOW", "connect", "semop", "listen"),
            rule("SCMP_ACT_ALLOW", "bind", args=[arg(0, "EQ", 1)]),
            architectures=ALL_X86,
        )
    ).program
    assert verdict(program, "socketcall", 3, arch="x86") == sc.RET_ALLOW
    assert verdict(program, "ipc", 1, arch="x86") == sc.RET_ALLOW
    assert verdict(program, "socketcall", 2, arch="x86") == EPERM
    allowed = compiled(profile(rule("SCMP_ACT_ALLOW", "socketcall"), architectures=ALL_X86)).program
    assert verdict(allowed, "socketcall", 2, arch="x86") == sc.RET_ALLOW


# --- notify and flags -----------------------------------------------------------------------------------


def test_notify_asks_for_a_listener():
    document = profile(rule("SCMP_ACT_NOTIFY", "mkdir"), listenerPath="/run/agent", listenerMetadata="x")
    result = compiled(document)
    assert result.flags == front.FLAG_NEW_LISTENER | front.FLAG_SPEC_ALLOW
    assert (result.listener_path, result.listener_metadata) == ("/run/agent", "x")
    assert verdict(result.program, "mkdir") == 0x7FC00000
    quiet = compiled(profile(listenerPath="/run/agent"))
    assert (quiet.listener_path, quiet.flags) == ("", front.FLAG_SPEC_ALLOW)


def test_flags():
    assert compiled(profile(flags=[])).flags == 0
    assert compiled(profile(flags=["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"])).flags == 3
    notify = rule("SCMP_ACT_NOTIFY", "mkdir")
    both = compiled(profile(notify, flags=list(sc.FLAGS), listenerPath="/x"))
    assert both.flags == 0b111111
    useless = compiled(profile(flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]))
    assert useless.flags == 0
    assert len(useless.warnings) == 1


# --- bad documents --------------------------------------------------------------------------------------

READ = rule("SCMP_ACT_ALLOW", "read")


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ([], "linux.seccomp"),
        ({}, "linux.seccomp.defaultAction"),
        ({"defaultAction": "SCMP_ACT_MAYBE"}, "linux.seccomp.defaultAction"),
        ({"defaultAction": ["x"]}, "linux.seccomp.defaultAction"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "linux.seccomp.defaultAction"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}, "linux.seccomp.defaultErrnoRet"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}, "linux.seccomp.defaultErrnoRet"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": True}, "linux.seccomp.defaultErrnoRet"),
        (profile(architectures=["SCMP_ARCH_X86", "SCMP_ARCH_VAX"]), "linux.seccomp.architectures[1]"),
        (profile(architectures="SCMP_ARCH_X86"), "linux.seccomp.architectures"),
        (profile(flags=["SECCOMP_FILTER_FLAG_FAST"]), "linux.seccomp.flags[0]"),
        (profile(READ, 7), "linux.seccomp.syscalls[1]"),
        (profile({"action": "SCMP_ACT_ALLOW"}), "linux.seccomp.syscalls[0].names"),
        (profile(rule("SCMP_ACT_ALLOW", "read", "")), "linux.seccomp.syscalls[0].names[1]"),
        (profile(rule("SCMP_ACT_ALLOW", 3)), "linux.seccomp.syscalls[0].names[0]"),
        (profile(rule("SCMP_ACT_KILL", "read", errnoRet=1)), "linux.seccomp.syscalls[0].errnoRet"),
        (profile(READ, rule("ALLOW", "read")), "linux.seccomp.syscalls[1].action"),
        (profile(rule("SCMP_ACT_ALLOW", "read", args=[7])), "linux.seccomp.syscalls[0].args[0]"),
        (profile(rule("SCMP_ACT_ALLOW", "read", args=[arg(6, "EQ", 0)])), "linux.seccomp.syscalls[0].args[0].index"),
        (profile(rule("SCMP_ACT_ALLOW", "read", args=[arg(0, "IS", 0)])), "linux.seccomp.syscalls[0].args[0].op"),
        (profile(rule("SCMP_ACT_LOG", "read", args=[arg(0, "EQ", 2**64)])), "linux.seccomp.syscalls[0].args[0].value"),
        (profile(rule("SCMP_ACT_LOG", "read", args=[arg(0, "EQ", -1)])), "linux.seccomp.syscalls[0].args[0].value"),
        (profile(rule("SCMP_ACT_NOTIFY", "mkdir")), "linux.seccomp.listenerPath"),
        (profile(rule("SCMP_ACT_NOTIFY", "mkdir", "write"), listenerPath="/x"), "linux.seccomp.syscalls[0].names[1]"),
        (profile(listenerMetadata="x"), "linux.seccomp.listenerMetadata"),
        (profile(listenerPath=3), "linux.seccomp.listenerPath"),
    ],
)  # fmt: skip
def test_errors_name_their_place(document, path):
    with pytest.raises(WherryError) as caught:
        compiled(document)
    assert (caught.value.code, caught.value.path) == (INVALID_ARGUMENT, path)


def test_an_unknown_host():
    with pytest.raises(WherryError) as caught:
        compiled(profile(), "vax")
    assert caught.value.code == NOT_IMPLEMENTED


def test_a_profile_may_be_too_large():
    conditions = [arg(i, "GT", 1 << 40) for i in range(6)]
    rules = [rule("SCMP_ACT_ALLOW", n, args=[*conditions[:5], arg(5, "GT", i)]) for i, n in enumerate(table("x86_64"))]
    with pytest.raises(WherryError) as caught:
        compiled(profile(*rules))
    assert caught.value.code == FAILED_PRECONDITION


# --- properties -----------------------------------------------------------------------------------------

ACTIONS = st.sampled_from(
    ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_LOG", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"]
)
EDGES = [0, 1, 2, 8, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, 1 << 63, (1 << 64) - 1]
VALUES = st.one_of(st.sampled_from(EDGES), st.integers(0, (1 << 64) - 1))
CONDITIONS = st.builds(
    lambda index, op, value, second: {"index": index, "op": op, "value": value, "valueTwo": second},
    st.integers(0, 5),
    st.sampled_from(sc.OPERATORS),
    VALUES,
    VALUES,
)
NAMES = st.sampled_from([*table("x86_64"), "no_such_call"])
RULES = st.builds(
    lambda names, action, args: {"names": names, "action": action, "args": args},
    st.lists(NAMES, max_size=40),
    ACTIONS,
    st.one_of(st.just([]), st.lists(CONDITIONS, max_size=3, unique_by=lambda c: c["index"])),
)
PROFILES = st.builds(
    lambda default, rules, arches: {"defaultAction": default, "syscalls": rules, "architectures": arches},
    ACTIONS,
    st.lists(RULES, max_size=12),
    st.lists(st.sampled_from(ALL_X86), unique=True),
)


def holds(condition, args, width):
    mask = (1 << width) - 1
    value, second = condition["value"] & mask, condition["valueTwo"] & mask
    actual = args[condition["index"]] & mask
    return {
        "NE": actual != value,
        "LT": actual < value,
        "LE": actual <= value,
        "EQ": actual == value,
        "GE": actual >= value,
        "GT": actual > value,
        "MASKED_EQ": actual & value == second & value,
    }[condition["op"].removeprefix("SCMP_CMP_")]


def expected(document, arch, number, args):
    """The profile's verdict, found the slow way. `arch` is a table; multiplexed calls are not considered."""
    default = action(document["defaultAction"])
    if arch != "x86_64" and f"SCMP_ARCH_{arch.upper()}" not in document["architectures"]:
        stubbed = default not in (sc.RET_ALLOW, sc.RET_LOG)
        stubbed = stubbed and any(n in table("x86_64") for r in document["syscalls"] for n in r["names"])
        return ENOSYS if stubbed and arch == "x32" else sc.RET_KILL_THREAD
    rules = document["syscalls"]
    numbers = table(arch)
    named = {numbers[name] for r in rules for name in r["names"] if name in numbers}
    if named and number > max(named) and default not in (sc.RET_ALLOW, sc.RET_LOG):
        return ENOSYS
    mine = [r for r in rules if action(r["action"]) != default and number in {numbers.get(n) for n in r["names"]}]
    for r in mine:
        if not r["args"]:
            return action(r["action"])
    width = 64 if arch == "x86_64" else 32
    for r in mine:
        if all(holds(c, args, width) for c in r["args"]):
            return action(r["action"])
    return default


def action(name):
    return EPERM if name == "SCMP_ACT_ERRNO" else sc.ACTIONS[name]


@settings(max_examples=150, deadline=None)
@given(PROFILES, st.integers(0, 1 << 32))
def test_the_filter_says_what_the_profile_says(document, seed):
    random = Random(seed)
    program = compiled(document).program
    interesting = sorted({n for r in document["syscalls"] for n in r["names"]})
    values = [v for r in document["syscalls"] for c in r["args"] for v in (c["value"], c["valueTwo"], c["value"] + 1)]
    values += EDGES
    for arch in ("x86_64", "x86", "x32"):
        known = [table(arch)[n] for n in interesting if n in table(arch)]
        for _ in range(20):
            number = random.choice(known) if known and random.random() < 0.8 else random.randrange(600)
            if arch == "x86" and number in (102, 117):
                continue
            args = [(random.choice(values) + random.choice((-1, 0, 0, 1))) & (1 << 64) - 1 for _ in range(6)]
            audit = X86 if arch == "x86" else X86_64
            real = number | X32_BIT if arch == "x32" else number
            assert run(program, audit, real, args) == expected(document, arch, number, args)


@settings(max_examples=80, deadline=None)
@given(PROFILES, st.integers(0, 1 << 32))
def test_libseccomp_agrees(document, seed):
    """Up to what libseccomp does in its own way: overlapping rules, the ENOSYS stub and foreign calls."""
    random = Random(seed)
    default = action(document["defaultAction"])
    rules, seen = [], set()
    old = {name for name, number in table("x86").items() if number <= 450}  # Debian's library knows these
    for r in document["syscalls"]:
        r["names"] = [n for n in dict.fromkeys(r["names"]) if n not in seen and n in old]
        seen.update(r["names"])
        conditions = [(c["index"], c["op"], c["value"], c["valueTwo"]) for c in r["args"]]
        rules += [(action(r["action"]), name, conditions) for name in r["names"]]
    theirs = libseccomp_program(default, document["architectures"], rules)
    ours = compiled(document).program
    stubbed = default not in (sc.RET_ALLOW, sc.RET_LOG)
    values = [v for r in document["syscalls"] for c in r["args"] for v in (c["value"], c["valueTwo"])] + EDGES
    for arch in ("x86_64", "x86"):
        numbers = [table(arch)[n] for n in seen if n in table(arch)]
        if (arch == "x86" and "SCMP_ARCH_X86" not in document["architectures"]) or not numbers:
            continue
        for _ in range(20):
            number = random.choice([*numbers, random.randint(0, max(numbers) if stubbed else 600)])
            if arch == "x86" and (number in (102, 117) or 340 <= number <= 402):
                continue
            args = [(random.choice(values) + random.choice((-1, 0, 0, 1))) & (1 << 64) - 1 for _ in range(6)]
            audit = X86 if arch == "x86" else X86_64
            assert run(ours, audit, number, args) == run(theirs, audit, number, args)


@settings(max_examples=100, deadline=None)
@given(st.recursive(st.one_of(st.none(), st.integers(), st.text(), st.sampled_from(list(sc.ACTIONS))), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["defaultAction", "syscalls", "names", "action", "args", "op", "index", "value", "flags", "architectures"]), inner, max_size=5), max_leaves=20))  # fmt: skip # noqa: E501
def test_any_json_is_compiled_or_refused(document):
    try:
        compiled(document)
    except WherryError as error:
        assert error.path.startswith("linux.seccomp")


# --- the cache ------------------------------------------------------------------------------------------


def cached(document, folder, host_arch="x86_64"):
    return front.cached_filter(document, host_arch=host_arch, cache_dir=str(folder))


def entries(folder):
    return [p for p in folder.iterdir() if not p.name.startswith(".")]


NOTIFYING = profile(rule("SCMP_ACT_NOTIFY", "mkdir"), listenerPath="/run/agent", listenerMetadata="x")


@pytest.mark.parametrize("document", [profile(READ), NOTIFYING])
def test_a_cached_filter_is_the_compiled_one(tmp_path, document):
    folder = tmp_path / "made" / "here"
    fresh = compiled(document)
    for _ in range(2):
        result = cached(document, folder)
        for name in front.Filter.__slots__:
            assert getattr(result, name) == getattr(fresh, name)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(list(folder.iterdir())) == 1


def test_the_cache_is_used_without_the_compiler(tmp_path):
    cached(profile(READ), tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from wherry.runtime.seccomp.filter import cached_filter;"
        "cached_filter(eval(sys.argv[2]), host_arch='x86_64', cache_dir=sys.argv[3]);"
        "print('wherry.runtime.seccomp.program' in sys.modules)"
    )
    root = str(Path(front.__file__).parents[3])
    command = [sys.executable, "-ISc", code, root, repr(profile(READ)), str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "False\n"


def test_profiles_and_machines_are_kept_apart(tmp_path):
    first = cached(profile(READ), tmp_path)
    assert cached(profile(READ), tmp_path, "aarch64").program != first.program
    assert cached(profile(rule("SCMP_ACT_LOG", "read")), tmp_path).program != first.program
    assert len(entries(tmp_path)) == 3


@pytest.mark.parametrize("spoil", [lambda b: b[:-8] + b"\x06\0\0\0\0\0\xff\x7f", lambda b: b[:20], lambda b: b""])
def test_a_damaged_entry_is_compiled_again(tmp_path, spoil):
    fresh = cached(profile(READ), tmp_path)
    (entry,) = entries(tmp_path)
    sound = entry.read_bytes()
    entry.write_bytes(spoil(sound))
    assert cached(profile(READ), tmp_path).program == fresh.program
    assert entry.read_bytes() == sound


def test_a_folder_that_others_can_write_is_not_used(tmp_path):
    tmp_path.chmod(0o777)
    assert cached(profile(READ), tmp_path).program
    assert not entries(tmp_path)
    link = tmp_path / "link"
    (tmp_path / "mine").mkdir(mode=0o700)
    link.symlink_to("mine")
    assert cached(profile(READ), link).program
    assert not entries(tmp_path / "mine")


def test_no_folder_is_no_error(tmp_path):
    (tmp_path / "file").touch()
    assert cached(profile(READ), tmp_path / "file" / "x").program
    assert front.cached_filter(profile(READ), host_arch="x86_64", cache_dir="").program


def test_bad_documents_are_refused_as_without_a_cache(tmp_path):
    for document in ({}, [], profile(rule("SCMP_ACT_ALLOW", object()))):
        with pytest.raises(WherryError):
            cached(document, tmp_path)


def test_the_cache_does_not_grow_without_end(tmp_path):
    for number in range(front._MOST_ENTRIES + 3):
        cached(profile(rule("SCMP_ACT_ERRNO", "read", errnoRet=number + 2)), tmp_path)
    assert len(entries(tmp_path)) <= front._MOST_ENTRIES


# --- the kernel -----------------------------------------------------------------------------------------

LOADER = """
import ctypes, os, sys, json
program = bytes.fromhex(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
class Fprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
fprog = Fprog(len(program) // 8, program)
calls = json.loads(sys.argv[3])
assert libc.prctl(38, 1, 0, 0, 0) == 0
if libc.syscall(317, 1, int(sys.argv[2]), ctypes.byref(fprog)) < 0:
    os.write(1, b"refused %d" % ctypes.get_errno()); os._exit(1)
results = []
for call in calls:
    ctypes.set_errno(0)
    value = libc.syscall(*[ctypes.c_long(a) for a in call])
    results.append(-ctypes.get_errno() if value < 0 else 0)
os.write(1, json.dumps(results).encode())
os._exit(0)
"""


def in_kernel(result, *calls):
    """Load the filter in a process of its own and make the calls there; each call's negated errno or 0."""
    done = subprocess.run(
        [sys.executable, "-IS", "-c", LOADER, result.program.hex(), str(result.flags), json.dumps(calls)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (done.stdout, done.stderr, done.returncode)
    return json.loads(done.stdout)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the loader knows the numbers of x86_64 only")
def test_the_kernel_loads_and_obeys_it():
    number = table("x86_64")
    result = compiled(
        profile(
            rule("SCMP_ACT_ERRNO", "getppid", errnoRet=errno.EXDEV),
            rule("SCMP_ACT_ERRNO", "personality", args=[arg(0, "EQ", 1 << 33)], errnoRet=errno.ENOANO),
            rule("SCMP_ACT_ERRNO", "socket", args=[arg(0, "EQ", 1), arg(2, "NE", 0)], errnoRet=errno.EL2HLT),
            default="SCMP_ACT_ALLOW",
            architectures=ALL_X86,
            flags=["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"],
        )
    )
    calls = [
        [number["getppid"]],
        [number["getpid"]],
        [number["personality"], 0xFFFFFFFF],
        [number["personality"], 1 << 33],
        [number["socket"], 1, 1, 0],
        [number["socket"], 1, 1, 1],
    ]
    assert in_kernel(result, *calls) == [-errno.EXDEV, 0, 0, -errno.ENOANO, 0, -errno.EL2HLT]


FOREIGN = """
import ctypes, json, mmap, os, sys
program = bytes.fromhex(sys.argv[1])
class Fprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
code = mmap.mmap(-1, 4096, prot=7)
code.write(bytes.fromhex("53b840000000cd805bc3"))  # push rbx; mov eax, 64; int 0x80; pop rbx; ret
getppid_of_x86 = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Fprog(len(program) // 8, program)), 0, 0) == 0
libc.syscall(0x40000000 | 110)
os.write(1, json.dumps([getppid_of_x86(), -ctypes.get_errno()]).encode())
os._exit(0)
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x86_64 has these other architectures")
def test_the_kernel_asks_the_part_of_the_callers_architecture():
    document = profile(
        rule("SCMP_ACT_ERRNO", "getppid", errnoRet=errno.EXDEV),
        default="SCMP_ACT_ALLOW",
        architectures=ALL_X86,
    )
    command = [sys.executable, "-ISc", FOREIGN]
    done = subprocess.run([*command, compiled(document).program.hex()], capture_output=True, text=True)
    assert json.loads(done.stdout) == [-errno.EXDEV, -errno.EXDEV], done.stderr
    alone = compiled({**document, "architectures": []}).program.hex()
    assert subprocess.run([*command, alone], capture_output=True).returncode == -signal.SIGSYS


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the loader knows the numbers of x86_64 only")
def test_the_kernel_takes_a_large_program():
    """Far jumps go over trampolines, which the kernel's verifier checks."""
    rules = [
        rule("SCMP_ACT_ERRNO", name, args=[arg(0, "EQ", i), arg(1, "EQ", i << 32), arg(2, "EQ", i)], errnoRet=i % 4000)
        for i, name in enumerate([*table("x86_64")][:250])
    ]
    result = compiled(profile(*rules, default="SCMP_ACT_ALLOW"))
    assert len(result.program) // 8 > 2000
    numbers = table("x86_64")
    assert in_kernel(result, [numbers["getppid"]], [numbers["read"], -1, 0, 0]) == [0, -errno.EBADF]


def test_the_program_is_the_native_struct():
    assert ctypes.sizeof(ctypes.c_ushort) + 2 + ctypes.sizeof(ctypes.c_uint32) == 8
    assert len(compiled(profile()).program) % 8 == 0
