"""The native program's plan decoder against damaged plans: it says what is wrong, and never crashes.

Built with AddressSanitizer and UndefinedBehaviorSanitizer, whose reports end the program with another status. The
checksum is renewed after each mutation, so that the checks behind it are reached.
"""

from __future__ import annotations

import os
import random
import subprocess
import zlib
from pathlib import Path

import pytest

from wherry.plan import instructions as i
from wherry.plan.encode import HEADER_BYTES, Plan

NATIVE = Path(__file__).parents[2] / "native"
ENVIRONMENT = {"ASAN_OPTIONS": "exitcode=99:detect_leaks=0", "UBSAN_OPTIONS": "halt_on_error=1:exitcode=99"}


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> str:
    given = os.environ.get("WHERRY_NATIVE_ASAN")
    if given:
        return given
    out = tmp_path_factory.mktemp("native") / "wherry"
    subprocess.run(["make", "-s", "-C", NATIVE, f"OUT={out}", "asan"], check=True)
    return f"{out}-asan"


def sample() -> bytes:
    """One step of every instruction, in several programs."""
    plan = Plan()
    values = {"u": 7, "i": -1, "f": 3, "s": "text", "o": None, "b": b"bytes\0\1\2", "l": ["one", "two", ""]}
    for number, instruction in enumerate(i.INSTRUCTIONS):
        program = plan.program(number % len(i.PROGRAMS))
        program.emit(instruction.name, *[values[kind] for kind in instruction.kinds], where=f"step[{number}]")
    return plan.encode()


def seal(data: bytearray) -> bytes:
    if len(data) < HEADER_BYTES:
        return bytes(data)
    data[8:12] = len(data).to_bytes(4, "little")
    checksum = zlib.crc32(data[HEADER_BYTES:], zlib.crc32(data[: HEADER_BYTES - 4]))
    data[12:16] = checksum.to_bytes(4, "little")
    return bytes(data)


def mutate(data: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(damaged))
        kind = chance.randrange(6)
        if kind == 0:
            damaged[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            damaged[at] = chance.randrange(256)
        elif kind == 2:
            at &= ~7
            damaged[at : at + 8] = chance.choice((b"\xff" * 8, b"\0" * 8, chance.randbytes(8)))
        elif kind == 3:
            at &= ~3
            word = chance.choice((len(data), len(data) - 1, len(data) + 1, 0xFFFFFFF8, 1 << 31))
            damaged[at : at + 4] = word.to_bytes(4, "little")
        elif kind == 4:
            del damaged[chance.randrange(len(damaged)) :]
        else:
            damaged[at:at] = chance.randbytes(8)
        if not damaged:
            return b""
    return seal(damaged) if chance.random() < 0.9 else bytes(damaged)


def verify(executable: str, data: bytes, path: Path) -> tuple[int, str]:
    path.write_bytes(data)
    with path.open("rb") as file:
        number = file.fileno()
        done = subprocess.run(
            [executable, "@verify", str(number)],
            pass_fds=[number],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    return done.returncode, done.stderr


def test_intact_plan(sanitized: str, tmp_path: Path) -> None:
    assert verify(sanitized, sample(), tmp_path / "plan") == (0, "")


def test_every_shorter_plan(sanitized: str, tmp_path: Path) -> None:
    data = sample()
    for size in [*range(64), *range(64, len(data), 131)]:
        status, message = verify(sanitized, seal(bytearray(data[:size])), tmp_path / "plan")
        assert status == 1, (size, message)
        assert message.startswith("damaged launch plan: "), (size, message)


def fuzz(sanitized: str, tmp_path: Path, seed: int, rounds: int) -> None:
    chance = random.Random(seed)
    data = sample()
    for number in range(rounds):
        damaged = mutate(data, chance)
        status, message = verify(sanitized, damaged, tmp_path / "plan")
        keep = f"seed {seed}, round {number}: {message}"
        assert status in (0, 1), keep
        assert (status == 0) == (message == ""), keep
        assert status == 0 or message.startswith("damaged launch plan: "), keep


def test_mutated_plans(sanitized: str, tmp_path: Path) -> None:
    fuzz(sanitized, tmp_path, seed=1, rounds=300)


@pytest.mark.long
def test_many_mutated_plans(sanitized: str, tmp_path: Path) -> None:
    fuzz(sanitized, tmp_path, seed=2, rounds=20000)
