"""hostname, domainname and linux.sysctl."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ..runtimes import Container

OURS = "wherry-runtime"


def test_host_name(container: Container) -> None:
    before = socket.gethostname()
    container.bundle.config["hostname"] = "inside"
    assert container.output("hostname; cat /proc/sys/kernel/hostname") == "inside\ninside\n"
    assert socket.gethostname() == before


def test_no_host_name(container: Container) -> None:
    del container.bundle.config["hostname"]
    assert container.output("hostname") == f"{socket.gethostname()}\n"


def test_a_host_name_needs_a_namespace(container: Container) -> None:
    container.bundle.without_namespace("uts")
    assert container.create(check=False).status == 1
    assert not container.exists


def test_domain_name(container: Container, only) -> None:
    only(OURS, "crun")
    before = Path("/proc/sys/kernel/domainname").read_text()
    container.bundle.config["domainname"] = "domain.test"
    assert container.output("cat /proc/sys/kernel/domainname") == "domain.test\n"
    assert Path("/proc/sys/kernel/domainname").read_text() == before


def test_domain_name_by_sysctl(container: Container) -> None:
    container.bundle.linux["sysctl"] = {"kernel.domainname": "by.sysctl"}
    assert container.output("cat /proc/sys/kernel/domainname") == "by.sysctl\n"


def test_two_different_domain_names(container: Container, only) -> None:
    only(OURS)
    container.bundle.config["domainname"] = "one"
    container.bundle.linux["sysctl"] = {"kernel.domainname": "two"}
    result = container.create(check=False)
    assert result.status == 1
    assert "kernel.domainname" in result.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.conf.lo.arp_ignore", "2"),
        ("net.ipv4.ping_group_range", "0\t100"),
        ("kernel.shmmax", "123456"),
        ("kernel.shm_rmid_forced", "1"),
        ("kernel.msgmnb", "12345"),
        ("kernel.sem", "100\t200\t30\t40"),
        ("fs.mqueue.msg_max", "11"),
    ],
)
def test_settings_of_namespaces(container: Container, name: str, value: str) -> None:
    path = Path("/proc/sys", *name.split("."))
    before = path.read_text()
    container.bundle.linux["sysctl"] = {name: value.replace("\t", " ")}
    assert container.output(f"cat {path}").strip() == value
    assert path.read_text() == before


def test_slashes_may_part_the_words(container: Container) -> None:
    """Needed where a word has a dot, as the names of VLAN devices do."""
    container.bundle.linux["sysctl"] = {"net/ipv4/ip_forward": "1"}
    assert container.output("cat /proc/sys/net/ipv4/ip_forward") == "1\n"


@pytest.mark.parametrize("name", ["vm.swappiness", "kernel.panic", "kernel.hostname", "net"])
def test_settings_of_the_whole_host_are_refused(container: Container, name: str) -> None:
    path = Path("/proc/sys", *name.split("."))
    before = path.read_text() if path.is_file() else ""
    container.bundle.linux["sysctl"] = {name: "77"}
    assert container.create(check=False).status == 1
    assert not container.exists
    assert before == (path.read_text() if path.is_file() else "")


@pytest.mark.parametrize(("kind", "name"), [("network", "net.ipv4.ip_forward"), ("ipc", "kernel.shmmax")])
def test_settings_need_their_namespace(container: Container, kind: str, name: str) -> None:
    path = Path("/proc/sys", *name.split("."))
    before = path.read_text()
    container.bundle.without_namespace(kind).linux["sysctl"] = {name: "1"}
    assert container.create(check=False).status == 1
    assert path.read_text() == before


@pytest.mark.parametrize("kind", ["network", "ipc"])
def test_the_hosts_namespace_by_its_path_counts_as_the_hosts(container: Container, kind: str, only) -> None:
    only(OURS, "runc")
    file = {"network": "net", "ipc": "ipc"}[kind]
    name = {"network": "net.ipv4.ip_forward", "ipc": "kernel.shmmax"}[kind]
    if kind == "ipc":
        only(OURS)  # runc 1.1 looks at the path of network namespaces only
    path = Path("/proc/sys", *name.split("."))
    before = path.read_text()
    container.bundle.namespace(kind, f"/proc/{os.getpid()}/ns/{file}").linux["sysctl"] = {name: before.strip()}
    assert container.create(check=False).status == 1


def test_names_that_climb(container: Container) -> None:
    container.bundle.linux["sysctl"] = {"net/../vm/swappiness": "77"}
    before = Path("/proc/sys/vm/swappiness").read_text()
    result = container.create(check=False)
    if container.runtime.dialect != "runc":
        assert result.status == 1
    if container.runtime.dialect == OURS:
        assert Path("/proc/sys/vm/swappiness").read_text() == before
    Path("/proc/sys/vm/swappiness").write_text(before)


def test_a_setting_the_kernel_refuses_is_named(container: Container) -> None:
    container.bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "nonsense"}
    result = container.create(check=False)
    assert result.status == 1
    assert "ip_forward" in result.stderr
