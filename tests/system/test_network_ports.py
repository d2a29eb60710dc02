"""Conflicts of ports and addresses name their owner; free ports are found."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from wherry import errors
from wherry.errors import WherryError

from .network_lab import Host, Lab, talk, talk_udp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path) as lab:
        yield lab


def refusal(lab: Lab, *ports: str, **options: object) -> WherryError:
    before = lab.leases.leases()
    with pytest.raises(WherryError) as caught:
        lab.container("late", *ports, **options)
    assert lab.leases.leases() == before
    return caught.value


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_port_of_a_process(lab: Lab, kind: int) -> None:
    protocol = "tcp" if kind == socket.SOCK_STREAM else "udp"
    with Host().socket(kind) as holder:
        holder.bind(("127.0.0.1", 8080))
        if protocol == "tcp":
            holder.listen()
        error = refusal(lab, f"8080:80/{protocol}")
    assert error.code == errors.ALREADY_EXISTS
    assert f"port 8080/{protocol} is in use by" in error.message
    assert f"(pid {os.getpid()})" in error.message


def test_port_of_a_container(lab: Lab) -> None:
    lab.container("early", "127.0.0.1:8080:80")
    error = refusal(lab, "8080:81")
    assert error.code == errors.ALREADY_EXISTS
    assert "port 8080/tcp is already published by container early" in error.message


def test_same_port_twice_in_one_request(lab: Lab) -> None:
    assert "already published by this container" in refusal(lab, "8080:80", "8080:81").message


def test_other_protocol_and_other_address_do_not_conflict(lab: Lab) -> None:
    one = lab.container("one", "127.0.0.1:8080:80")
    two = lab.container("two", "8080:80/udp", "127.0.0.2:8080:80")
    assert talk(Host(), ("127.0.0.1", 8080), one, 80)
    assert talk(Host(), ("127.0.0.2", 8080), two, 80)
    assert talk_udp(Host(), ("127.0.0.1", 8080), two, 80)


def test_free_ports_are_chosen(lab: Lab) -> None:
    box = lab.container("one", "80", "81", "8000-8003:82")
    first, second, ranged = (port.host_port for port in box.attachment.ports)
    assert first != second and first > 1023
    assert ranged == 8000
    assert talk(Host(), ("127.0.0.1", second), box, 81)
    assert lab.container("two", "8000-8003:82").attachment.ports[0].host_port == 8001


def test_full_range(lab: Lab) -> None:
    lab.container("one", "8000-8001:80", "8001:81")
    assert refusal(lab, "8000-8001:80").code == errors.RESOURCE_EXHAUSTED


def test_foreign_address(lab: Lab) -> None:
    error = refusal(lab, "203.0.113.1:80:80")
    assert error.code == errors.INVALID_ARGUMENT
    assert "the host has no such address" in error.message


def test_fixed_address(lab: Lab) -> None:
    assert lab.container("one", address="10.87.7.7").address == "10.87.7.7"
    assert refusal(lab, address="10.87.7.7").message == "address 10.87.7.7 is in use by container one"
    assert refusal(lab, address="10.87.0.1").code == errors.INVALID_ARGUMENT
    assert "in no subnet" in refusal(lab, address="10.99.0.1").message


def test_full_subnet(lab: Lab) -> None:
    network = lab.driver.create_network("tiny", subnet="10.99.0.0/30")
    lab.container("one", network=network)
    error = refusal(lab, network=network)
    assert error.code == errors.RESOURCE_EXHAUSTED
    assert "no free address in 10.99.0.0/30" in error.message


def test_udp_flow_follows_the_next_container(lab: Lab) -> None:
    with Host().socket(socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", 5353))
        client.send(b"nobody there")
        with pytest.raises(ConnectionRefusedError):
            client.recv(16)
        for name in ("one", "two"):
            box = lab.container(name, "5353:53/udp")
            with box.socket(socket.SOCK_DGRAM) as server:
                server.bind(("0.0.0.0", 53))
                client.send(name.encode())
                assert server.recv(16) == name.encode()
            lab.driver.detach(name)


def test_what_cannot_be_done_yet_is_said(lab: Lab) -> None:
    assert refusal(lab, "[::1]:8080:80").code == errors.NOT_IMPLEMENTED
    for subnet, code in (("fd00::/64", errors.NOT_IMPLEMENTED), ("10.0.0.0/7", errors.INVALID_ARGUMENT)):
        with pytest.raises(WherryError) as caught:
            lab.driver.create_network("new", subnet=subnet)
        assert caught.value.code == code


@pytest.mark.parametrize("mac", ["x", "02:00:00:00:00", "01:00:00:00:00:00", "2:0:0:0:0:1"])
def test_bad_mac(lab: Lab, mac: str) -> None:
    assert refusal(lab, mac=mac).code == errors.INVALID_ARGUMENT


def test_bad_networks(lab: Lab) -> None:
    lab.driver.create_network("one", subnet="10.99.0.0/24")
    for name, options, code in (
        ("one", {}, errors.ALREADY_EXISTS),
        ("two", {"subnet": "10.99.0.0/16"}, errors.FAILED_PRECONDITION),
        ("two", {"subnet": "10.98.0.0/24", "gateway": "10.97.0.1"}, errors.INVALID_ARGUMENT),
        ("two", {"bridge": "../x"}, errors.INVALID_ARGUMENT),
        ("two", {"bridge": "a" * 16}, errors.INVALID_ARGUMENT),
    ):
        with pytest.raises(WherryError) as caught:
            lab.driver.create_network(name, **options)
        assert caught.value.code == code
    assert [network.name for network in lab.leases.networks()] == ["one"]
