"""The fixtures of the system tests, and a line on the console for each outcome."""

from __future__ import annotations

from typing import Any

import pytest

from tests.system.conftest import (  # noqa: F401
    bundle,
    container,
    make_bundle,
    make_container,
    only,
    place,
    rootfs_template,
    runtime,
    runtime_path,
    subreaper,
    token,
)


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: Any) -> None:
    """`WHERRY-VM TEST file::name outcome`; a failure while setting up or cleaning up counts too."""
    if report.when == "call" or report.outcome != "passed":
        name = report.nodeid.partition("/guest/")[2].replace(" ", "_")
        print(f"\nWHERRY-VM TEST {name} {report.outcome}", flush=True)
