"""--log and --log-format: what engines read to learn why a runtime failed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ..runtimes import Container, Runtime

OURS = "wherry-runtime"


def lines(path: Path) -> list[dict[str, str]]:
    """As go-runc and podman read them: one JSON object a line."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def last_error(path: Path) -> str:
    """go-runc takes the last line whose level is error."""
    return [line["msg"] for line in lines(path) if line["level"] == "error"][-1]


@pytest.fixture
def log(place: Path) -> Path:
    return place / "log.json"


def failing(container: Container, log: Path, *words: str) -> str:
    flags = ["--log", str(log), "--log-format", "json"]
    result = container.runtime(*flags, *words, check=False)
    assert result.status != 0
    return last_error(log)


def test_an_error_is_a_line_of_json(container: Container, log: Path) -> None:
    failing(container, log, "state", container.id)
    line = lines(log)[-1]
    assert set(line) >= {"level", "msg", "time"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", line["time"])


@pytest.mark.parametrize("verb", ["state", "start", "kill", "delete", "pause", "resume", "exec", "update", "ps"])
def test_no_container(container: Container, log: Path, verb: str, only) -> None:
    """containerd maps "does not exist" to not found."""
    if verb == "ps":
        only(OURS, "runc")
    words = {"exec": ["true"], "update": [], "kill": ["KILL"]}.get(verb, [])
    flags = ["--pids-limit", "5"] if verb == "update" else []
    message = failing(container, log, verb, *flags, container.id, *words)
    assert "does not exist" in message or (container.runtime.dialect == "crun" and "No such file" in message)


def test_kill_of_a_stopped_container(container: Container, log: Path, only) -> None:
    only(OURS, "runc")
    container.bundle.args("sleep", "1000")
    container.create()
    container.kill("KILL")
    container.wait()
    message = failing(container, log, "kill", container.id, "TERM")
    assert any(text in message for text in ("process already finished", "container not running", "no such process"))


@pytest.mark.parametrize("verb", ["create", "run", "exec"])
def test_a_missing_command(container: Container, log: Path, verb: str, only) -> None:
    """podman gives 127 for these texts, 126 for those below."""
    only(OURS, "runc")
    message = command_failure(container, log, verb, "nothing-there")
    assert re.search("executable file not found in|no such file or directory|open executable", message, re.IGNORECASE)


@pytest.mark.parametrize("verb", ["create", "run", "exec"])
def test_a_command_without_permission(container: Container, log: Path, verb: str, only) -> None:
    only(OURS)
    message = command_failure(container, log, verb, "/etc/passwd")
    assert re.search("permission denied|operation not permitted", message, re.IGNORECASE)


def command_failure(container: Container, log: Path, verb: str, command: str) -> str:
    container.bundle.args(command if verb != "exec" else "sleep", "1000").save()
    if verb == "exec":
        container.create()
        container.start()
        return failing(container, log, "exec", container.id, command)
    return failing(container, log, verb, "--bundle", str(container.bundle.path), container.id)


def test_lines_are_appended(container: Container, log: Path) -> None:
    for _ in range(3):
        failing(container, log, "state", container.id)
    assert len(lines(log)) == 3


def test_success_writes_no_error(container: Container, log: Path) -> None:
    container.bundle.save()
    container.runtime("--log", str(log), "--log-format", "json", "run", "--bundle", container.bundle.path, container.id)
    assert not log.exists() or not [line for line in lines(log) if line["level"] == "error"]


def test_text(container: Container, log: Path) -> None:
    container.runtime("--log", str(log), "--log-format", "text", "state", container.id, check=False)
    text = log.read_text()
    assert text.strip()
    assert "level=error" in text or container.runtime.dialect == "crun"


def test_the_message_is_on_standard_error_too(container: Container, log: Path, only) -> None:
    only(OURS, "runc")
    result = container.runtime("--log", str(log), "--log-format", "json", "state", container.id, check=False)
    assert "does not exist" in result.stderr


def test_messages_with_any_character(container: Container, log: Path) -> None:
    container.bundle.config["root"]["path"] = 'a "quoted"\n\\ é'
    container.bundle.save()
    failing(container, log, "create", "--bundle", str(container.bundle.path), container.id)
    assert len(lines(log)) == 1


def test_an_error_of_the_container_side(container: Container, log: Path) -> None:
    """The init process fails; its creator writes the line."""
    container.bundle.mount("/target", "tmpfs", "tmpfs", "nonsense=1").save()
    failing(container, log, "create", "--bundle", str(container.bundle.path), container.id)


def test_a_refused_verb(runtime: Runtime, log: Path, only) -> None:
    only(OURS)
    result = runtime("--log", str(log), "--log-format", "json", "nonsense", check=False)
    assert result.status != 0
    assert "nonsense" in result.stderr


def test_warnings_are_lines_too(container: Container, log: Path, only) -> None:
    only(OURS, "runc")
    container.bundle.process["capabilities"]["bounding"].append("CAP_OF_TOMORROW")
    container.bundle.save()
    container.runtime("--log", str(log), "--log-format", "json", "run", "--bundle", container.bundle.path, container.id)
    warnings = [line["msg"] for line in lines(log) if line["level"] == "warning"]
    assert any("CAP_OF_TOMORROW" in text for text in warnings)
