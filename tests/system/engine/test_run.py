"""`wherry run` and what belongs to a container's life, on the real kernel."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess

import pytest

from ..runtimes import wait_until
from .conftest import IMAGE, environment

NONE = ("--network", "none")


def test_output_and_status_are_the_containers(wherry):
    done = wherry("run", "--rm", *NONE, IMAGE, "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert wherry.out("ps", "-aq") == ""


def test_standard_input_reaches_the_command(wherry):
    assert wherry.out("run", "--rm", "-i", *NONE, IMAGE, "wc", "-c", input="x" * 300_000) == "300000"


def test_without_i_standard_input_is_empty(wherry):
    assert wherry.out("run", "--rm", *NONE, IMAGE, "wc", "-c", input="ignored") == "0"


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ((IMAGE, "nosuchcommand"), 127, "executable file not found in $PATH"),
        ((IMAGE, "/etc/passwd"), 126, "permission denied"),
        (("--bogus", IMAGE), 125, "--bogus"),
        (("nosuchimage.invalid/x", "true"), 125, "nosuchimage.invalid"),
        (("--network", "wat", IMAGE), 125, "network 'wat' is unknown"),
        (("-u", "nobody-here", IMAGE, "true"), 125, "unable to find user"),
        (("-v", "/no/such/place:/x", IMAGE, "true"), 125, "/no/such/place"),
    ],
)
def test_what_cannot_run_says_so_and_leaves_nothing(wherry, words, status, says):
    done = wherry("run", "--rm", *NONE, *words, check=False)
    assert done.returncode == status
    assert says.lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr
    assert wherry.out("ps", "-aq") == ""


@pytest.mark.parametrize(("redirection", "status"), [(">&-", 0), (">/dev/full", 1)])
def test_output_that_goes_nowhere_is_no_traceback(wherry, redirection, status):
    command = ["sh", "-c", f'"$@" {redirection}', "sh", *wherry.command("ps", "-a")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status
    assert "Traceback" not in done.stderr and "ignored" not in done.stderr
    assert bool(done.stderr) == bool(status)


@pytest.mark.parametrize("group", ["container", "image"])
def test_groups_have_help(wherry, group):
    assert "inspect" in wherry.out(group, "--help")
    assert wherry(group, "nosuch", check=False).returncode == 125


def test_a_signal_gives_128_and_its_number(wherry):
    assert wherry("run", "--rm", "--init", *NONE, IMAGE, "sh", "-c", "kill -KILL $$", check=False).returncode == 137


def test_environment_user_directory_and_host_name(wherry):
    script = "echo $A-$B-$HOME-$(id -u)-$(id -g)-$(pwd)-$(hostname)"
    env = environment(B="passed")
    out = wherry.out(
        "run", "--rm", *NONE, "-e", "A=1", "-e", "B", "-u", "user", "-w", "/tmp", "--hostname", "boat", IMAGE,
        "sh", "-c", script, env=env,
    )  # fmt: skip
    assert out == "1-passed-/home/user-1000-1000-/tmp-boat"


def test_it_is_confined(wherry):
    script = "grep -E 'Cap(Eff|Bnd)|Seccomp:|NoNewPrivs' /proc/self/status; cat /proc/1/comm; mount | grep ' / '"
    out = wherry.out("run", "--rm", *NONE, IMAGE, "sh", "-c", script)
    assert "CapEff:\t00000000800405fb" in out
    assert "Seccomp:\t2" in out
    assert "type overlay" in out
    masked = wherry(
        "run", "--rm", *NONE, IMAGE, "sh", "-c", "cat /proc/kcore | wc -c; echo 1 > /proc/sys/kernel/panic", check=False
    )
    assert masked.stdout.startswith("0\n") and "Read-only" in masked.stderr


def test_writes_stay_in_the_container_and_volumes_last(wherry, tmp_path):
    wherry(
        "run",
        "--rm",
        *NONE,
        "-v",
        f"{tmp_path}:/data",
        "-v",
        "keep:/keep",
        IMAGE,
        "sh",
        "-c",
        "echo 1 >/data/f; echo 2 >/keep/f; echo 3 >/f",
    )
    assert (tmp_path / "f").read_text() == "1\n"
    out = wherry(
        "run",
        "--rm",
        *NONE,
        "-v",
        "keep:/keep:ro",
        IMAGE,
        "sh",
        "-c",
        "cat /keep/f; cat /f; echo x >/keep/f",
        check=False,
    )
    assert out.stdout == "2\n" and "Read-only" in out.stderr


def test_volumes_without_a_name_go_with_their_container(wherry, name):
    wherry("run", "--name", name, *NONE, "-v", "/data", IMAGE, "sh", "-c", "echo 1 >/data/f")
    assert len(list((wherry.root / "engine").glob("*/volumes/0/f"))) == 1
    wherry("rm", name)
    assert not list((wherry.root / "engine").glob("*"))


def test_a_start_that_fails_leaves_the_container_created(wherry, name):
    assert wherry("run", "-d", "--name", name, *NONE, IMAGE, "nosuchcommand", check=False).returncode == 127
    facts = wherry.out("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}", name)
    assert facts.startswith("created 127 ") and "nosuchcommand" in facts


@pytest.mark.parametrize(
    ("verb", "status"), [(("run", "--rm", "-it", *NONE, IMAGE), 125), (("exec", "-it", "nobody"), 1)]
)
def test_a_terminal_is_needed_for_one(wherry, verb, status):
    done = wherry(*verb, "cat", check=False, input="x")
    assert done.returncode == status and "not a TTY" in done.stderr


def test_detached_life(wherry, name):
    identifier = wherry.out(
        "run",
        "-d",
        "--name",
        name,
        *NONE,
        IMAGE,
        "sh",
        "-c",
        "echo one; trap 'exit 9' TERM; while :; do sleep 0.1; done",
    )
    assert len(identifier) == 64
    assert wherry.out("ps", "--format", "{{.Names}} {{.State}}") == f"{name} running"
    wait_until(lambda: wherry.out("logs", name) == "one")
    assert wherry.out("exec", name, "sh", "-c", "echo $$ >&2; hostname") == identifier[:12]
    assert wherry("exec", name, "sh", "-c", "exit 5", check=False).returncode == 5
    assert wherry("exec", name, "nosuch", check=False).returncode == 127
    wherry("stop", name)
    assert wherry.out("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name) == "exited 9"
    assert wherry.out("wait", name) == "9"
    wherry("start", identifier[:8])
    assert wherry.out("inspect", "-f", "{{.State.Running}}", name) == "true"
    assert wherry("rm", name, check=False).returncode == 1
    wherry("rm", "-f", name)
    assert wherry.out("ps", "-aq") == ""


def test_stop_kills_what_does_not_listen(wherry, name):
    wherry("run", "-d", "--name", name, *NONE, IMAGE, "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    wherry("stop", "-t", "0.5", name)
    assert wherry.out("inspect", "-f", "{{.State.ExitCode}}", name) == "137"


def test_a_name_is_given_once(wherry, name):
    wherry("create", "--name", name, IMAGE)
    done = wherry("run", "--rm", "--name", name, IMAGE, "true", check=False)
    assert done.returncode == 125 and "already in use" in done.stderr
    assert wherry.out("ps", "-a", "--format", "{{.State}}") == "created"


def test_logs_tell_the_streams_apart_and_follow(wherry, name):
    wherry("run", "-d", "--name", name, *NONE, IMAGE, "sh", "-c", "echo o1; echo e1 >&2; sleep 1; echo o2; printf part")
    done = wherry("logs", "-f", name)
    assert (done.stdout, done.stderr) == ("o1\no2\npart", "e1\n")
    assert wherry.out("logs", "--tail", "1", name) == "part"


@pytest.mark.parametrize("driver", ["json-file", "k8s-file"])
def test_log_drivers(wherry, name, driver):
    wherry("run", "--name", name, *NONE, "--log-driver", driver, IMAGE, "sh", "-c", "echo hello")
    assert wherry.out("logs", name) == "hello"
    stamped = wherry.out("logs", "-t", name)
    assert stamped.endswith(" hello") and stamped[4] == "-"


def test_restart_policy(wherry, name):
    wherry("run", "-d", "--name", name, *NONE, "--restart", "on-failure:2", IMAGE, "sh", "-c", "echo x; exit 3")
    assert wherry.out("wait", name) == "3"
    assert wherry.out("inspect", "-f", "{{.RestartCount}}", name) == "2"
    assert wherry.out("logs", name) == "x\nx\nx"


def test_init_reaps(wherry, name):
    wherry("run", "-d", "--init", "--name", name, *NONE, IMAGE, "sh", "-c", "(sleep 0.1 &) ; exec sleep 100")
    wait_until(lambda: wherry.out("exec", name, "sh", "-c", "ps | grep -c '[s]leep 0.1' || true") == "0")
    out = wherry.out("exec", name, "sh", "-c", "cat /proc/1/comm; grep -l zombie /proc/[0-9]*/status || true")
    assert "zombie" not in out and not out.startswith("sleep")


def test_limits_reach_the_kernel(wherry):
    out = wherry.out(
        "run",
        "--rm",
        *NONE,
        "-m",
        "64m",
        "--cpus",
        "0.5",
        IMAGE,
        "sh",
        "-c",
        "cat /sys/fs/cgroup/memory*/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us",
    )
    assert "67108864" in out.split() and "50000" in out.split()


def test_out_of_memory_is_seen(wherry, name):
    wherry("run", "--name", name, *NONE, "-m", "16m", IMAGE, "sh", "-c", "x=a; while :; do x=$x$x; done", check=False)
    assert wherry.out("inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", name) == "true 137"


def test_read_only_and_tmpfs(wherry):
    done = wherry(
        "run",
        "--rm",
        *NONE,
        "--read-only",
        "--tmpfs",
        "/run/x:size=1m",
        IMAGE,
        "sh",
        "-c",
        "touch /f; touch /run/x/f && echo ok",
        check=False,
    )
    assert "ok" in done.stdout and "Read-only file system" in done.stderr


def test_inspect_and_templates(wherry, name):
    wherry("create", "--name", name, "-l", "a=b", "-e", "X=1", *NONE, IMAGE, "sleep", "1")
    document = json.loads(wherry.out("inspect", name))[0]
    assert document["Name"] == name and document["State"]["Status"] == "created"
    assert document["Config"]["Cmd"] == ["sleep", "1"] and "X=1" in document["Config"]["Env"]
    assert wherry.out("inspect", "-f", '{{index .Config.Labels "a"}}', name) == "b"
    bad = wherry("inspect", "-f", "{{.Nope}}", name, check=False)
    assert bad.returncode == 1 and "no field 'Nope'" in bad.stderr
    assert wherry("inspect", "nosuch", check=False).returncode == 1


def test_explain_changes_nothing(wherry):
    out = wherry.out("explain", "-p", "80", "-v", "unmade:/x", "-v", "/y", IMAGE, "true")
    assert not (wherry.root / "volumes/unmade").exists()
    assert "overlay" in out and "execute" in out.lower()
    assert wherry.out("ps", "-aq") == ""


def test_cidfile(wherry, tmp_path):
    path = tmp_path / "cid"
    wherry("run", "--rm", *NONE, "--cidfile", str(path), IMAGE, "true")
    assert len(path.read_text()) == 64
    assert wherry("run", "--rm", *NONE, "--cidfile", str(path), IMAGE, "true", check=False).returncode == 125


def terminal_session(wherry, *words, script):
    """Run a command on a terminal; `script` gets a function to type and one to wait for output."""
    master, slave = pty.openpty()
    command = ["setsid", "--ctty", "--wait", *wherry.command(*words)]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    seen = bytearray()

    def expect(text: bytes) -> None:
        while text not in seen:
            seen.extend(os.read(master, 4096))

    script(lambda data: os.write(master, data), expect)
    try:
        while data := os.read(master, 4096):
            seen.extend(data)
    except OSError:
        pass  # the terminal's other side is closed: the end on Linux
    os.close(master)
    return process.wait(20), bytes(seen)


def test_a_terminal(wherry):
    def script(type, expect):
        expect(b"# ")
        type(b"tty; stty size; exit 4\n")

    status, seen = terminal_session(wherry, "run", "--rm", "-it", *NONE, IMAGE, "sh", script=script)
    assert status == 4
    assert b"/dev/pts/0" in seen


def test_detach_keys_leave_it_running(wherry, name):
    def script(type, expect):
        expect(b"# ")
        type(b"\x10\x11")

    status, _ = terminal_session(wherry, "run", "-it", "--name", name, *NONE, IMAGE, "sh", script=script)
    assert status == 0
    assert wherry.out("inspect", "-f", "{{.State.Status}}", name) == "running"


def test_exec_with_a_terminal(wherry, name):
    wherry("run", "-d", "--name", name, *NONE, IMAGE, "sleep", "100")

    def script(type, expect):
        expect(b"# ")
        type(b"echo a$((1+1))b; exit 3\n")

    status, seen = terminal_session(wherry, "exec", "-it", name, "sh", script=script)
    assert status == 3 and b"a2b" in seen


def test_interrupt_reaches_the_container(wherry, name):
    process = subprocess.Popen(
        wherry.command(
            "run",
            "--rm",
            "--name",
            name,
            *NONE,
            IMAGE,
            "sh",
            "-c",
            "trap 'exit 21' INT; echo up; while :; do sleep 0.1; done",
        ),
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 21
    process.stdout.close()


def test_health_check(wherry, name):
    wherry(
        "run", "-d", "--name", name, *NONE, "--health-cmd", "test -e /tmp/well", "--health-interval", "200ms",
        "--health-retries", "2", IMAGE, "sleep", "1000",
    )  # fmt: skip
    status = ("inspect", "-f", "{{.State.Health.Status}}", name)
    wait_until(lambda: wherry.out(*status) == "unhealthy")
    wherry("exec", name, "touch", "/tmp/well")
    wait_until(lambda: wherry.out(*status) == "healthy")
    assert "(healthy)" in wherry.out("ps")


def test_unhealthy_can_mean_restart(wherry, name):
    wherry(
        "run", "-d", "--name", name, *NONE, "--restart", "always", "--health-cmd", "false",
        "--health-interval", "100ms", "--health-retries", "1", "--health-on-failure", "restart", IMAGE, "sleep", "1000",
    )  # fmt: skip
    wait_until(lambda: int(wherry.out("inspect", "-f", "{{.RestartCount}}", name)) >= 1)
