"""Content digests: `algorithm:hex` (image-spec, descriptor.md), checked before they are used in a path."""

from __future__ import annotations

import sys

from wherry.errors import DATA_LOSS, INVALID_ARGUMENT, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Data: TypeAlias = bytes | bytearray | memoryview

SMALL_BYTES = 1 << 16
HEX_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = frozenset("0123456789abcdef")


class Digest(str):
    """A digest known to be well formed; compares and hashes as its text."""

    __slots__ = ()

    @property
    def algorithm(self) -> str:
        """`sha256` or `sha512`."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """The lower-case hexadecimal part: safe as a file name."""
        return self.partition(":")[2]


def parse(text: object) -> Digest:
    """Check `text` and return it as a `Digest`; INVALID_ARGUMENT otherwise."""
    if type(text) is Digest:
        return text
    if isinstance(text, str):
        algorithm, _, encoded = text.partition(":")
        if HEX_LENGTHS.get(algorithm) == len(encoded) and _HEX.issuperset(encoded):
            return Digest(text)
    raise WherryError(
        INVALID_ARGUMENT,
        f"not a digest: {str(text)[:160]!r}",
        hint="expected sha256: with 64 or sha512: with 128 lower-case hexadecimal digits",
    )


def is_digest(text: str) -> bool:
    """Whether `parse` would accept `text`."""
    algorithm, _, encoded = text.partition(":")
    return HEX_LENGTHS.get(algorithm) == len(encoded) and _HEX.issuperset(encoded)


def of_bytes(data: Data, algorithm: str = "sha256") -> Digest:
    """The digest of `data`."""
    if algorithm == "sha256" and len(data) <= SMALL_BYTES:
        return Digest(f"sha256:{_small_sha256(data)}")
    verifier = Verifier(algorithm=algorithm)
    verifier.update(data)
    return verifier.digest()


def check_bytes(data: Data, expected: Digest, what: str) -> None:
    """DATA_LOSS when `data` has not the digest `expected`."""
    actual = of_bytes(data, expected.algorithm)
    if actual != expected:
        raise WherryError(DATA_LOSS, f"{what} is damaged: expected {expected}, got {actual}")


def _small_sha256(data: Data) -> str:
    """By the interpreter's own implementation: slower a byte, but hashlib loads OpenSSL first, which takes 2 ms."""
    try:
        if sys.version_info >= (3, 12):
            from _sha2 import sha256
        else:
            from _sha256 import sha256  # type: ignore[import-not-found]
    except ImportError:  # a build of Python without it
        from hashlib import sha256
    text: str = sha256(data).hexdigest()
    return text


class Verifier:
    """Hash bytes as they pass and compare at the end with what was promised.

    `expected` may be None: then only `digest` is of use. Large updates run without the interpreter's lock.
    """

    __slots__ = ("_hash", "algorithm", "expected", "size_bytes")

    def __init__(self, expected: Digest | None = None, *, algorithm: str = "sha256") -> None:
        import hashlib

        self.expected = expected
        self.algorithm = expected.algorithm if expected is not None else algorithm
        self._hash = hashlib.new(self.algorithm)
        self.size_bytes = 0

    def update(self, data: Data) -> None:
        """Add `data` (any bytes-like object)."""
        self._hash.update(data)
        self.size_bytes += len(data)

    def digest(self) -> Digest:
        """The digest of everything added so far."""
        return Digest(f"{self.algorithm}:{self._hash.hexdigest()}")

    def check(self, what: str = "content") -> Digest:
        """Return the digest; DATA_LOSS when it is not the expected one."""
        actual = self.digest()
        if self.expected is not None and actual != self.expected:
            raise WherryError(DATA_LOSS, f"{what} is damaged: expected {self.expected}, got {actual}")
        return actual
