import hashlib

import pytest

from wherry import errors
from wherry.errors import WherryError
from wherry.oci import digest as digests
from wherry.oci.digest import Digest, Verifier


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_parses_what_it_computes(algorithm):
    digest = digests.of_bytes(b"data", algorithm)
    assert digests.parse(str(digest)) == digest
    assert (digest.algorithm, digest.hex) == (algorithm, hashlib.new(algorithm, b"data").hexdigest())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        "sha512:" + "0" * 64,
        "md5:" + "0" * 32,
        "sha256:../../../../etc/passwd" + "0" * 42,
        "sha256:" + "0" * 63 + "\n",
        "sha256:" + "\u0660" * 64,
        None,
        7,
    ],
)
def test_refuses_what_could_leave_a_directory_or_is_no_digest(text):
    with pytest.raises(WherryError) as caught:
        digests.parse(text)
    assert caught.value.code == errors.INVALID_ARGUMENT


def test_verifier_tells_what_differs():
    verifier = Verifier(digests.of_bytes(b"good"))
    verifier.update(b"bad")
    with pytest.raises(WherryError, match=r"expected .* got") as caught:
        verifier.check("the blob")
    assert caught.value.code == errors.DATA_LOSS


def test_verifier_takes_all_kinds_of_bytes():
    verifier = Verifier(digests.of_bytes(b"abc"))
    for part in (b"a", bytearray(b"b"), memoryview(b"c")):
        verifier.update(part)
    assert verifier.check() == Digest(verifier.digest())
    assert verifier.size_bytes == 3
