"""States, what create keeps back, exit statuses, signals, and what is left afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ..bundle import Bundle
from ..runtimes import Container, Runtime, process_state, wait_until

OURS = "wherry-runtime"


def test_create_does_not_run_the_command(container: Container, place: Path) -> None:
    container.bundle.shell("echo ran >/made")
    container.create()
    time.sleep(0.2)  # there is nothing to wait for: what must not happen leaves no sign
    assert not (container.bundle.rootfs / "made").exists()
    container.start()
    wait_until((container.bundle.rootfs / "made").exists)


def test_changes_of_the_document_after_create_do_not_count(container: Container) -> None:
    container.bundle.shell("echo first >/made")
    container.create()
    container.bundle.shell("echo second >/made")
    container.bundle.save()
    container.start()
    wait_until((container.bundle.rootfs / "made").exists)
    wait_until(lambda: (container.bundle.rootfs / "made").read_text() == "first\n")


def test_a_lost_document_does_not_matter(container: Container) -> None:
    container.bundle.args("sleep", "1000")
    container.create()
    (container.bundle.path / "config.json").unlink()
    container.start()
    assert container.exec("echo", "in").stdout == "in\n"
    container.kill("KILL")
    container.wait()
    container.delete()


def test_the_pid_file_is_there_when_create_returns(container: Container) -> None:
    container.bundle.args("sleep", "1000")
    container.create()
    text = container.pid_file.read_text()
    assert text == str(container.pid)
    assert process_state(int(text)) in "SDR"


def test_a_pid_file_that_cannot_be_written(container: Container) -> None:
    result = container.create("--pid-file", str(container.bundle.path / "missing/pid"), check=False)
    assert result.status == 1
    assert not container.exists


def test_states(container: Container) -> None:
    container.bundle.args("sleep", "1000")
    container.create()
    assert container.status == "created"
    container.start()
    assert container.status == "running"
    container.runtime("pause", container.id)
    assert container.status == "paused"
    container.runtime("resume", container.id)
    assert container.status == "running"
    container.kill("KILL")
    container.wait()
    assert container.state()["pid"] == 0
    container.delete()
    assert not container.exists


def test_the_same_name_twice(container: Container) -> None:
    container.bundle.args("sleep", "1000")
    container.create()
    pid = container.pid
    result = container.create(check=False)
    assert result.status == 1
    assert "exist" in result.stderr
    assert container.pid == pid, "the first one is not touched"
    assert container.status == "created"


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("exit 300", 44), ("kill -9 $$", 137), ("kill -ABRT $$", 134)],
)
def test_statuses_of_run(container: Container, script: str, status: int) -> None:
    container.bundle.shell(script if "kill" not in script else f"sh -c '{script}'; exit $?")
    assert container.run(check=False).status == status
    assert not container.exists


def test_death_by_a_signal(container: Container) -> None:
    """Pid 1 can be killed only from outside."""
    container.bundle.args("sleep", "1000").save()
    process = subprocess.Popen(container.runtime.command("run", "--bundle", container.bundle.path, container.id))
    wait_until(lambda: container.exists and container.status == "running")
    container.kill("KILL")
    assert process.wait(20) == 137
    assert not container.exists


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH"])
def test_run_passes_signals_on(container: Container, name: str, only) -> None:
    if name == "WINCH":
        only(OURS, "crun")
    container.bundle.shell(f"trap 'echo {name}; exit 5' {name}; echo ready; while :; do sleep 0.1; done").save()
    out = container.runtime.scratch / "run.out"
    with out.open("wb") as stdout:
        command = container.runtime.command("run", "--bundle", container.bundle.path, container.id)
        process = subprocess.Popen(command, stdout=stdout)
    wait_until(lambda: "ready" in out.read_text())
    process.send_signal(getattr(signal, f"SIG{name}"))
    assert process.wait(20) == 5
    assert name in out.read_text()


def test_run_detached(container: Container) -> None:
    container.bundle.args("sleep", "1000")
    container.run("--detach")
    assert container.status == "running"
    assert container.pid_file.read_text() == str(container.pid)


def test_run_detached_of_a_command_that_ends(container: Container) -> None:
    container.bundle.args("true")
    container.run("--detach")
    container.wait()
    container.delete()


def test_run_and_keep(container: Container, only) -> None:
    only(OURS, "runc")
    container.bundle.shell("exit 3")
    assert container.run("--keep", check=False).status == 3
    assert container.status == "stopped"
    container.delete()


def test_the_callers_child_has_the_status(container: Container) -> None:
    """Engines are subreapers: after create the container is their child."""
    container.bundle.shell("exit 9")
    container.create()
    pid = container.pid
    container.start()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 9


def test_preserved_descriptors(container: Container, place: Path) -> None:
    (place / "file").write_text("content")
    container.bundle.shell("cat <&3").save()
    command = container.runtime.command("run", "--preserve-fds", "1", "--bundle", container.bundle.path, container.id)
    with (place / "out").open("wb") as out:
        subprocess.run(["sh", "-c", f'exec "$@" 3<{place}/file', "sh", *command], stdout=out, check=True)
    assert (place / "out").read_text() == "content"


def test_socket_activation(container: Container, place: Path, probe: Bundle, only) -> None:
    """LISTEN_FDS names descriptors from 3 on; they reach the command as its own."""
    only(OURS, "runc")
    (place / "file").write_text("content")
    container.bundle.shell("cat <&3; echo $LISTEN_FDS $LISTEN_PID")
    container.bundle.save()
    with (place / "out").open("wb") as out:
        command = container.runtime.command("run", "--bundle", container.bundle.path, container.id)
        subprocess.run(["sh", "-c", f'LISTEN_FDS=1 exec "$@" 3<{place}/file', "sh", *command], stdout=out, check=True)
    assert (place / "out").read_text() == "content1 1\n"


def test_no_descriptor_reaches_the_command(container: Container, probe: Bundle, place: Path) -> None:
    probe.args("probe", "fds")
    with (place / "file").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        lines = container.run(pass_fds=[file.fileno()]).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2"]


def test_signals_start_fresh(container: Container) -> None:
    """Nothing blocked and nothing ignored, whatever the caller does."""
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        container.bundle.args("grep", "^Sig[BI]", "/proc/self/status")
        words = container.output().split()
    finally:
        signal.signal(signal.SIGUSR1, before)
    blocked, ignored = int(words[1], 16), int(words[3], 16)
    assert blocked == 0
    # Python ignores SIGPIPE and SIGXFSZ, and a started program does too; a runtime may pass this on.
    assert ignored & 1 << (signal.SIGUSR1 - 1) == 0 or container.runtime.dialect != OURS


def test_a_bundle_is_the_working_directory_by_default(container: Container) -> None:
    container.bundle.shell("echo here").save()
    result = container.runtime("run", container.id, cwd=container.bundle.path)
    assert result.stdout == "here\n"


def test_a_relative_bundle(container: Container) -> None:
    container.bundle.args("sleep", "1000").save()
    container.runtime("create", "--bundle", "bundle1", container.id, cwd=container.bundle.path.parent)
    assert container.state()["bundle"] == str(container.bundle.path)


def test_another_document(container: Container, place: Path, only) -> None:
    only(OURS, "crun")
    container.bundle.shell("echo other")
    (place / "other.json").write_text(json.dumps(container.bundle.config))
    container.bundle.shell("echo usual")
    assert container.run("--config", str(place / "other.json")).stdout == "other\n"


@pytest.mark.parametrize("what", ["config.json", "bundle", "rootfs"])
def test_a_missing_part(container: Container, what: str) -> None:
    container.bundle.save()
    if what == "config.json":
        (container.bundle.path / what).unlink()
    elif what == "rootfs":
        container.bundle.config["root"]["path"] = "missing"
        container.bundle.save()
    path = container.bundle.path if what != "bundle" else container.bundle.path / "missing"
    result = container.runtime("create", "--bundle", path, container.id, check=False)
    assert result.status == 1
    assert not container.exists


def test_a_failed_start_of_the_command_leaves_a_stopped_container(container: Container) -> None:
    """The command vanishes between create and start."""
    command = container.bundle.rootfs / "bin/own"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    container.bundle.args("/bin/own")
    container.create()
    command.unlink()
    result = container.start(check=False)
    if container.runtime.dialect == OURS:
        assert result.status != 0
        assert "/bin/own" in result.stderr
    container.wait()
    container.delete()


def test_a_runtime_that_is_killed_takes_nothing_with_it(container: Container) -> None:
    """`run` in the foreground is only the container's parent."""
    container.bundle.args("sleep", "1000").save()
    process = subprocess.Popen(container.runtime.command("run", "--bundle", container.bundle.path, container.id))
    wait_until(lambda: container.exists and container.status == "running")
    process.kill()
    process.wait()
    assert container.status in ("running", "stopped")
    container.delete("--force")


