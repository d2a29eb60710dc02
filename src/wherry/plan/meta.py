"""The facts (META) of a plan's bytes, read without decoding its steps."""

from __future__ import annotations

from struct import error as StructError
from struct import unpack_from

from wherry.errors import DATA_LOSS, WherryError

from .instructions import MAGIC, META, VERSION


def read_meta(data: bytes) -> dict[str, str]:
    """Keys (`instructions.META_KEYS`) and values. Raises WherryError (data loss) for what is not a plan."""
    try:
        return _read(data)
    except (StructError, ValueError):
        raise WherryError(DATA_LOSS, "damaged launch plan") from None


def _read(data: bytes) -> dict[str, str]:
    magic, version, programs = unpack_from("<IHH", data)
    if magic != MAGIC or version != VERSION:
        raise WherryError(DATA_LOSS, "damaged launch plan: it is not one of this version")
    facts = {}
    for index in range(programs):
        program, steps, at, _ = unpack_from("<4I", data, 16 + 16 * index)
        if program != META:
            continue
        for _ in range(steps):
            _, _, _, key, key_size, value, value_size = unpack_from("<HHI4I", data, at)
            at += 24
            name = data[key : key + key_size].decode()
            facts[name] = data[value : value + value_size].decode("utf-8", "surrogateescape")
    return facts
