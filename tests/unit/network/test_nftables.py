from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wherry.network import netlink, nftables
from wherry.network.nftables import Element


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=60))
def test_comment_survives(text: str) -> None:
    assert nftables.comment_text(nftables.comment(text)) == text


@given(st.binary(max_size=60))
def test_any_user_data_is_read(data: bytes) -> None:
    nftables.comment_text(data)


@given(
    st.binary(min_size=1, max_size=16),
    st.binary(max_size=16),
    st.text(st.sampled_from("abcdef0123456789"), max_size=64),
    st.booleans(),
)
def test_element_survives(key: bytes, value: bytes, note: str, ends: bool) -> None:
    decoded = nftables._decode(Element(key, value, note, ends_interval=ends).encode())
    assert (decoded.key, decoded.value, decoded.note, decoded.ends_interval) == (key, value, note, ends)


def test_many_elements_fit_in_attributes_of_16_bit_length() -> None:
    note = "f" * 64
    items = [Element(bytes(12), bytes(8), note) for _ in range(1000)]
    requests = nftables.add_elements("wherry", "ports", items)
    assert len(requests) == 3
    found = [netlink.attributes(request, 20)[3] for request in requests]
    assert sum(len(netlink.attribute_list(members)) for members in found) == 1000


def test_types_of_a_concatenation_have_six_bits_each() -> None:
    parts = ((nftables.TYPE_ADDRESS, 4), (nftables.TYPE_PROTOCOL, 1), (nftables.TYPE_PORT, 2))
    assert nftables._joined(parts) == (0x730D, 12)
