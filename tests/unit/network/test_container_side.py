from __future__ import annotations

import pytest

from wherry.errors import WherryError
from wherry.network import links
from wherry.network.base import Address, Attachment
from wherry.network.container_side import compile_container_side

ADDRESSES = (Address("10.87.0.2", 16, "10.87.0.1"), Address("fd00::2", 64, "fd00::1"))


def kinds(attachment: Attachment) -> list[int]:
    return [int.from_bytes(request[4:6], "little") for request in compile_container_side(attachment)]


def test_requests_in_order() -> None:
    attachment = Attachment("net", "one", interface_index=2, addresses=ADDRESSES)
    expected = [links.NEWLINK] * 2 + [links.NEWADDR] * 2 + [links.NEWROUTE] * 2
    assert kinds(attachment) == expected


def test_no_way_out() -> None:
    attachment = Attachment("net", "one", interface_index=2, addresses=ADDRESSES, default_route=False)
    assert links.NEWROUTE not in kinds(attachment)


def test_every_request_is_whole_and_asks_for_an_answer() -> None:
    for request in compile_container_side(Attachment("net", "one", interface_index=2, addresses=ADDRESSES)):
        assert int.from_bytes(request[:4], "little") == len(request)
        assert int.from_bytes(request[6:8], "little") & 5 == 5


def test_unknown_interface() -> None:
    with pytest.raises(WherryError, match="eth0 in the container is not known"):
        compile_container_side(Attachment("net", "one"))
