"""hooks: when and where each kind runs, what it gets, and what its failure means."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ..runtimes import Container, children, process_state, wait_until

OURS = "wherry-runtime"
BEFORE_THE_COMMAND = ["prestart", "createRuntime", "createContainer", "startContainer"]
ALL = [*BEFORE_THE_COMMAND, "poststart", "poststop"]
RECORD = """#!/bin/busybox sh
cat >{place}/{name}.state
env >{place}/{name}.env
for ns in mnt net pid uts ipc; do readlink /proc/self/ns/$ns; done >{place}/{name}.ns
echo "$0|$*" >{place}/{name}.args
echo {name} >>{place}/order
"""


@pytest.fixture
def records(container: Container, place: Path) -> Path:
    """The directory that hooks write to; the container sees it under the same name."""
    path = place / "records"
    path.mkdir()
    container.bundle.mount(str(path), "bind", str(path), "bind")
    return path


def add_hook(container: Container, records: Path, kind: str, **more: Any) -> None:
    """Add a hook that records what it sees; more: further fields, or `then=` shell text."""
    hooks = container.bundle.config.setdefault("hooks", {})
    script = records / f"{kind}{len(hooks.get(kind, []))}.sh"
    then = more.pop("then", "")
    script.write_text(RECORD.format(place=records, name=kind) + then + "\n")
    script.chmod(0o755)
    hooks.setdefault(kind, []).append({"path": str(script), "args": [script.name, "word"]} | more)


def fails(container: Container, records: Path, kind: str) -> None:
    add_hook(container, records, kind, then="echo broken >&2; exit 3")


def order(records: Path) -> list[str]:
    path = records / "order"
    return path.read_text().split() if path.exists() else []


def state(records: Path, kind: str) -> dict[str, Any]:
    return json.loads((records / f"{kind}.state").read_text())


def namespaces(records: Path, kind: str) -> dict[str, str]:
    return dict(line.split(":") for line in (records / f"{kind}.ns").read_text().split())


def mine() -> dict[str, str]:
    return dict(os.readlink(f"/proc/self/ns/{ns}").split(":") for ns in ("mnt", "net", "pid", "uts", "ipc"))


def test_the_moment_of_each(container: Container, records: Path) -> None:
    for kind in ALL:
        add_hook(container, records, kind)
    container.bundle.shell(f"echo command >>{records}/order; sleep 1000")
    container.create()
    early = ["poststart"] if container.runtime.dialect == "runc" else []  # runc 1.1 runs it in create
    assert order(records) == ["prestart", "createRuntime", "createContainer", *early]
    container.start()
    wait_until(lambda: "command" in order(records))
    after = [name for name in order(records) if name != "poststart"]
    assert after == [*BEFORE_THE_COMMAND, "command"]
    if container.runtime.dialect == OURS:
        assert order(records).index("poststart") > order(records).index("startContainer")
    else:
        assert "poststart" in order(records)
    container.kill("KILL")
    container.wait()
    assert "poststop" not in order(records)
    container.delete()
    assert order(records)[-1] == "poststop"


def test_the_command_comes_after_start_container(container: Container, records: Path) -> None:
    add_hook(container, records, "startContainer")
    container.output(f"echo command >>{records}/order")
    assert order(records) == ["startContainer", "command"]


def test_several_of_one_kind_run_in_order(container: Container, records: Path) -> None:
    for number in range(3):
        add_hook(container, records, "createRuntime", then=f"echo {number} >>{records}/numbers")
    container.output("true")
    assert (records / "numbers").read_text().split() == ["0", "1", "2"]


def test_run_runs_all(container: Container, records: Path) -> None:
    for kind in ALL:
        add_hook(container, records, kind)
    container.output("true")
    assert set(order(records)) == set(ALL)
    assert order(records)[-1] == "poststop"


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "poststart", "poststop"])
def test_hooks_in_the_namespaces_of_the_host(container: Container, records: Path, kind: str) -> None:
    add_hook(container, records, kind)
    container.output("true")
    ours = mine()
    if container.runtime.dialect == "crun":  # our wrapper gives it a mount namespace
        ours.pop("mnt")
    assert ours.items() <= namespaces(records, kind).items()


@pytest.mark.parametrize("kind", ["createContainer", "startContainer"])
def test_hooks_in_the_namespaces_of_the_container(container: Container, records: Path, kind: str) -> None:
    add_hook(container, records, kind)
    container.bundle.args("sleep", "1000")
    container.create()
    container.start()
    theirs = {ns: os.readlink(f"/proc/{container.pid}/ns/{ns}").split(":")[1] for ns in mine()}
    assert namespaces(records, kind) == theirs


def test_create_container_sees_the_hosts_files_and_the_containers_mounts(container: Container, records: Path) -> None:
    root = container.bundle.rootfs
    add_hook(
        container, records, "createContainer", then=f"ls {root}/proc/self/status; test -d {root}/dev/pts && echo dev"
    )
    script = records / "createContainer0.sh"
    script.write_text(script.read_text().replace(f"ls {root}", f"exec >{records}/seen; ls {root}"))
    container.output("true")
    assert (records / "seen").read_text().split() == [f"{root}/proc/self/status", "dev"]


def test_start_container_is_a_file_of_the_container(container: Container, records: Path) -> None:
    hook = container.bundle.rootfs / "bin/hook"
    hook.write_text(f"#!/bin/sh\necho inside >{records}/inside\n")
    hook.chmod(0o755)
    container.bundle.config["hooks"] = {"startContainer": [{"path": "/bin/hook"}]}
    container.output("true")
    assert (records / "inside").read_text() == "inside\n"


@pytest.mark.parametrize("kind", ALL)
def test_the_state_on_standard_input(container: Container, records: Path, kind: str) -> None:
    add_hook(container, records, kind)
    container.bundle.config["annotations"] = {"io.test": 'a "quoted" é'}
    container.bundle.args("sleep", "1000")
    container.create()
    pid = container.pid
    container.start()
    container.kill("KILL")
    container.wait()
    container.delete()
    found = state(records, kind)
    assert found["id"] == container.id
    if (kind, container.runtime.dialect) != ("startContainer", "crun"):
        assert found["bundle"] == str(container.bundle.path)
    assert found["annotations"] == {"io.test": 'a "quoted" é'}
    assert found["ociVersion"]
    if kind == "poststop":
        assert found["status"] == "stopped"
    elif kind == "poststart":
        assert found["pid"] == pid
        assert found["status"] == ("created" if container.runtime.dialect == "runc" else "running")
    elif kind in ("prestart", "createRuntime"):
        assert found["pid"] == pid
        assert found["status"] in ("created", "creating")


@pytest.mark.parametrize("kind", ["createContainer", "startContainer"])
def test_the_pid_as_the_container_sees_it(container: Container, records: Path, kind: str, only) -> None:
    only(OURS)
    add_hook(container, records, kind)
    container.output("true")
    assert state(records, kind)["pid"] == 1


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer", "poststart", "poststop"])
def test_the_environment_is_only_what_is_given(container: Container, records: Path, kind: str) -> None:
    add_hook(container, records, kind, env=["GIVEN=1", "PATH=/bin"])
    container.bundle.args("true")
    container.run(env={"SECRET": "x"})
    names = dict(line.split("=", 1) for line in (records / f"{kind}.env").read_text().splitlines())
    assert names["GIVEN"] == "1"
    assert "SECRET" not in names
    assert set(names) <= {"GIVEN", "PATH", "PWD", "SHLVL", "_", "OLDPWD", "HOME", "TERM"}


@pytest.mark.parametrize("kind", ["createRuntime", "startContainer"])
def test_arguments(container: Container, records: Path, kind: str) -> None:
    add_hook(container, records, kind)
    container.output("true")
    assert (records / f"{kind}.args").read_text() == f"{records}/{kind}0.sh|word\n"


@pytest.mark.parametrize("kind", BEFORE_THE_COMMAND)
def test_a_failure_before_the_command_undoes_everything(container: Container, records: Path, kind: str) -> None:
    fails(container, records, kind)
    add_hook(container, records, "poststop")
    container.bundle.shell(f"echo command >>{records}/order")
    result = container.run(check=False)
    assert result.status == 1 or container.runtime.dialect == "crun"
    assert "command" not in order(records)
    if container.runtime.dialect == OURS:
        assert kind in result.stderr
        assert "3" in result.stderr
        assert "poststop" in order(records)
    assert not container.exists


def test_the_first_failure_ends_the_list(container: Container, records: Path) -> None:
    fails(container, records, "createRuntime")
    add_hook(container, records, "createRuntime", then=f"touch {records}/second")
    container.create(check=False)
    assert not (records / "second").exists()


def test_a_start_container_failure_after_create(container: Container, records: Path) -> None:
    fails(container, records, "startContainer")
    container.bundle.shell(f"echo command >>{records}/order")
    container.create()
    container.start(check=False)
    container.wait()
    assert "command" not in order(records)
    container.delete()


def test_a_failing_poststop_is_a_warning(container: Container, records: Path) -> None:
    fails(container, records, "poststop")
    add_hook(container, records, "poststop", then=f"touch {records}/second")
    container.bundle.args("sleep", "1000")
    container.create()
    container.kill("KILL")
    container.wait()
    container.delete(check=container.runtime.dialect == OURS)
    assert not container.exists
    if container.runtime.dialect == OURS:
        assert (records / "second").exists()


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_timeout_kills_the_hook(container: Container, records: Path, kind: str) -> None:
    add_hook(container, records, kind, timeout=1, then="exec sleep 1000")
    container.bundle.args("true")
    result = container.run(check=False)
    assert result.status == 1
    if container.runtime.dialect == OURS:
        assert kind in result.stderr


def test_a_hook_that_does_not_exist(container: Container) -> None:
    container.bundle.config["hooks"] = {"createRuntime": [{"path": "/nothing/there"}]}
    result = container.create(check=False)
    assert result.status == (255 if container.runtime.dialect == "crun" else 1)
    assert not container.exists


def test_a_hook_that_reads_nothing(container: Container) -> None:
    """A state larger than a pipe holds, and nobody reads it."""
    container.bundle.config["annotations"] = {"big": "x" * 200_000}
    container.bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/true"}]}
    assert container.output("echo fine") == "fine\n"


def test_a_hook_gets_no_descriptor_of_the_runtime(container: Container, records: Path, probe_path: Path, only) -> None:
    only(OURS, "crun")  # runc 1.1 leaks some to createContainer
    for kind in ("createRuntime", "createContainer"):
        add_hook(container, records, kind, then=f"{probe_path} fds >{records}/{kind}.fds")
    container.output("true")
    for kind in ("createRuntime", "createContainer"):
        numbers = {int(line.split()[0]) for line in (records / f"{kind}.fds").read_text().splitlines()}
        assert numbers <= {0, 1, 2, 10}, kind  # 10: busybox's own copy of its script


def test_background_processes_of_a_hook_do_not_hold_it_up(container: Container, records: Path, only) -> None:
    only(OURS, "runc")  # `run` of crun waits for whatever it adopts
    add_hook(container, records, "createRuntime", then=f"(sleep 1; touch {records}/late) >/dev/null 2>&1 </dev/null &")
    assert container.output("echo fine") == "fine\n"
    assert not (records / "late").exists()
    wait_until((records / "late").exists)
    wait_until(lambda: not any(process_state(pid) in "SR" for pid in children()))
