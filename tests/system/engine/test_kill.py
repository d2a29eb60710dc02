"""SIGKILL of the command at any moment: the next one works, and nothing is left over."""

from __future__ import annotations

import random
import subprocess

import pytest

from ..runtimes import cgroups_named, wait_until
from .conftest import IMAGE

STATES = {"created", "running", "exited", "restarting"}


def own_processes(wherry) -> list[str]:
    """Command lines that name this host's folders."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(wherry.place) in line and "@monitor" in line]


def kill_after(wherry, delay_s: float, *words: str) -> None:
    process = subprocess.Popen(wherry.command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(delay_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.mark.parametrize("network", ["none", "bridge"])
def test_run_killed_at_random_moments(wherry, network):
    dice = random.Random(network)
    for _ in range(12):
        kill_after(wherry, dice.uniform(0.01, 0.35), "run", "-d", "--rm", "--network", network, IMAGE, "sleep", "1000")
        states = set(wherry.out("ps", "-a", "--format", "{{.State}}").split())
        assert states <= STATES
    wherry("rm", "-f", "--all")
    assert wherry.out("ps", "-aq") == ""
    wait_until(lambda: not own_processes(wherry))
    assert not list((wherry.run_root / "runtime").glob("*"))
    assert not list((wherry.root / "containers").glob("*"))
    assert wherry.out("run", "--rm", "--network", network, IMAGE, "echo", "well") == "well"


def test_removal_killed_at_random_moments(wherry):
    dice = random.Random(7)
    for _ in range(8):
        identifier = wherry.out("run", "-d", IMAGE, "sleep", "1000")
        kill_after(wherry, dice.uniform(0.01, 0.25), "rm", "-f", identifier)
        wherry("ps", "-a")
        wherry("rm", "-f", identifier)
        assert not cgroups_named(identifier)
    assert wherry.out("ps", "-aq") == ""


def test_a_killed_monitor_is_noticed(wherry, name):
    identifier = wherry.out("run", "-d", "--name", name, "--network", "none", IMAGE, "sleep", "1000")
    pid = int((wherry.run_root / "containers" / identifier / "monitor.lock").read_text())
    subprocess.run(["kill", "-KILL", str(pid)], check=True)
    assert wherry.out("ps", "--format", "{{.State}}") == "running"
    assert wherry.out("exec", name, "echo", "still here") == "still here"
    wherry("stop", "-t", "1", name)
    assert wherry.out("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name) == "exited 255"


def test_many_at_once(wherry):
    running = [
        subprocess.Popen(
            wherry.command("run", "-d", "--network", "none", IMAGE, "sleep", "1000"), stdout=subprocess.PIPE
        )
        for _ in range(12)
    ]
    identifiers = {process.communicate(timeout=120)[0].decode().strip() for process in running}
    assert len(identifiers) == 12 and all(len(identifier) == 64 for identifier in identifiers)
    assert set(wherry.out("ps", "-q", "--no-trunc").split()) == identifiers
