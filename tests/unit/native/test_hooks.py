"""HOOK: its stdin, its environment, its end, and what is told when it fails."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from wherry.plan import instructions as i

if TYPE_CHECKING:
    from .harness import Box


def hook(script: str, *, timeout_ms: int = 0, flags: int = 0, env: tuple[str, ...] = ()) -> tuple[object, ...]:
    arguments = ["/bin/sh", "-c", script]
    return ("HOOK", "/bin/sh", arguments, list(env), timeout_ms, '{"pid":', ',"id":"box"}', flags)


def test_state_on_stdin_and_exact_environment(box: Box) -> None:
    out = box.place / "out"
    box.after_clone.append(hook(f"cat > {out}; /usr/bin/env >> {out}; umask >> {out}", env=("ONLY=this",)))
    box.output("true")
    state, rest = out.read_text().split("}", 1)
    assert json.loads(state + "}")["id"] == "box"
    assert json.loads(state + "}")["pid"] > 1
    assert "ONLY=this" in rest
    assert "PATH" not in rest.replace("ONLY=this", "").split("PWD")[0]
    assert rest.rstrip().endswith("022")


def test_inside_the_pid_is_one(box: Box) -> None:
    box.inside.append(hook("cat > /data/state"))
    box.output("true")
    assert json.loads((box.rootfs / "data/state").read_text())["pid"] == 1


def test_failure_quotes_the_hook(box: Box) -> None:
    box.after_clone.append(hook("echo out; echo reason >&2; exit 7"))
    result = box.run()
    assert result.stderr == "after[0]: /bin/sh: exit status 7: out\nreason\n"
    assert result.status == 1
    assert not box.state.exists()


def test_signal(box: Box) -> None:
    box.after_clone.append(hook("kill -9 $$"))
    assert box.run().stderr == "after[0]: /bin/sh was killed by signal 9\n"


def test_time_out(box: Box) -> None:
    box.after_clone.append(hook("sleep 1000", timeout_ms=100))
    assert box.run().stderr == "after[0]: /bin/sh did not end within 100 ms and was killed\n"


def test_hook_that_reads_nothing_and_writes_much(box: Box) -> None:
    head = '{"pad":"' + "x" * 200000 + '","pid":'
    box.after_clone.append(
        ("HOOK", "/bin/sh", ["sh", "-c", "yes | head -c 300000"], ["PATH=/usr/bin:/bin"], 0, head, "}", 0)
    )
    assert box.output("echo fine") == "fine\n"


def test_missing_hook(box: Box) -> None:
    box.after_clone.append(("HOOK", "/no/hook", ["hook"], [], 0, "", "", 0))
    assert box.run().stderr == "after[0]: execute /no/hook: No such file or directory\n"


def test_warning_only(box: Box) -> None:
    box.delete.append(hook("exit 3", flags=i.HOOK_WARN))
    box.delete.append(hook(f"touch {box.place}/after"))
    box.shell("exit 2")
    result = box.run()
    assert result.status == 2
    assert "delete[0]: /bin/sh: exit status 3" in result.stderr
    assert (box.place / "after").exists()


def test_failing_start_hook_stops_the_container(box: Box) -> None:
    box.start.append(hook("exit 1"))
    box.shell("sleep 1000")
    result = box.run()
    assert result.stderr == "start[0]: /bin/sh: exit status 1\n"
    assert not box.state.exists()
