"""Fixtures of the system tests: the runtime under test, bundles, containers, and the search for leaks."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from .bundle import Bundle, make_rootfs
from .runtimes import Container, Runtime, cgroups_named, default_runtime, kill_orphans, mounts_below, remove_cgroups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(scope="session", autouse=True)
def subreaper() -> None:
    """Become the parent of what runtimes leave behind, as an engine does."""
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


@pytest.fixture(scope="session")
def runtime_path() -> str:
    """The executable under test: `WHERRY_TEST_RUNTIME`, else ours."""
    path = shutil.which(default_runtime())
    assert path, f"{default_runtime()} is not there: run `make setup`"
    return path


@pytest.fixture(scope="session")
def rootfs_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A busybox root directory, copied for each bundle."""
    path = tmp_path_factory.mktemp("template") / "rootfs"
    make_rootfs(path)
    return path


@pytest.fixture
def token() -> str:
    """A name no other test uses; everything a test makes on the host carries it."""
    return f"wt{uuid4().hex[:12]}"


@pytest.fixture
def place(token: str) -> Iterator[Path]:
    """The test's directory, reachable for every user. Fails the test for what it leaves on the host."""
    path = Path(tempfile.mkdtemp(prefix=f"{token}-"))
    path.chmod(0o755)
    yield path
    left: dict[str, list[Any]] = {
        "processes": kill_orphans(),
        "mounts": mounts_below(path),
        "control groups": cgroups_named(token),
        "state": sorted(path.glob("root/*")),
    }
    for mount in reversed(mounts_below(path)):
        subprocess.run(["umount", "--lazy", mount], check=False)
    remove_cgroups(token)
    shutil.rmtree(path, ignore_errors=True)
    leaks = {kind: things for kind, things in left.items() if things}
    assert not leaks, f"left behind: {leaks}"


@pytest.fixture
def runtime(runtime_path: str, place: Path) -> Runtime:
    """The runtime under test with a state root of its own."""
    for name in ("root", "streams"):
        (place / name).mkdir()
    return Runtime(runtime_path, place / "root", place / "streams")


@pytest.fixture
def make_bundle(place: Path, rootfs_template: Path) -> Callable[[], Bundle]:
    """Makes further bundles for tests that need more than one."""
    count = 0

    def make() -> Bundle:
        nonlocal count
        count += 1
        path = place / f"bundle{count}"
        path.mkdir()
        return Bundle(path, rootfs_template)

    return make


@pytest.fixture
def bundle(make_bundle: Callable[[], Bundle]) -> Bundle:
    """A bundle that runs `true`; edit `bundle.config` before the container is created."""
    return make_bundle()


@pytest.fixture
def make_container(runtime: Runtime, bundle: Bundle, token: str) -> Iterator[Callable[..., Container]]:
    """Makes containers, of the test's bundle unless another is given; all are deleted at the end."""
    made: list[Container] = []

    def make(of: Bundle | None = None) -> Container:
        made.append(Container(runtime, of or bundle, f"{token}-{len(made)}"))
        return made[-1]

    yield make
    for container in made:
        container.clean_up()


@pytest.fixture
def container(make_container: Callable[..., Container]) -> Container:
    """A container of `bundle`, not yet created."""
    return make_container()


@pytest.fixture
def only(runtime: Runtime) -> Callable[..., None]:
    """`only("wherry-runtime", "runc")` leaves out a test that a peer under test answers in another dialect."""

    def check(*dialects: str) -> None:
        if runtime.dialect not in dialects:
            pytest.skip(f"{runtime.dialect} has another dialect here")

    return check
