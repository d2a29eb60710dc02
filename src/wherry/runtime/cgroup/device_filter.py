"""Device rules of linux.resources.devices, compiled to the eBPF program of a version 2 cgroup.

runtime-spec config-linux.md "Allowed Device list". Reading, writing and making a node are decided each by the last
rule that matches the device and names that access; what no rule names is denied. The program is of type
BPF_PROG_TYPE_CGROUP_DEVICE and returns 1 for "allowed".
"""

from __future__ import annotations

import sys

from wherry.errors import INVALID_ARGUMENT, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Rule = tuple[bool, str, int, int, str]  # allow, "a" "b" or "c", major or -1, minor or -1, of "rwm"

PROG_TYPE_CGROUP_DEVICE = 15  # enum bpf_prog_type
ATTACH_TYPE_CGROUP_DEVICE = 6  # enum bpf_attach_type

# what every container may use, whatever its document says; append them to its rules
DEFAULT_RULES: tuple[Rule, ...] = (
    (True, "c", -1, -1, "m"),
    (True, "b", -1, -1, "m"),
    (True, "c", 1, 3, "rwm"),  # null
    (True, "c", 1, 5, "rwm"),  # zero
    (True, "c", 1, 7, "rwm"),  # full
    (True, "c", 1, 8, "rwm"),  # random
    (True, "c", 1, 9, "rwm"),  # urandom
    (True, "c", 5, 0, "rwm"),  # tty
    (True, "c", 5, 1, "rwm"),  # console
    (True, "c", 5, 2, "rwm"),  # ptmx
    (True, "c", 136, -1, "rwm"),  # pseudo-terminals
)

_TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*
_ACCESS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_*
_ALL = 7
_ANY = -1
_HIGHEST = (1 << 31) - 1

# registers
_RESULT, _CONTEXT, _TYPE, _PENDING, _MAJOR, _MINOR = range(6)

# instruction codes of linux/bpf.h
_LOAD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
_MOVE = 0xBF  # BPF_ALU64 | BPF_MOV | BPF_X
_SET = 0xB7  # BPF_ALU64 | BPF_MOV | BPF_K
_AND = 0x57
_SHIFT_RIGHT = 0x77
_JUMP_NOT_EQUAL = 0x55
_JUMP_EQUAL = 0x15
_EXIT = 0x95


def device_rules(devices: list[dict[str, Any]] | None, path: str = "linux.resources.devices") -> list[Rule]:
    """The document's rules as `compile_devices` takes them.

    A missing type means all devices, a missing number any, a missing access all of "rwm". Raises
    WherryError(INVALID_ARGUMENT) with the place of what is wrong.
    """
    if devices is None:
        return []
    if not isinstance(devices, list):
        raise WherryError(INVALID_ARGUMENT, "must be a list", path=path)
    return [_rule(device, f"{path}[{index}]") for index, device in enumerate(devices)]


def _rule(device: dict[str, Any], path: str) -> Rule:
    if not isinstance(device, dict):
        raise WherryError(INVALID_ARGUMENT, "must be an object", path=path)
    allow = device.get("allow")
    if not isinstance(allow, bool):
        raise WherryError(INVALID_ARGUMENT, "must be true or false", path=f"{path}.allow")
    kind = device.get("type") or "a"
    if kind not in ("a", "b", "c"):
        raise WherryError(INVALID_ARGUMENT, f'must be "a", "b" or "c", not {kind!r}', path=f"{path}.type")
    access = device.get("access") or "rwm"
    if not isinstance(access, str) or access.strip("rwm"):
        raise WherryError(INVALID_ARGUMENT, f'must be of the letters "rwm", not {access!r}', path=f"{path}.access")
    return allow, kind, _number(device, "major", path), _number(device, "minor", path), access


def _number(device: dict[str, Any], key: str, path: str) -> int:
    value = device.get(key)
    if value is None:
        return _ANY
    if type(value) is not int or not _ANY <= value <= _HIGHEST:
        raise WherryError(INVALID_ARGUMENT, "must be a device number, or -1 for any", path=f"{path}.{key}")
    return value


def compile_devices(rules: list[Rule]) -> bytes:
    """An array of struct bpf_insn in the host's byte order."""
    code = [
        _step(_LOAD, _TYPE, source=_CONTEXT, offset=0),
        _step(_MOVE, _PENDING, source=_TYPE),
        _step(_SHIFT_RIGHT, _PENDING, value=16),  # the accesses that no rule has decided yet
        _step(_AND, _TYPE, value=0xFFFF),
        _step(_LOAD, _MAJOR, source=_CONTEXT, offset=4),
        _step(_LOAD, _MINOR, source=_CONTEXT, offset=8),
    ]
    for allow, kind, major, minor, access in reversed(rules):
        bits = 0
        for letter in access:
            bits |= _ACCESS[letter]
        if not bits:
            continue
        verdict = _verdict(allow, bits)
        tests = [(_TYPE, _TYPES[kind])] if kind != "a" else []
        tests += [(register, number) for register, number in ((_MAJOR, major), (_MINOR, minor)) if number != _ANY]
        for index, (register, number) in enumerate(tests):
            over = len(tests) - index - 1 + len(verdict)
            code.append(_step(_JUMP_NOT_EQUAL, register, value=number, offset=over))
        code += verdict
        if not tests and bits == _ALL:
            return b"".join(code)  # earlier rules are never asked; the kernel refuses dead code
    return b"".join([*code, *_finish(allow=False)])


def _verdict(allow: bool, bits: int) -> list[bytes]:
    """What a matching rule does; it falls through when something is left to decide."""
    finish = _finish(allow=allow)
    if bits == _ALL:
        return finish
    if allow:
        return [
            _step(_AND, _PENDING, value=_ALL & ~bits),
            _step(_JUMP_NOT_EQUAL, _PENDING, value=0, offset=len(finish)),
            *finish,
        ]
    return [
        _step(_MOVE, _RESULT, source=_PENDING),
        _step(_AND, _RESULT, value=bits),
        _step(_JUMP_EQUAL, _RESULT, value=0, offset=len(finish)),
        *finish,
    ]


def _finish(*, allow: bool) -> list[bytes]:
    return [_step(_SET, _RESULT, value=int(allow)), _step(_EXIT, 0)]


def _step(code: int, register: int, *, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    """One struct bpf_insn."""
    order = sys.byteorder
    registers = register | source << 4 if order == "little" else register << 4 | source
    return bytes((code, registers)) + offset.to_bytes(2, order) + value.to_bytes(4, order)
