"""What this machine cannot show: cgroup v2 with every controller, systemd, user sessions, reboots.

The tests proper are in `guest` and run inside a virtual machine, all in one boot; each has a test here that
tells its outcome.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .machine import Machine, results

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.long, pytest.mark.timeout(3000)]

GUEST = Path(__file__).parent / "guest"


def guest_tests(folder: Path) -> list[str]:
    """`file::function` of every test in a folder of the guest's."""
    found = []
    for file in sorted(folder.glob("test_*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.append(f"{file.name}::{node.name}")
    return found


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("vm"))
    yield machine
    machine.discard()


@pytest.fixture(scope="module")
def console(machine: Machine) -> str:
    """The console of the boot that runs the guest's tests."""
    return machine.boot("wherry.job=tests")


@pytest.fixture(scope="module")
def console_v1(machine: Machine) -> str:
    """The console of a boot with version 1 controllers under systemd."""
    return machine.boot("wherry.job=v1", "systemd.unified_cgroup_hierarchy=0")


def check(console: str, name: str) -> None:
    outcomes = {test: outcome for test, outcome in results(console).items() if test.split("[")[0] == name}
    assert outcomes, f"no outcome of {name}:\n{console[-8000:]}"
    bad = {test: outcome for test, outcome in outcomes.items() if outcome != "passed"}
    assert not bad, f"{bad}\n{console}"


@pytest.mark.parametrize("name", guest_tests(GUEST))
def test_in_the_guest(console: str, name: str) -> None:
    check(console, name)


@pytest.mark.parametrize("name", guest_tests(GUEST / "v1"))
def test_in_the_guest_with_version_1(console_v1: str, name: str) -> None:
    check(console_v1, f"v1/{name}")


def test_limits_with_version_1_under_systemd(console_v1: str) -> None:
    """tests/system/runtime/test_cgroup.py passes there too."""
    assert "WHERRY-VM END 0" in console_v1, console_v1[-8000:]


def test_a_container_after_a_reboot(machine: Machine) -> None:
    """State on disk from before a reboot: the container shows as stopped, and can be deleted."""
    console = machine.boot("wherry.job=reboot", reboots=True)
    assert "WHERRY-VM BEFORE running" in console
    assert "WHERRY-VM AFTER stopped" in console
    assert "WHERRY-VM DELETED" in console, console[-8000:]
