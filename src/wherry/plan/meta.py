"""The facts (META) of a plan's bytes, read without decoding its steps."""

from __future__ import annotations

from _struct import unpack_from

from wherry.errors import DATA_LOSS, WherryError

from .instructions import MAGIC, META, VERSION

_HEADER, _ENTRY, _STEP = 16, 16, 24


def read_meta(data: bytes) -> dict[str, str]:
    """Keys (`instructions.META_KEYS`) and values. Raises WherryError (data loss) for what is not a plan."""
    if len(data) < _HEADER:
        raise _damaged()
    magic, version, programs = unpack_from("<IHH", data)
    if magic != MAGIC or version != VERSION or len(data) < _HEADER + _ENTRY * programs:
        raise _damaged()
    facts: dict[str, str] = {}
    for index in range(programs):
        program, steps, at, _ = unpack_from("<4I", data, _HEADER + _ENTRY * index)
        if program != META:
            continue
        if len(data) < at + _STEP * steps:
            raise _damaged()
        for _ in range(steps):
            _, _, _, key, key_size, value, value_size = unpack_from("<HHI4I", data, at)
            at += _STEP
            name = data[key : key + key_size].decode("utf-8", "replace")
            facts[name] = data[value : value + value_size].decode("utf-8", "surrogateescape")
    return facts


def _damaged() -> WherryError:
    return WherryError(DATA_LOSS, "damaged launch plan: it is not one of this version")
