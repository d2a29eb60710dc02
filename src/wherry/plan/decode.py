"""Read a plan's bytes back, for `explain` and for tests; the native program has its own decoder."""

from __future__ import annotations

from struct import unpack_from
from zlib import crc32

from wherry.errors import DATA_LOSS, WherryError

from .encode import ABSENT, HEADER_BYTES, Plan
from .instructions import BY_CODE, MAGIC, PROGRAMS, VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .encode import Argument


def decode(data: bytes) -> Plan:
    """The plan in `data`. Raises WherryError (data loss) for anything but an intact plan of this version."""
    if len(data) < HEADER_BYTES:
        raise _damaged("it is shorter than its header")
    magic, version, count, size, checksum = unpack_from("<IHHII", data)
    if magic != MAGIC:
        raise _damaged("it does not begin with the plan's mark")
    if version != VERSION:
        raise _damaged(f"its version is {version}, this program reads {VERSION}")
    if size != len(data) or checksum != crc32(data[HEADER_BYTES:], crc32(data[: HEADER_BYTES - 4])):
        raise _damaged("its checksum does not match")
    plan = Plan()
    for index in range(count):
        program_id, steps, at, length = unpack_from("<4I", data, HEADER_BYTES + 16 * index)
        if program_id >= len(PROGRAMS) or at + length > size:
            raise _damaged(f"program {program_id} is out of bounds")
        program = plan.program(program_id)
        for _ in range(steps):
            code, arguments, label = unpack_from("<HHI", data, at)
            instruction = BY_CODE.get(code)
            if instruction is None or arguments != len(instruction.kinds):
                raise _damaged(f"step with unknown code {code}")
            words = unpack_from(f"<{arguments}Q", data, at + 8)
            at += 8 + 8 * arguments
            values = [_argument(data, kind, word) for kind, word in zip(instruction.kinds, words, strict=True)]
            where = data[label : data.index(b"\0", label)].decode("utf-8", "surrogateescape")
            program.emit(instruction.name, *values, where=where)
    return plan


def _argument(data: bytes, kind: str, word: int) -> Argument:
    if kind in "uf":
        return word
    if kind == "i":
        return word - (1 << 64) if word >> 63 else word
    if kind == "o" and word == ABSENT:
        return None
    offset, length = word & 0xFFFFFFFF, word >> 32
    if offset + length > len(data):
        raise _damaged("an argument is out of bounds")
    content = data[offset : offset + length]
    if kind == "b":
        return content
    if kind == "l":
        return [text.decode("utf-8", "surrogateescape") for text in content.split(b"\0")[:-1]]
    return content.decode("utf-8", "surrogateescape")


def _damaged(why: str) -> WherryError:
    return WherryError(DATA_LOSS, f"damaged launch plan: {why}", hint="delete the container and create it again")
