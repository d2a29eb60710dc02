from __future__ import annotations

from ..runtimes import Container


def test_run(container: Container) -> None:
    assert container.output("echo hello; id -u") == "hello\n0\n"


def test_life(container: Container) -> None:
    container.bundle.args("sleep", "100")
    container.create()
    assert container.status == "created"
    container.start()
    assert container.status == "running"
    assert container.exec("echo", "in").stdout == "in\n"
    assert container.cgroups()
    container.kill("KILL")
    container.wait("stopped")
    container.delete()
    assert not container.exists


def test_cleanup(container: Container) -> None:
    container.bundle.args("sleep", "100")
    container.create()
