"""An assembler of classic BPF, the language of seccomp filters (linux/filter.h).

It writes a program from its end to its start, so that the target of every jump is known when the jump is
written: a place is the number of instructions behind it. Jumps reach 255 instructions; farther targets are
reached over a copy (of a return) or an unconditional jump close by.
"""

from __future__ import annotations

import sys

MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS

# an instruction is one number: code | jump if true << 16 | jump if false << 24 | operand << 32
LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
JUMP = 0x05  # BPF_JMP | BPF_JA
JEQ = 0x15
JGT = 0x25
JGE = 0x35
RET = 0x06

_REACH = 250  # a little less than 255: bringing one target near may move the other away


class Assembler:
    """A program under construction."""

    __slots__ = ("_code", "_near", "_returns")

    def __init__(self) -> None:
        self._code: list[int] = []
        self._returns: dict[int, int] = {}
        self._near: dict[int, int] = {}

    def before(self, place: int, instruction: int) -> int:
        """An instruction that goes on at `place`; its own place."""
        code = self._code
        if place != len(code) - 1:
            code.append(JUMP | (len(code) - 1 - place) << 32)
        code.append(instruction)
        return len(code) - 1

    def ret(self, value: int) -> int:
        """The place of a return of `value`, written only when there is none in reach."""
        place = self._returns.get(value)
        if place is None or len(self._code) - place > _REACH:
            place = self._returns[value] = self._add(RET | value << 32)
        return place

    def jump(self, test: int, operand: int, yes: int, no: int) -> int:
        """A conditional jump to two places; its own place."""
        code = self._code
        size = len(code)
        if size - yes > _REACH or size - no > _REACH:
            yes, no = self._bring_near(yes), self._bring_near(no)
            size = len(code)
        code.append(test | (size - 1 - yes) << 16 | (size - 1 - no) << 24 | operand << 32)
        return size

    def _add(self, instruction: int) -> int:
        self._code.append(instruction)
        return len(self._code) - 1

    def _bring_near(self, place: int) -> int:
        code = self._code
        if len(code) - place <= _REACH:
            return place
        if code[place] & 0xFFFF == RET:
            return self.ret(code[place] >> 32)
        known = self._near.get(place)
        if known is None or len(code) - known > _REACH:
            known = self._near[place] = self._add(JUMP | (len(code) - 1 - place) << 32)
        return known

    def program(self) -> bytes:
        """The finished program: an array of struct sock_filter in the host's byte order."""
        if sys.byteorder == "little":
            return b"".join([step.to_bytes(8, "little") for step in reversed(self._code)])
        return b"".join(
            [
                (step & 0xFFFF).to_bytes(2, "big")
                + (step >> 16 & 0xFFFF).to_bytes(2, "little")
                + (step >> 32).to_bytes(4, "big")
                for step in reversed(self._code)
            ]
        )
