"""The instruction set is defined once, and the C side agrees with it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import DATA_LOSS, WherryError
from wherry.plan.decode import decode
from wherry.plan.encode import Plan
from wherry.plan.header import header
from wherry.plan.instructions import INSTRUCTIONS, PROGRAMS

NATIVE = Path(__file__).parents[3] / "native"


def test_generated_header_is_current():
    assert (NATIVE / "instructions.h").read_text() == header(), (
        "run: .venv/bin/python -m wherry.plan.header > native/instructions.h"
    )


def test_every_instruction_is_implemented_in_c():
    sources = "\n".join(path.read_text() for path in NATIVE.glob("*.c"))
    missing = [i.name for i in INSTRUCTIONS if i.name != "META" and f"OPERATION({i.name})" not in sources]
    assert not missing


def test_codes_and_names_are_unique():
    assert len({i.code for i in INSTRUCTIONS}) == len({i.name for i in INSTRUCTIONS}) == len(INSTRUCTIONS)


TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=40)
ARGUMENT = {
    "u": st.integers(0, 2**64 - 1),
    "i": st.integers(-(2**63), 2**63 - 1),
    "f": st.integers(0, 63) | st.just(255),
    "s": TEXT,
    "o": st.none() | TEXT,
    "b": st.binary(max_size=60),
    "l": st.lists(TEXT, max_size=5),
}


@st.composite
def plans(draw):
    plan = Plan()
    for _ in range(draw(st.integers(0, 12))):
        instruction = draw(st.sampled_from(INSTRUCTIONS))
        arguments = [draw(ARGUMENT[kind]) for kind in instruction.kinds]
        plan.program(draw(st.integers(0, len(PROGRAMS) - 1))).emit(instruction.name, *arguments, where=draw(TEXT))
    return plan


@given(plans())
def test_decode_inverts_encode(plan):
    again = decode(plan.encode())
    assert {key: program.steps for key, program in again.programs.items()} == {
        key: program.steps for key, program in plan.programs.items()
    }


@given(plans(), st.data())
def test_a_damaged_plan_is_refused(plan, data):
    encoded = bytearray(plan.encode())
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(WherryError) as caught:
        decode(bytes(encoded))
    assert caught.value.code == DATA_LOSS


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("UMASK", (), "0 arguments, not 1"),
        ("UMASK", ("x",), "number expected"),
        ("HOSTNAME", (3,), "text expected"),
        ("HOSTNAME", ("a\0b",), "NUL inside"),
        ("SCHEDULER", ("x",), "bytes expected"),
        ("EXEC", ("x", [], 0, 0), "list of texts expected"),
    ],
)
def test_a_step_that_does_not_fit_its_instruction_is_refused(name, arguments, says):
    plan = Plan()
    plan.program(1).emit(name, *arguments)
    with pytest.raises(ValueError, match=says):
        plan.encode()
