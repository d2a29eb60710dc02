from __future__ import annotations

import subprocess

import pytest

from wherry.errors import WherryError
from wherry.runtime.cgroup.dbus import Bus, BusError, decode, encode, open_bus, parse_addresses

DAEMON = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")


@pytest.fixture
def address(tmp_path):
    """A message bus of our own."""
    path = tmp_path / "bus"
    rules = ('send_destination="*"', 'eavesdrop="true"', 'own="*"')
    policy = f"<policy context='default'>{''.join(f'<allow {rule}/>' for rule in rules)}</policy>"
    config = tmp_path / "bus.conf"
    config.write_text(f"<busconfig><type>session</type><listen>unix:path={path}</listen>{policy}</busconfig>")
    command = ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--print-address=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline()
        yield str(path)
        daemon.terminate()


def test_calls_and_structured_replies(address):
    bus = Bus(address)
    [name] = bus.call(*DAEMON, "RequestName", "su", "org.example.Wherry", 0)
    assert name == 1
    [names] = bus.call(*DAEMON, "ListNames")
    assert "org.example.Wherry" in names
    [credentials] = bus.call(*DAEMON, "GetConnectionCredentials", "s", "org.example.Wherry")
    found = dict(credentials)
    assert found["ProcessID"][0] == "u"
    bus.call(*DAEMON, "UpdateActivationEnvironment", "a{ss}", [("A", "1"), ("B", "2")])
    bus.close()


def test_signals_that_come_between_are_kept(address):
    bus = Bus(address)
    bus.call(*DAEMON, "AddMatch", "s", "type='signal',member='NameOwnerChanged'")
    bus.call(*DAEMON, "RequestName", "su", "org.example.One", 0)
    while True:
        name, old, new = bus.signal("NameOwnerChanged")
        if name == "org.example.One":
            break
    assert old == ""
    assert new.startswith(":")
    bus.close()


def test_an_error_reply_has_its_name(address):
    bus = Bus(address)
    with pytest.raises(BusError) as caught:
        bus.call(*DAEMON, "GetNameOwner", "s", "org.example.Nobody")
    assert caught.value.name == "org.freedesktop.DBus.Error.NameHasNoOwner"
    bus.close()


def test_the_session_bus_is_found_by_its_variable(address, monkeypatch):
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={address}")
    open_bus(user=True).close()


def test_no_bus(tmp_path, monkeypatch):
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(WherryError, match="No such file"):
        open_bus(user=True)
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    with pytest.raises(WherryError, match="XDG_RUNTIME_DIR"):
        open_bus(user=True)


@pytest.mark.parametrize(
    ("signature", "values"),
    [
        ("ybnqiuxtd", (1, True, -2, 3, -4, 5, -6, 7, 1.5)),
        ("sog", ("text", "/path", "a{sv}")),
        ("a(st)", ([("a", 1), ("bcd", 2)],)),
        ("ay", ([1, 2, 3],)),
        ("aas", ([["x"], [], ["y", "z"]],)),
        ("a{sv}", ([("k", ("as", ["v"])), ("n", ("(yt)", (1, 2)))],)),
        ("ssa(sv)a(sa(sv))", ("u", "fail", [("PIDs", ("au", [7])), ("Slice", ("s", "a.slice"))], [])),
        ("yat", (1, [])),
    ],
)
def test_encoding_and_back(signature, values):
    assert decode(signature, encode(signature, values)) == list(values)


def test_alignment():
    assert encode("yt", (1, 2)) == b"\1" + bytes(7) + b"\2" + bytes(7)
    assert encode("a(y)", ([(1,), (2,)],)) == b"\x09\0\0\0" + bytes(4) + b"\1" + bytes(7) + b"\2"
    assert decode("u", b"\0\0\1\0", ">") == [256]


def test_addresses():
    text = "tcp:host=x,port=1;unix:path=/run/a%20b,guid=0f;unix:abstract=/tmp/x"
    assert parse_addresses(text) == ["/run/a b", b"\0/tmp/x"]
    assert parse_addresses("") == []
