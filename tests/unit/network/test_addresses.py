from __future__ import annotations

import ipaddress
import sqlite3
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry import errors
from wherry.errors import WherryError
from wherry.network import addresses
from wherry.network.addresses import SqliteLeases
from wherry.network.base import Network, PortMapping, Subnet

if TYPE_CHECKING:
    from collections.abc import Iterator

NETWORK = Network("net", bridge="br0", subnets=(Subnet("10.1.0.0/29", "10.1.0.1"),), options=(("a", "b=c"),))
DUAL = Network("dual", bridge="br1", subnets=(Subnet("fd00:1::/64", "fd00:1::1"), Subnet("10.2.0.0/24", "10.2.0.1")))


@pytest.fixture
def leases() -> Iterator[SqliteLeases]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    store = SqliteLeases(connection)
    store.save_network(NETWORK)
    store.save_network(DUAL)
    yield store
    connection.close()


def take(leases: SqliteLeases, name: str, **options: object) -> str:
    return leases.acquire(NETWORK, name, interface="eth0", **options).addresses[0]  # type: ignore[arg-type]


def test_addresses_are_given_in_turn(leases: SqliteLeases) -> None:
    assert [take(leases, name) for name in "abc"] == ["10.1.0.2", "10.1.0.3", "10.1.0.4"]
    leases.release("b")
    assert [take(leases, name) for name in "de"] == ["10.1.0.5", "10.1.0.6"]
    assert take(leases, "f") == "10.1.0.3"
    with pytest.raises(WherryError) as caught:
        take(leases, "g")
    assert caught.value.code == errors.RESOURCE_EXHAUSTED


def test_lease_is_kept_and_released_whole(leases: SqliteLeases) -> None:
    first = leases.acquire(NETWORK, "a", interface="eth0", ports=(PortMapping(80, 8080), PortMapping(53, 53, "udp")))
    assert leases.acquire(NETWORK, "a", interface="eth0") == first
    assert leases.leases() == leases.leases("a") == (first,)
    assert first.mac == "02:57:0a:01:00:02"
    for _ in range(2):
        leases.release("a")
        assert leases.leases() == ()
        assert leases.published() == ()


def test_network_survives(leases: SqliteLeases) -> None:
    assert leases.networks() == (DUAL, NETWORK)
    assert leases.network("net") == NETWORK
    with pytest.raises(WherryError) as caught:
        leases.save_network(NETWORK)
    assert caught.value.code == errors.ALREADY_EXISTS
    with pytest.raises(WherryError) as caught:
        leases.network("other")
    assert caught.value.code == errors.NOT_FOUND


def test_network_in_use_stays(leases: SqliteLeases) -> None:
    take(leases, "a")
    with pytest.raises(WherryError) as caught:
        leases.remove_network("net")
    assert caught.value.code == errors.FAILED_PRECONDITION
    leases.release("a", "net")
    leases.remove_network("net")
    leases.remove_network("net")
    assert leases.networks() == (DUAL,)


def test_each_subnet_gives_an_address_in_its_order(leases: SqliteLeases) -> None:
    lease = leases.acquire(DUAL, "a", interface="eth0", address="10.2.0.77")
    assert lease.addresses == ("fd00:1::2", "10.2.0.77")
    assert leases.leases("a")[0].addresses == lease.addresses


def test_refused_lease_leaves_nothing(leases: SqliteLeases) -> None:
    leases.acquire(NETWORK, "a", interface="eth0", ports=(PortMapping(80, 8080, host_ip="127.0.0.1"),))
    before = list(leases._connection.iterdump())
    with pytest.raises(WherryError, match="published by container a"):
        leases.acquire(NETWORK, "b", interface="eth0", ports=(PortMapping(80, 8080),))
    assert list(leases._connection.iterdump()) == before


def test_lease_joins_the_transaction_of_the_caller(leases: SqliteLeases) -> None:
    connection = leases._connection
    connection.execute("BEGIN IMMEDIATE")
    take(leases, "a")
    with pytest.raises(WherryError):
        take(leases, "b", address="10.1.0.2")
    take(leases, "c")
    assert connection.in_transaction
    assert [lease.container_id for lease in leases.leases()] == ["a", "c"]
    connection.execute("ROLLBACK")
    assert leases.leases() == ()


@pytest.mark.parametrize("text", ["", "10.1.0.0", "10.1.0.0/33", "10.1.0.1/24", "x/8", "10.1.0.0/-1", "::/129"])
def test_bad_subnets(text: str) -> None:
    with pytest.raises(WherryError) as caught:
        addresses.split_cidr(text)
    assert caught.value.code == errors.INVALID_ARGUMENT


v4_networks = st.builds(
    lambda number, length: ipaddress.ip_network((number, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


@given(v4_networks, v4_networks)
def test_overlap_agrees_with_the_library(one: ipaddress.IPv4Network, other: ipaddress.IPv4Network) -> None:
    assert addresses.overlap(str(one), str(other)) == one.overlaps(other)


@given(v4_networks, st.integers(0, 2**32 - 1))
def test_contains_agrees_with_the_library(network: ipaddress.IPv4Network, number: int) -> None:
    address = ipaddress.ip_address(number)
    assert addresses.contains(str(network), str(address)) == (address in network)


def test_free_subnet_is_the_first_that_overlaps_nothing() -> None:
    taken = ["10.0.0.0/9", "192.168.0.0/24", "fd00::/8"]
    assert addresses.free_subnet(["10.5.0.0/16", "192.168.0.0/16", "10.200.0.0/16"], taken) == "10.200.0.0/16"
    with pytest.raises(WherryError):
        addresses.free_subnet(["10.5.0.0/16"], taken)
