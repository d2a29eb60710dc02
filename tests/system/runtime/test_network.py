"""The loopback device and linux.netDevices."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..runtimes import Container

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = "wherry-runtime"


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def links(text: str) -> dict[str, list[str]]:
    """Addresses by device, of `ip -json address` in the container's namespace."""
    return {link["ifname"]: [f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"]] for link in json.loads(text)}


def inside(container: Container) -> dict[str, list[str]]:
    command = ["nsenter", f"--net=/proc/{container.pid}/ns/net", "ip", "-json", "address"]
    return links(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.fixture
def device(token: str) -> Iterator[str]:
    """One end of a pair of devices in this namespace; both are gone at the end."""
    name = f"w{token[2:10]}"
    ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    yield name
    subprocess.run(["ip", "link", "delete", f"{name}p"], check=False, capture_output=True)


def started(container: Container) -> Container:
    container.bundle.args("sleep", "1000")
    container.create()
    container.start()
    return container


def test_loopback_is_up(container: Container) -> None:
    container.bundle.shell("ip -o address show lo; ip -o link show lo")
    text = container.output()
    assert "127.0.0.1/8" in text
    assert "UP" in text


def test_loopback_is_all_there_is(container: Container) -> None:
    assert container.output("ls /sys/class/net; ls /proc/sys/net/ipv4/conf").split() == ["lo", "all", "default", "lo"]


def test_the_hosts_network_is_left_alone(container: Container) -> None:
    before = ip("-o", "link")
    container.bundle.without_namespace("network")
    container.bundle.config["mounts"] = [m for m in container.bundle.mounts if m["type"] != "sysfs"]
    container.output("true")
    assert ip("-o", "link") == before


def test_a_device_moves_with_its_addresses(container: Container, device: str, only) -> None:
    only(OURS)
    ip("address", "add", "10.231.7.1/24", "dev", device)
    ip("-6", "address", "add", "fd00:77::1/64", "dev", device, "nodad")
    container.bundle.linux["netDevices"] = {device: {}}
    started(container)
    found = inside(container)[device]
    assert {"10.231.7.1/24", "fd00:77::1/64"} <= set(found)
    command = ["nsenter", f"--net=/proc/{container.pid}/ns/net", "ip", "-o", "link", "show", device]
    assert ",UP" in subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert device not in ip("-o", "link").replace(f"{device}p", "")


def test_a_device_gets_another_name(container: Container, device: str, only) -> None:
    only(OURS)
    ip("address", "add", "10.231.8.1/24", "dev", device)
    container.bundle.linux["netDevices"] = {device: {"name": "eth0"}}
    started(container)
    assert inside(container)["eth0"] == ["10.231.8.1/24"] or "10.231.8.1/24" in inside(container)["eth0"]


def test_a_numbered_name(container: Container, device: str, only) -> None:
    only(OURS)
    container.bundle.linux["netDevices"] = {device: {"name": "port%d"}}
    started(container)
    assert "port0" in inside(container)


def test_scopes_that_do_not_move(container: Container, device: str, only) -> None:
    """Only permanent, global addresses move; a link-local one is made anew by the kernel."""
    only(OURS)
    ip("address", "add", "10.231.9.1/24", "dev", device, "valid_lft", "1000", "preferred_lft", "1000")
    ip("address", "add", "10.231.10.1/24", "dev", device)
    container.bundle.linux["netDevices"] = {device: {}}
    started(container)
    found = inside(container)[device]
    assert "10.231.10.1/24" in found
    assert "10.231.9.1/24" not in found


def test_a_device_that_does_not_exist(container: Container, only) -> None:
    only(OURS)
    container.bundle.linux["netDevices"] = {"nothere0": {}}
    result = container.create(check=False)
    assert result.status == 1
    assert "netDevices" in result.stderr
    assert "nothere0" in result.stderr


def test_a_device_needs_a_network_namespace(container: Container, device: str, only) -> None:
    only(OURS)
    container.bundle.without_namespace("network").linux["netDevices"] = {device: {"name": "eth9"}}
    result = container.create(check=False)
    assert result.status == 1
    assert "netDevices" in result.stderr
    assert device in ip("-o", "link")


@pytest.mark.parametrize("name", ["far-too-long-for-a-device", "with/slash", "with space", "..", ""])
def test_wrong_names(container: Container, name: str, only) -> None:
    only(OURS)
    container.bundle.linux["netDevices"] = {name: {}}
    result = container.create(check=False)
    assert result.status == 1
    assert "netDevices" in result.stderr


def test_a_joined_network_namespace_gets_devices_too(container: Container, device: str, token: str, only) -> None:
    only(OURS)
    ip("netns", "add", token)
    try:
        container.bundle.namespace("network", str(Path("/run/netns", token)))
        container.bundle.linux["netDevices"] = {device: {"name": "eth0"}}
        started(container)
        assert "eth0" in inside(container)
        container.kill("KILL")
        container.wait()
        container.delete()
        assert "eth0" in ip("-n", token, "-o", "link"), "devices are not moved back"
    finally:
        ip("netns", "delete", token)
