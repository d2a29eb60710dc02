"""Many containers at once, by many writers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ..runtimes import Container, Runtime, cgroups_named, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from ..bundle import Bundle

WRITERS, CONTAINERS = 10, 100


def verb(runtime: Runtime, scratch: Path, name: str, *words: str) -> str:
    """One verb with streams of its own: `Runtime` numbers them for a single thread."""
    own = Runtime(runtime.executable, runtime.root, scratch / name)
    own.scratch.mkdir(exist_ok=True)
    return own(*words).stdout


def test_a_hundred_containers(runtime: Runtime, bundle: Bundle, place: Path, token: str) -> None:
    bundle.args("sleep", "1000").save()

    def live(number: int) -> str:
        name = f"{token}-{number}"
        run = lambda *words: verb(runtime, place / "streams", name, *words)  # noqa: E731
        run("create", "--bundle", str(bundle.path), name)
        run("start", name)
        said = run("exec", name, "echo", str(number))
        run("state", name)
        run("delete", "--force", name)
        return said

    with ThreadPoolExecutor(WRITERS) as writers:
        said = list(writers.map(live, range(CONTAINERS)))
    assert said == [f"{number}\n" for number in range(CONTAINERS)]
    assert list(runtime.root.iterdir()) == []
    wait_until(lambda: not cgroups_named(token))


def test_one_name_for_all(runtime: Runtime, bundle: Bundle, place: Path, token: str, only) -> None:
    """Exactly one of many creations with the same name succeeds; the others leave it alone."""
    only("wherry-runtime", "crun")  # runc 1.1 makes two
    bundle.args("sleep", "1000").save()

    def create(number: int) -> int:
        own = Runtime(runtime.executable, runtime.root, place / "streams" / str(number))
        own.scratch.mkdir()
        return own("create", "--bundle", bundle.path, f"{token}-same", check=False).status

    with ThreadPoolExecutor(WRITERS) as writers:
        statuses = list(writers.map(create, range(WRITERS)))
    assert statuses.count(0) == 1
    container = Container(runtime, bundle, f"{token}-same")
    assert container.status == "created"
    container.delete("--force")


def test_verbs_against_each_other(runtime: Runtime, bundle: Bundle, place: Path, token: str) -> None:
    """exec, kill, state, pause and delete of one container at once: whatever each answers, nothing is left."""
    bundle.args("sleep", "1000").save()
    container = Container(runtime, bundle, f"{token}-0")
    for turn in range(5):
        container.create()
        container.start()
        words = [
            ("exec", container.id, "true"),
            ("state", container.id),
            ("kill", container.id, "TERM"),
            ("delete", "--force", container.id),
            ("exec", container.id, "true"),
            ("list",),
            ("delete", "--force", container.id),
            ("kill", container.id, "KILL"),
        ]

        def call(number: int, line: tuple[str, ...], turn: int = turn) -> str:
            own = Runtime(runtime.executable, runtime.root, place / "streams" / f"{turn}-{number}")
            own.scratch.mkdir()
            return own(*line, check=False).stderr

        with ThreadPoolExecutor(len(words)) as writers:
            said = list(writers.map(call, range(len(words)), words))
        assert not any("Traceback" in text for text in said)
        container.clean_up()
        assert not container.exists
        assert list(runtime.root.iterdir()) == []
