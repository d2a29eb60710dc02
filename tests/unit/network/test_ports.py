from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry import errors
from wherry.errors import WherryError
from wherry.network.base import PortMapping
from wherry.network.ports import overlaps, parse_ports


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", [PortMapping(80)]),
        ("80/UDP", [PortMapping(80, 0, "udp")]),
        ("8080:80", [PortMapping(80, 8080)]),
        ("127.0.0.1:8080:80/sctp", [PortMapping(80, 8080, "sctp", "127.0.0.1")]),
        ("127.0.0.1::80", [PortMapping(80, 0, "tcp", "127.0.0.1")]),
        ("[::1]:8080:80", [PortMapping(80, 8080, "tcp", "::1")]),
        ("[::1]::80", [PortMapping(80, 0, "tcp", "::1")]),
        ("8000-8001:90-91", [PortMapping(90, 8000), PortMapping(91, 8001)]),
        ("90-91", [PortMapping(90), PortMapping(91)]),
        ("8000-8005:90", [PortMapping(90, 8000, host_port_last=8005)]),
    ],
)
def test_spellings(text: str, expected: list[PortMapping]) -> None:
    assert list(parse_ports(text)) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "'' is no port"),
        ("0", "'0' is no port"),
        ("65536", "'65536' is no port"),
        ("80/icmp", "'icmp' is none of"),
        ("80/", "'' is none of"),
        ("90-80", "runs backwards"),
        ("8000-8001:90-95", "differ in length"),
        ("999.0.0.1:80:80", "is no IP address"),
        ("::1:80:80", "in brackets"),
        ("[::1]80:80", "not followed by a port"),
        ("127.0.0.1:80", "a port is missing"),
        ("a:80", "'a' is no port"),
        ("²:80", "is no port"),
        ("80-:80", "'80-' is no port"),
    ],
)
def test_bad_spellings_say_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(WherryError) as caught:
        parse_ports(text)
    assert caught.value.code == errors.INVALID_ARGUMENT
    assert reason in caught.value.message
    assert repr(text) in caught.value.message


@given(st.text(st.sampled_from("0123456789:.-/[]tcpud "), max_size=24))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        mappings = parse_ports(text)
    except WherryError as error:
        assert error.code == errors.INVALID_ARGUMENT
    else:
        assert all(0 < port.container_port < 65536 for port in mappings)


def test_overlap_of_addresses() -> None:
    any_address, loopback = PortMapping(80, 8080), PortMapping(80, 8080, host_ip="127.0.0.1")
    assert overlaps(any_address, loopback)
    assert overlaps(loopback, PortMapping(81, 8080, host_ip="0.0.0.0"))
    assert not overlaps(loopback, PortMapping(80, 8080, host_ip="127.0.0.2"))
    assert not overlaps(any_address, PortMapping(80, 8080, "udp"))
    assert not overlaps(any_address, PortMapping(80, 8081))
