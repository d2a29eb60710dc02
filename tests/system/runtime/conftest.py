"""Containers in the states that the verbs are tried on."""

from __future__ import annotations

import pytest

from ..runtimes import Container


@pytest.fixture
def created(container: Container) -> Container:
    """A created container whose command sleeps."""
    container.bundle.args("sleep", "1000")
    container.create()
    return container


@pytest.fixture
def running(created: Container) -> Container:
    """A running container."""
    created.start()
    return created


@pytest.fixture
def stopped(running: Container) -> Container:
    """A container whose process was killed."""
    running.kill("KILL")
    running.wait("stopped")
    return running
