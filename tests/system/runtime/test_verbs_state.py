from __future__ import annotations

import json
import os
import signal
import subprocess
from datetime import UTC, datetime

import pytest

from ..runtimes import Container, Runtime, process_state, wait_until


def test_state_of_a_life(created: Container) -> None:
    state = created.state()
    assert state["status"] == "created"
    assert state["id"] == created.id
    assert state["pid"] == int(created.pid_file.read_text())
    assert state["bundle"] == str(created.bundle.path)
    assert state["ociVersion"]
    created.start()
    assert created.status == "running"
    created.kill("KILL")
    created.wait("stopped")
    assert created.state()["pid"] == 0


def test_state_has_an_absolute_rootfs_and_an_owner(created: Container, only) -> None:
    only("wherry-runtime", "runc")
    state = created.state()
    assert state["rootfs"] == str(created.bundle.rootfs)
    assert "owner" in state


def test_state_tells_when_the_container_was_created(created: Container) -> None:
    text = created.state()["created"]
    assert text.endswith("Z")
    when = datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - when).total_seconds()) < 300


def test_state_gives_annotations(container: Container) -> None:
    wanted = {"org.example.a": 'quote " and \\ and {brace}: é', "org.example.b": ""}
    container.bundle.config["annotations"] = wanted
    container.bundle.args("sleep", "1000")
    container.create()
    given = container.state()["annotations"]
    assert {key: given[key] for key in wanted} == wanted


def test_state_is_indented_as_runc_does(created: Container, only) -> None:
    only("wherry-runtime", "runc")
    text = created.runtime("state", created.id).stdout
    assert text.strip() == json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    assert list(json.loads(text)) == [
        "ociVersion",
        "id",
        "pid",
        "status",
        "bundle",
        "rootfs",
        "created",
        "owner",
    ]


def test_a_zombie_is_stopped(running: Container) -> None:
    """The engine that is the parent may be slow to reap."""
    pid = running.pid
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert process_state(pid) == "Z"
    # not by the helper, which reaps while it waits
    text = subprocess.check_output(running.runtime.command("state", running.id))
    assert process_state(pid) == "Z"
    assert json.loads(text)["status"] == "stopped"
    os.waitpid(pid, 0)
    assert running.status == "stopped"


def test_a_reused_pid_is_not_the_container(running: Container, only) -> None:
    only("wherry-runtime")
    path = running.runtime.root / running.id / "state.json"
    kept = path.read_text()
    document = json.loads(kept)
    document["startTime"] += 1
    path.write_text(json.dumps(document, separators=(",", ":")))
    assert running.status == "stopped"
    assert "container not running" in running.kill("KILL", check=False).stderr
    assert process_state(document["pid"]) not in ("", "Z")
    path.write_text(kept)
    assert running.status == "running"


LEADER_ENDS = """
#include <pthread.h>
#include <unistd.h>
static void *other(void *unused) { for (;;) pause(); return unused; }
int main(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, other, NULL);
    write(1, "ready\\n", 6);
    pthread_exit(NULL);
}
"""


def test_a_first_thread_that_ended_is_not_the_end(container: Container, only) -> None:
    """The kernel shows such a process as a zombie, but it runs."""
    only("wherry-runtime")
    program = container.bundle.rootfs / "bin/leader"
    compiler = ["cc", "-static", "-pthread", "-x", "c", "-", "-o", program]
    subprocess.run(compiler, input=LEADER_ENDS, text=True, check=True)
    container.bundle.args("leader")
    container.create()
    container.start()
    pid = container.pid
    wait_until(lambda: process_state(pid) == "Z")
    assert container.stdout == "ready\n"
    assert container.status == "running"
    container.kill("KILL")
    container.wait("stopped")


@pytest.mark.parametrize("name", ["../x", "a/b", "a b", "", "..", ".", "ü"])
def test_bad_names(runtime: Runtime, only, name: str) -> None:
    only("wherry-runtime")
    result = runtime("state", name, check=False)
    assert result.status == 1
    assert "invalid container ID format" in result.stderr


def test_state_of_nothing(runtime: Runtime, only) -> None:
    only("wherry-runtime", "runc")
    result = runtime("state", "nope", check=False)
    assert result.status == 1
    assert "does not exist" in result.stderr
