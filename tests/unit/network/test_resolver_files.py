from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wherry.network.resolver_files import hostname, hosts, resolv_conf

HOST = """# made by something
search example.org lan
nameserver 127.0.0.53
nameserver ::1
nameserver fe80::1%eth0
nameserver 192.0.2.53
options edns0 trust-ad
"""


def test_loopback_servers_are_left_out() -> None:
    assert resolv_conf(HOST) == "search example.org lan\nnameserver 192.0.2.53\noptions edns0 trust-ad\n"


def test_host_network_keeps_them() -> None:
    text = resolv_conf(HOST, drop_loopback=False)
    assert "nameserver 127.0.0.53\nnameserver ::1\n" in text


def test_public_servers_when_none_is_left() -> None:
    assert resolv_conf("nameserver 127.0.0.1\n") == "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
    assert resolv_conf("", drop_loopback=False) == ""


def test_given_values_replace_those_of_the_host() -> None:
    text = resolv_conf(HOST, servers=["127.0.0.11"], search=["."], options=["ndots:0"])
    assert text == "nameserver 127.0.0.11\noptions ndots:0\n"


@given(st.text(max_size=200))
def test_any_host_file_is_read(text: str) -> None:
    for line in resolv_conf(text).splitlines():
        assert line.split()[0] in ("search", "nameserver", "options")


def test_hosts_has_own_name_and_the_given_ones() -> None:
    text = hosts("web", ["10.87.0.2", "fd00::2"], extra=[("db", "10.0.0.9")], aliases=["w"])
    assert text == (
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "10.0.0.9\tdb\n"
        "10.87.0.2\tweb w\n"
        "fd00::2\tweb w\n"
    )


def test_hosts_without_a_network_or_from_a_file() -> None:
    assert hosts("web", []).endswith("127.0.1.1\tweb\n")
    assert hosts("localhost", []).count("\n") == 2
    assert hosts("web", ["10.0.0.2"], host_text="10.0.0.1\trouter") == "10.0.0.1\trouter\n10.0.0.2\tweb\n"


def test_hostname() -> None:
    assert hostname("web") == "web\n"
