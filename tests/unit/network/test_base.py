from __future__ import annotations

import pytest

from wherry.network.base import Attachment, Netns, PortMapping, Subnet


def test_values_compare_and_hash_by_their_fields() -> None:
    assert PortMapping(80, 8080) == PortMapping(80, 8080, "tcp", "")
    assert PortMapping(80, 8080) != PortMapping(80, 8081)
    assert len({Subnet("10.0.0.0/8", "10.0.0.1"), Subnet("10.0.0.0/8", "10.0.0.1")}) == 1


def test_values_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match=r"Attachment\.mac cannot be changed"):
        Attachment("wherry", "one").mac = "02:00:00:00:00:01"


def test_values_print_their_fields() -> None:
    assert repr(Subnet("10.0.0.0/8", "10.0.0.1")) == "Subnet(cidr='10.0.0.0/8', gateway='10.0.0.1')"
    assert str(PortMapping(80, 8080)) == "0.0.0.0:8080->80/tcp"


@pytest.mark.parametrize("arguments", [{}, {"fd": 3, "pid": 4}])
def test_namespace_is_named_in_one_way(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not both"):
        Netns(**arguments)