def test_foreign_keys_are_passed_over(container: Container) -> None:
    container.bundle.config |= {"x-unknown": {"a": [1]}}
    container.bundle.process["unknown"] = True
    container.bundle.linux["unknown"] = 5
    assert container.output("echo fine") == "fine\n"


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.3.0", "1.9.0"])
def test_versions_of_the_document(container: Container, version: str, only) -> None:
    only(OURS, *(["runc"] if version not in ("1.9.0",) else []))
    container.bundle.config["ociVersion"] = version
    assert container.output("echo fine") == "fine\n"


def test_processes_left_by_the_command_end_with_it(container: Container) -> None:
    container.bundle.shell("sleep 1000 & exit 3")
    assert container.run(check=False).status == 3
    assert not container.cgroups()


def test_without_a_pid_namespace_run_ends_all(container: Container, only) -> None:
    only(OURS, "runc")  # crun 1.8 gives the status of another process
    container.bundle.without_namespace("pid").shell("sleep 1000 >/dev/null 2>&1 & exit 3")
    assert container.run(check=False).status == 3
    assert not container.cgroups()


def test_readiness_messages_reach_the_host(container: Container, place: Path, runtime: Runtime, only) -> None:
    """NOTIFY_SOCKET: the command's READY=1 arrives at the caller's socket."""
    only(OURS, "runc")
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(place / "notify"))
        listener.settimeout(20)
        container.bundle.shell("sleep 1000")
        container.bundle.save()
        command = runtime.command("create", "--bundle", container.bundle.path, container.id)
        subprocess.run(command, env=os.environ | {"NOTIFY_SOCKET": str(place / "notify")}, check=True)
        text = container.exec("sh", "-c", "ls -d /run/notify/notify.sock /run/notify 2>/dev/null | head -1").stdout
    assert text.strip()
