"""Build a plan and turn it into bytes.

Layout, little endian, every section aligned to 8:

    header    magic u32, version u16, programs u16, size u32, crc32 u32 (of everything but itself)
    programs  per program: id u32, steps u32, offset u32, size u32
    steps     per step: code u16, arguments u16, label u32 (offset of a text), then u64 per argument
    blob      texts (NUL-terminated) and bytes; a text or bytes argument is offset | length << 32, offsets
              from the start of the plan; an absent text is all ones; a list is its texts one after
              another, each with its NUL, the length counting all
"""

from __future__ import annotations

from _struct import pack  # what `struct` re-exports, without reading a file
from zlib import crc32

from .instructions import BY_NAME, MAGIC, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Argument = int | str | bytes | None | Sequence[str]

ABSENT = 0xFFFFFFFFFFFFFFFF
HEADER_BYTES = 16


class Program:
    """The steps of one process. `where` of a step is the place in the user's document that asked for it."""

    __slots__ = ("id", "steps")

    def __init__(self, program_id: int) -> None:
        self.id = program_id
        self.steps: list[tuple[str, str, tuple[Argument, ...]]] = []

    def emit(self, name: str, *arguments: Argument, where: str = "") -> None:
        """Append a step. Its arguments are checked when the plan is encoded."""
        self.steps.append((name, where, arguments))


class Plan:
    """Programs by their number (`instructions.HOST` …), made on first use."""

    __slots__ = ("programs",)

    def __init__(self) -> None:
        self.programs: dict[int, Program] = {}

    def program(self, program_id: int) -> Program:
        """The program with this number."""
        found = self.programs.get(program_id)
        if found is None:
            found = self.programs[program_id] = Program(program_id)
        return found

    def encode(self) -> bytes:
        """The plan's bytes. Raises ValueError for a step whose arguments do not fit its instruction."""
        programs = [self.programs[key] for key in sorted(self.programs)]
        sizes = [sum([8 + 8 * len(step[2]) for step in program.steps]) for program in programs]
        at = HEADER_BYTES + 16 * len(programs)
        blob = _Blob(at + sum(sizes))
        table: list[int] = []
        words: list[int] = []
        for program, size in zip(programs, sizes, strict=True):
            table += (program.id, len(program.steps), at, size)
            at += size
            for name, where, arguments in program.steps:
                _encode_step(words, name, where, arguments, blob)
        rest = pack(f"<{len(table)}I", *table) + pack(f"<{len(words)}Q", *words) + blob.bytes()
        head = pack("<IHHI", MAGIC, VERSION, len(programs), HEADER_BYTES + len(rest))
        return head + pack("<I", crc32(rest, crc32(head))) + rest


class _Blob:
    """Texts and bytes, each stored once."""

    __slots__ = ("at", "known", "parts", "texts")

    def __init__(self, start: int) -> None:
        self.at = start
        self.parts: list[bytes] = []
        self.known: dict[bytes, int] = {}
        self.texts: dict[str, int] = {}

    def text(self, name: str, value: Argument) -> int:
        """Reference to a text with its NUL, which does not count."""
        if not isinstance(value, str):
            raise ValueError(f"{name}: text expected, not {value!r}")
        known = self.texts.get(value)
        if known is None:
            if "\0" in value:
                raise ValueError(f"{name}: NUL inside {value!r}")
            data = value.encode("utf-8", "surrogateescape")
            known = self.texts[value] = self.add(data + b"\0", len(data))
        return known

    def add(self, data: bytes, length: int) -> int:
        """Reference (offset | length << 32) to `data`, of which `length` bytes count."""
        offset = self.known.get(data)
        if offset is None:
            offset = self.known[data] = self.at
            padded = data + bytes(-len(data) % 8)
            self.parts.append(padded)
            self.at += len(padded)
        return offset | length << 32

    def bytes(self) -> bytes:
        return b"".join(self.parts)


def _encode_step(words: list[int], name: str, where: str, arguments: tuple[Argument, ...], blob: _Blob) -> None:
    """The step as 64-bit words: code, count and label in the first, then the arguments."""
    instruction = BY_NAME[name]
    kinds = instruction.kinds
    if len(kinds) != len(arguments):
        raise ValueError(f"{name}: {len(arguments)} arguments, not {len(kinds)}")
    label = blob.text(name, where) & 0xFFFFFFFF
    words.append(instruction.code | len(kinds) << 16 | label << 32)
    for kind, value in zip(kinds, arguments, strict=True):
        if kind in "uif":
            if not isinstance(value, int):
                raise ValueError(f"{name}: number expected, not {value!r}")
            words.append(value & ABSENT)
        elif kind == "s":
            words.append(blob.text(name, value))
        else:
            words.append(_encode_argument(name, kind, value, blob))


def _encode_argument(name: str, kind: str, value: Argument, blob: _Blob) -> int:
    if kind == "o":
        return ABSENT if value is None else blob.text(name, value)
    if kind == "b":
        if not isinstance(value, bytes):
            raise ValueError(f"{name}: bytes expected, not {value!r}")
        return blob.add(value, len(value))
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name}: list of texts expected, not {value!r}")
    for text in value:
        if "\0" in text:
            raise ValueError(f"{name}: NUL inside {text!r}")
    data = b"".join([text.encode("utf-8", "surrogateescape") + b"\0" for text in value])
    return blob.add(data, len(data))
