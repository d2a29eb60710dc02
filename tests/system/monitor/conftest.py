"""Fixtures of the monitor's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ..runtimes import children, process_state, reap, wait_until
from .driver import Monitored

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..bundle import Bundle
    from ..runtimes import Runtime


@pytest.fixture
def monitored(runtime: Runtime, bundle: Bundle, place: Path, token: str) -> Iterator[Monitored]:
    """A container of `bundle`, to be started by the test; always ended."""
    container = Monitored(runtime, bundle, place, token)
    yield container
    container.clean_up()
    wait_until(lambda: all(process_state(pid) in ("", "Z") for pid in children()), 5, "processes stay")
    reap()
