"""The annotation io.wherry.landlock (docs/landlock.md)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ..bundle import Bundle
from ..runtimes import Container

BASE = {"exec": ["/bin"], "ro": ["/proc", "/etc"], "rw": ["/dev", "/tmp"]}


@pytest.fixture(autouse=True)
def ours(only) -> None:
    only("wherry-runtime")  # no peer knows Landlock


def restrict(bundle: Bundle, rules: dict[str, Any]) -> None:
    bundle.config["annotations"] = {"io.wherry.landlock": json.dumps(rules)}


def test_files(container: Container) -> None:
    root = container.bundle.rootfs
    (root / "var/hidden").write_text("hidden")
    restrict(container.bundle, BASE)
    container.bundle.shell(
        "head -c4 /etc/passwd; echo; cat /var/hidden 2>/dev/null || echo 1; echo x 2>/dev/null >/etc/new || echo 2; "
        "echo x >/tmp/new && cat /tmp/new; cp /bin/busybox /tmp/busybox; /tmp/busybox true 2>/dev/null || echo 3; "
        "ls /var 2>/dev/null || echo 4"
    )
    assert container.output().split() == ["root", "1", "2", "x", "3", "4"]


def test_exec_is_restricted_too(container: Container) -> None:
    (container.bundle.rootfs / "var/hidden").write_text("hidden")
    restrict(container.bundle, BASE)
    container.bundle.args("sleep", "1000")
    container.create()
    container.start()
    assert container.exec("cat", "/var/hidden", check=False).status == 1
    assert container.exec("head", "-c4", "/etc/passwd").stdout == "root"


def test_ports(container: Container) -> None:
    restrict(container.bundle, {"tcp_bind": [8080], "tcp_connect": [8080]})
    container.bundle.shell(
        "(timeout 1 nc -l -p 9090 2>&1 | grep -ci 'denied\\|permitted'); echo hello | nc -l -p 8080 & "
        "sleep 0.3; nc 127.0.0.1 8080 </dev/null; nc 127.0.0.1 9090 2>&1 </dev/null | grep -ci 'denied\\|permitted'"
    )
    assert container.run(check=False).stdout.split() == ["1", "hello", "1"]


def test_files_are_free_when_only_ports_are_named(container: Container) -> None:
    restrict(container.bundle, {"tcp_bind": []})
    assert container.output("echo x >/var/new && cat /var/new") == "x\n"


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"ro": "/etc"}', '{"ro": ["etc"]}', '{"nonsense": []}', '{"tcp_bind": [70000]}', '{"scope": ["x"]}'],
)
def test_wrong_rules(container: Container, text: str) -> None:
    container.bundle.config["annotations"] = {"io.wherry.landlock": text}
    result = container.create(check=False)
    assert result.status == 1
    assert "io.wherry.landlock" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not container.exists


def test_a_missing_path(container: Container) -> None:
    """Paths are looked up just before the command starts."""
    restrict(container.bundle, BASE | {"ro": ["/missing"]})
    result = container.run(check=False)
    assert result.status == 1
    assert "/missing" in result.stderr


def test_new_privileges_must_be_off(container: Container) -> None:
    container.bundle.process["noNewPrivileges"] = False
    restrict(container.bundle, BASE)
    result = container.create(check=False)
    assert result.status == 1
    assert "noNewPrivileges" in result.stderr
