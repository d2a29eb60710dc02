from __future__ import annotations

import json

from ..runtimes import Container, Runtime, wait_until


def two(container: Container) -> Container:
    container.bundle.shell("sleep 1000 & echo ready; wait")
    container.create()
    container.start()
    wait_until(lambda: "ready" in container.stdout)
    return container


def test_ps_json(container: Container) -> None:
    two(container)
    pids = json.loads(container.runtime("ps", "--format", "json", container.id).stdout)
    assert len(pids) == 2
    assert container.pid in pids


def test_ps_table(container: Container, only) -> None:
    only("wherry-runtime", "runc")
    two(container)
    lines = container.runtime("ps", container.id).stdout.splitlines()
    assert lines[0].split()[:2] == ["UID", "PID"]
    assert str(container.pid) in [line.split()[1] for line in lines[1:]]
    assert len(lines) == 3


def test_ps_passes_options_on(container: Container, only) -> None:
    only("wherry-runtime", "runc")
    two(container)
    lines = container.runtime("ps", container.id, "-e", "-o", "comm,pid").stdout.splitlines()
    assert lines[0].split() == ["COMMAND", "PID"]
    assert {"sh", "sleep"} == {line.split()[0] for line in lines[1:]}


def test_ps_shows_exec_and_groups_below(running: Container, only) -> None:
    only("wherry-runtime")
    group = running.cgroups()[0]
    group.joinpath("inner").mkdir()
    running.exec("sleep", "1000", flags=["--detach"])
    others = [p for p in group.joinpath("cgroup.procs").read_text().split() if int(p) != running.pid]
    group.joinpath("inner/cgroup.procs").write_text(others[0])
    pids = json.loads(running.runtime("ps", "--format", "json", running.id).stdout)
    assert int(others[0]) in pids


def test_ps_of_a_stopped_container(stopped: Container, only) -> None:
    only("wherry-runtime", "runc")
    assert len(stopped.runtime("ps", stopped.id).stdout.splitlines()) == 1
    assert not json.loads(stopped.runtime("ps", "--format", "json", stopped.id).stdout)


def test_ps_refuses_other_formats(running: Container, only) -> None:
    only("wherry-runtime", "runc")
    result = running.runtime("ps", "--format", "xml", running.id, check=False)
    assert result.status == 1
    assert "invalid format option" in result.stderr


def test_ps_of_nothing(runtime: Runtime, only) -> None:
    only("wherry-runtime", "runc")
    assert runtime("ps", "nope", check=False).status == 1
