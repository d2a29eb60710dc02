from __future__ import annotations

import json

from ..runtimes import Container, Runtime


def test_list_of_nothing(runtime: Runtime, only) -> None:
    only("wherry-runtime", "runc")
    heads = "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    assert runtime("list").stdout == heads
    assert not json.loads(runtime("list", "--format", "json").stdout)
    assert runtime("list", "--quiet").stdout == ""


def test_list_without_a_root_folder(runtime: Runtime, only) -> None:
    only("wherry-runtime", "runc")
    runtime.root.rmdir()
    assert runtime("list", "-q").stdout == ""


def test_list_table(make_container, make_bundle, only) -> None:
    only("wherry-runtime", "runc")
    containers = [make_container(make_bundle()) for _ in range(2)]
    for container in containers:
        container.bundle.args("sleep", "1000")
        container.create()
    containers[1].start()
    runtime = containers[0].runtime
    text = runtime("list").stdout
    lines = text.splitlines()
    assert lines[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    for line, container in zip(lines[1:], containers, strict=True):
        state = container.state()
        row = [container.id, str(state["pid"]), state["status"], state["bundle"], state["created"], "root"]
        assert line.split() == row
        assert [line.index(cell) for cell in row] == [
            lines[0].index(head) for head in ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")
        ]
    assert runtime("list", "-q").stdout.split() == [container.id for container in containers]


def test_list_json(stopped: Container) -> None:
    (entry,) = json.loads(stopped.runtime("list", "-f", "json").stdout)
    assert entry["id"] == stopped.id
    assert entry["pid"] == 0
    assert entry["status"] == "stopped"
    assert entry["bundle"] == str(stopped.bundle.path)


def test_list_passes_over_other_files(created: Container, only) -> None:
    only("wherry-runtime")
    created.runtime.root.joinpath("a file").touch()
    created.runtime.root.joinpath("plain").touch()
    assert created.runtime("list", "-q").stdout.split() == [created.id]
    created.runtime.root.joinpath("a file").unlink()
    created.runtime.root.joinpath("plain").unlink()


def test_list_refuses_other_formats(runtime: Runtime, only) -> None:
    only("wherry-runtime", "runc")
    result = runtime("list", "--format", "xml", check=False)
    assert result.status == 1
    assert "invalid format option" in result.stderr
