"""The default bridge, published ports, and what is left of them when everything is killed."""

from __future__ import annotations

import os
import signal
import subprocess

from ..runtimes import process_state, wait_until
from .conftest import IMAGE

SERVER = "while :; do echo ahoy | nc -l -p 8080; done"
CLIENT = "nc -w 3 {} {} </dev/null"


def in_namespace(wherry, *command: str) -> subprocess.CompletedProcess[str]:
    enter = ["nsenter", f"--net=/run/netns/{wherry.netns}"]
    return subprocess.run([*enter, *command], capture_output=True, text=True, timeout=30, check=False)


def fetch(wherry, address: str, port: int) -> str:
    return in_namespace(wherry, "busybox", "sh", "-c", CLIENT.format(address, port)).stdout


def test_published_port_answers_on_every_side(wherry, name):
    wherry("run", "-d", "--name", name, "-p", "18080:8080", IMAGE, "sh", "-c", SERVER)
    address = wherry.out("inspect", "-f", "{{.NetworkSettings.IPAddress}}", name)
    wait_until(lambda: fetch(wherry, address, 8080) == "ahoy\n")
    wait_until(lambda: fetch(wherry, "127.0.0.1", 18080) == "ahoy\n")
    assert "0.0.0.0:18080->8080/tcp" in wherry.out("ps")
    gateway = wherry.out("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", name)
    other = ("run", "--rm", IMAGE, "sh", "-c", CLIENT.format(gateway, 18080))
    wait_until(lambda: wherry(*other, check=False).stdout == "ahoy\n")
    hairpin = ("exec", name, "sh", "-c", CLIENT.format(gateway, 18080))
    wait_until(lambda: wherry(*hairpin, check=False).stdout == "ahoy\n")


def test_a_taken_port_names_its_owner_and_leaves_nothing(wherry, name):
    wherry("run", "-d", "--name", name, "-p", "18081:80", IMAGE, "sleep", "100")
    done = wherry("run", "--rm", "-p", "18081:80", IMAGE, "true", check=False)
    assert done.returncode == 125 and "18081" in done.stderr
    assert len(wherry.out("ps", "-aq").split()) == 1


def test_names_and_resolver_of_the_container(wherry):
    out = wherry.out("run", "--rm", "--hostname", "boat", IMAGE, "sh", "-c", "cat /etc/hostname /etc/hosts; hostname")
    assert out.splitlines()[0] == "boat" and out.splitlines()[-1] == "boat"
    assert any(line.startswith("10.") and "boat" in line for line in out.splitlines())


def test_host_and_no_network(wherry):
    own = in_namespace(wherry, "readlink", "/proc/self/ns/net").stdout.strip()
    assert wherry.out("run", "--rm", "--network", "host", IMAGE, "readlink", "/proc/self/ns/net") == own
    out = wherry.out(
        "run", "--rm", "--network", "none", IMAGE, "sh", "-c", "ls /sys/class/net; cat /sys/class/net/lo/flags"
    )
    assert out.split() == ["lo", "0x9"]


def test_killing_everything_leaves_no_network(wherry, name):
    identifier = wherry.out("run", "-d", "--name", name, "-p", "18082:80", IMAGE, "sleep", "1000")
    pid = int(wherry.out("inspect", "-f", "{{.State.Pid}}", name))
    monitor = int((wherry.run_root / "containers" / identifier / "monitor.lock").read_text())
    os.kill(monitor, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: process_state(pid) in ("", "Z"))
    assert wherry.out("ps", "-a", "--format", "{{.State}}") == "exited"
    assert wherry.out("inspect", "-f", "{{.State.ExitCode}}", name) == "255"
    assert "18082" not in in_namespace(wherry, "nft", "list", "ruleset").stdout
    assert "veth" not in in_namespace(wherry, "ip", "-o", "link").stdout
    wherry("run", "--rm", "-p", "18082:80", IMAGE, "true")
