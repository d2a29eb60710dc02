from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry import errors
from wherry.network import links, netlink
from wherry.network.netlink import Netlink, NetlinkError


@given(st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40)), max_size=8))
def test_attributes_survive_the_wire(items: list[tuple[int, bytes]]) -> None:
    data = b"".join(netlink.attribute(kind, payload) for kind, payload in items)
    assert len(data) % 4 == 0
    assert netlink.attribute_list(data) == items


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_without_error(data: bytes) -> None:
    netlink.attributes(data)
    list(netlink._split(data))


def test_number_of_a_nested_attribute_hides_its_flag() -> None:
    data = netlink.nested(3, netlink.u32(1, 7))
    assert netlink.attributes(netlink.attributes(data)[3]) == {1: (7).to_bytes(4, "little")}


def test_message_says_its_length_and_is_padded() -> None:
    request = netlink.message(16, netlink.ACK, b"abcde")
    assert int.from_bytes(request[:4], "little") == 21
    assert len(request) == 24


def test_refusal_carries_the_words_of_the_kernel() -> None:
    socket = Netlink(netlink.ROUTE)
    with pytest.raises(NetlinkError) as caught:
        socket.request([links.get_link("lo"), links.get_link("nosuchlink")], what="look")
    socket.close()
    assert caught.value.code == errors.NOT_FOUND
    assert caught.value.errno == errno.ENODEV
    assert caught.value.index == 1
    assert caught.value.message == "look: No such device"


def test_refusal_that_is_allowed_is_no_answer() -> None:
    socket = Netlink(netlink.ROUTE)
    assert socket.request([links.get_link("nosuchlink")], allowed=(errno.ENODEV,)) == []
    assert [link.name for link in links.links(socket) if link.index == 1] == ["lo"]
    socket.close()


def test_every_code_of_an_errno_is_known() -> None:
    assert set(netlink._CODES.values()) <= set(errors.CODES)
