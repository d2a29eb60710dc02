"""Containers on a bridge reach each other, the world and the host's published ports; nothing else is open."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wherry import errors
from wherry.errors import WherryError
from wherry.network import links, namespaces, netlink
from wherry.network.base import Netns
from wherry.network.container_side import compile_container_side
from wherry.network.ports import parse_ports

from .network_lab import (
    HOST_ADDRESS,
    OUTSIDE_ADDRESS,
    Host,
    Lab,
    ProcessBox,
    is_cut_off,
    ping,
    run,
    talk,
    talk_udp,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path) as lab:
        yield lab


HOST = Host()


def test_containers_and_host_reach_each_other(lab: Lab) -> None:
    one, two = lab.container("one"), lab.container("two")
    assert ping(one, two.address)
    assert ping(one, "10.87.0.1")
    assert talk(one, (two.address, 80), two, 80) == one.address
    assert talk(HOST, (two.address, 80), two, 80) == "10.87.0.1"
    assert talk(one, ("10.87.0.1", 7000), HOST, 7000) == one.address


def test_the_world_sees_the_host_address(lab: Lab) -> None:
    outside, one = lab.outside(), lab.container("one")
    assert talk(one, (OUTSIDE_ADDRESS, 80), outside, 80) == HOST_ADDRESS
    assert ping(one, OUTSIDE_ADDRESS)


@pytest.mark.parametrize("bridge_netfilter", ["0", "1"])
@pytest.mark.parametrize("talk_by", [talk, talk_udp])
def test_published_port_answers_from_everywhere(lab: Lab, talk_by: object, bridge_netfilter: str) -> None:
    run("sysctl", "-qw", f"net.bridge.bridge-nf-call-iptables={bridge_netfilter}")
    protocol = "tcp" if talk_by is talk else "udp"
    outside = lab.outside()
    one, two = lab.container("one", f"8080:80/{protocol}"), lab.container("two")
    assert callable(talk_by)
    assert talk_by(HOST, ("127.0.0.1", 8080), one, 80) == "10.87.0.1"
    assert talk_by(HOST, (HOST_ADDRESS, 8080), one, 80)
    assert talk_by(outside, (HOST_ADDRESS, 8080), one, 80) == OUTSIDE_ADDRESS
    assert talk_by(two, ("10.87.0.1", 8080), one, 80)
    assert talk_by(two, (HOST_ADDRESS, 8080), one, 80)
    assert talk_by(one, ("10.87.0.1", 8080), one, 80)
    assert talk_by(one, (HOST_ADDRESS, 8080), one, 80)


def test_port_on_the_loopback_is_closed_to_others(lab: Lab) -> None:
    outside, one = lab.outside(), lab.container("one", "127.0.0.1:8080:80")
    assert talk(HOST, ("127.0.0.1", 8080), one, 80)
    assert is_cut_off(outside, (HOST_ADDRESS, 8080), one, 80)
    assert is_cut_off(HOST, (HOST_ADDRESS, 8080), one, 80)


def test_unpublished_ports_are_closed_to_the_world(lab: Lab) -> None:
    outside, one = lab.outside(), lab.container("one", "8080:80")
    assert is_cut_off(outside, (one.address, 80), one, 80)
    assert is_cut_off(outside, (one.address, 81), one, 81)


def test_containers_cannot_reach_the_loopback_of_the_host(lab: Lab) -> None:
    one = lab.container("one", "127.0.0.1:8080:80")
    one.run("ip", "address", "del", "127.0.0.1/8", "dev", "lo")
    one.run("ip", "route", "add", "127.0.0.0/8", "via", "10.87.0.1", "dev", "eth0", "src", one.address)
    one.run("sysctl", "-q", "net.ipv4.conf.all.route_localnet=1")
    assert is_cut_off(one, ("127.0.0.1", 7000), HOST, 7000)


def test_networks_are_apart_but_for_published_ports(lab: Lab) -> None:
    other = lab.driver.create_network("other")
    one, two = lab.container("one"), lab.container("two", "8080:80", network=other)
    assert two.address.startswith("10.86.0.")
    assert is_cut_off(one, (two.address, 80), two, 80)
    assert talk(one, ("10.87.0.1", 8080), two, 80)


def test_internal_network_has_no_way_out(lab: Lab) -> None:
    inner = lab.driver.create_network("inner", internal=True)
    outside = lab.outside()
    one, two = lab.container("one", network=inner), lab.container("two", network=inner)
    assert talk(one, (two.address, 80), two, 80) == one.address
    assert "default" not in one.run("ip", "route")
    one.run("ip", "route", "add", "default", "via", inner.subnets[0].gateway)
    assert is_cut_off(one, (OUTSIDE_ADDRESS, 80), outside, 80)


def test_two_networks_in_one_container(lab: Lab) -> None:
    other = lab.driver.create_network("other", subnet="10.99.0.0/24")
    one, two = lab.container("one"), lab.container("two", network=other)
    second = lab.driver.attach(other, "one", one.netns, interface="eth1", default_route=False)
    assert second.addresses[0].address == "10.99.0.3"
    assert talk(one, (two.address, 80), two, 80) == "10.99.0.3"
    assert [item.interface for item in lab.driver.attachments("one")] == ["eth0", "eth1"]
    lab.driver.detach("one", "other")
    assert "eth1" not in one.run("ip", "-o", "link")
    assert talk(one, ("10.87.0.1", 7000), HOST, 7000) == one.address


def test_container_side_can_be_prepared_and_sent_later(lab: Lab) -> None:
    box = lab.box()
    attachment = lab.driver.attach(
        lab.driver.ensure_default(), "one", box.netns, inside=False, interface_index=7, mac="02:00:00:00:00:09"
    )
    assert attachment.interface_index == 7
    with namespaces.Inside(box.netns):
        wire = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.ROUTE)
    with wire:
        for request in compile_container_side(attachment):
            wire.send(request)
            assert int.from_bytes(wire.recv(4096)[16:20], "little") == 0
    assert ping(box, "10.87.0.1")
    assert "02:00:00:00:00:09" in box.run("ip", "-o", "link", "show", "eth0")


def test_attach_by_process_in_a_user_namespace(lab: Lab) -> None:
    command = ["unshare", "--user", "--map-root-user", "--net", "sleep", "60"]
    process = subprocess.Popen(command)
    try:
        while not Path(f"/proc/{process.pid}/comm").read_text().startswith("sleep"):
            os.sched_yield()
        netns = Netns(pid=process.pid)
        lab.driver.attach(lab.driver.ensure_default(), "one", netns, ports=parse_ports("8080:80"))
        box = ProcessBox(netns)
        assert ping(box, "10.87.0.1")
        assert talk(HOST, ("127.0.0.1", 8080), box, 80)
    finally:
        process.kill()
        process.wait()


def test_attach_to_a_process_that_is_gone_leaves_nothing(lab: Lab) -> None:
    network = lab.driver.ensure_default()
    lab.container("zero")
    before = lab.snapshot()
    pid = os.posix_spawn("/bin/true", ["true"], dict(os.environ))
    os.waitpid(pid, 0)
    with pytest.raises(WherryError) as caught:
        lab.driver.attach(network, "one", Netns(pid=pid), ports=parse_ports("8080:80"))
    assert caught.value.code == errors.NOT_FOUND
    assert lab.snapshot() == before


def test_attach_again_starts_afresh(lab: Lab) -> None:
    network = lab.driver.ensure_default()
    box = lab.container("one", "8080:80")
    lab.driver.attach(network, "one", box.netns, ports=parse_ports("9090:80"))
    one = lab.driver.attachments("one")[0]
    assert talk(HOST, ("127.0.0.1", 9090), box, 80)
    assert [port.host_port for port in one.ports] == [9090]
    assert "8080" not in run("nft", "list", "ruleset")


def test_detach_restores_everything_and_may_be_repeated(lab: Lab) -> None:
    lab.container("zero")
    before = lab.snapshot()
    lab.container("one", "8080:80", "127.0.0.1:53:53/udp", "9000-9009:9000-9009")
    assert lab.snapshot() != before
    for _ in range(2):
        lab.driver.detach("one")
        assert lab.snapshot() == before


def test_detach_after_the_namespace_ended(lab: Lab) -> None:
    lab.container("zero")
    before = lab.snapshot()
    box = lab.container("one", "8080:80")
    link = box.attachment.host_interface
    box.close()
    lab.driver.detach("one", netns_gone=True)
    with pytest.raises(OSError):
        for _ in range(1000):
            socket.if_nametoindex(link)
            os.sched_yield()
            run("true")
    assert lab.snapshot() == before


def test_rules_swept_away_come_back(lab: Lab) -> None:
    one = lab.container("one", "8080:80")
    ruleset = run("nft", "list", "ruleset")
    run("nft", "flush", "ruleset")
    lab.container("two")
    assert talk(HOST, ("127.0.0.1", 8080), one, 80)
    lab.driver.detach("two")
    assert run("nft", "list", "ruleset") == ruleset


def test_restore_puts_back_bridge_ports_and_rules(lab: Lab) -> None:
    one, two = lab.container("one", "8080:80"), lab.container("two")
    run("nft", "flush", "ruleset")
    run("ip", "link", "del", "wherry0")
    run("sysctl", "-qw", "net.ipv4.ip_forward=0")
    lab.driver.restore()
    assert talk(HOST, ("127.0.0.1", 8080), one, 80)
    assert ping(one, two.address)
    assert talk(two, ("10.87.0.1", 8080), one, 80)


def test_half_made_bridge_is_finished(lab: Lab) -> None:
    network = lab.driver.ensure_default()
    run("ip", "link", "add", network.bridge, "type", "bridge")
    one = lab.container("one", "8080:80")
    assert talk(HOST, ("127.0.0.1", 8080), one, 80)


def test_interface_of_another_kind_is_refused(lab: Lab) -> None:
    run("ip", "link", "add", "wherry0", "type", "veth", "peer", "name", "wherry9")
    with pytest.raises(WherryError, match="wherry0 of the host is not a bridge"):
        lab.container("one")
    assert lab.leases.leases() == ()


def test_default_subnet_avoids_routes_of_the_host(lab: Lab) -> None:
    lab.outside()
    run("ip", "route", "add", "10.80.0.0/12", "via", OUTSIDE_ADDRESS)
    cidr = lab.driver.ensure_default().subnets[0].cidr
    assert cidr == "10.79.0.0/16"


def test_smaller_mtu_of_the_way_out_is_taken_over(lab: Lab) -> None:
    lab.outside()
    run("ip", "link", "set", "lan0", "mtu", "1400")
    run("ip", "route", "add", "default", "via", OUTSIDE_ADDRESS)
    one = lab.container("one")
    assert "mtu 1400" in one.run("ip", "-o", "link", "show", "eth0")


def test_remove_network_leaves_no_trace(lab: Lab) -> None:
    before = lab.snapshot()
    lab.container("one", "8080:80")
    with pytest.raises(WherryError, match="in use by container one"):
        lab.driver.remove_network("wherry")
    lab.driver.detach("one")
    for _ in range(2):
        lab.driver.remove_network("wherry")
        assert lab.snapshot() == before


def test_link_alias_names_the_container(lab: Lab) -> None:
    one = lab.container("one")
    route = netlink.Netlink(netlink.ROUTE)
    found = {link.name: link.alias for link in links.links(route)}
    route.close()
    assert found[one.attachment.host_interface] == "wherry one"
