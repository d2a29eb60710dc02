"""Health checks by the monitor itself."""

from __future__ import annotations

import signal
from pathlib import Path

from wherry.engine import attach

from ..runtimes import wait_until
from .driver import Monitored, next_of

FAST = ("--health-interval", "50", "--health-retries", "3")


def check(monitored: Monitored, script: str, *options: str) -> tuple[str | Path, ...]:
    return ("--health-plan", monitored.health_plan("sh", "-c", script), *FAST, *options)


def test_a_check_that_succeeds_makes_healthy(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.start(*check(monitored, "echo all is well; hostname"))
    wait_until(lambda: monitored.read("health.json")["status"] == "healthy")
    health = monitored.read("health.json")
    assert health["failingStreak"] == 0
    assert health["log"][0]["exitCode"] == 0
    assert health["log"][0]["output"] == "all is well\nwherry-test\n"


def test_failures_in_a_row_make_unhealthy(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    options = check(monitored, "echo bad >&2; test -e /good")
    monitored.start(*options)
    with monitored.client() as client:
        assert next_of(client, attach.Health).status == "unhealthy"
        (monitored.bundle.rootfs / "good").touch()
        assert next_of(client, attach.Health).status == "healthy"
        (monitored.bundle.rootfs / "good").unlink()
        assert next_of(client, attach.Health).status == "unhealthy"
    health = monitored.read("health.json")
    assert health["failingStreak"] >= 3
    assert [entry["exitCode"] for entry in health["log"][-3:]] == [1, 1, 1]
    assert health["log"][-1]["output"] == "bad\n"


def test_five_results_and_the_end_of_their_output_are_kept(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    script = "echo x >> /count; seq 1 3000; wc -l < /count"
    monitored.start(*check(monitored, script))
    wait_until(lambda: (monitored.bundle.rootfs / "count").exists())
    wait_until(lambda: len((monitored.bundle.rootfs / "count").read_text().split()) > 7)
    log = monitored.read("health.json")["log"]
    whole = "".join(f"{n}\n" for n in range(1, 3001))
    numbers = [int(entry["output"].split()[-1]) for entry in log]
    assert numbers == list(range(numbers[0], numbers[0] + 5))
    assert all(entry["output"] == (whole + f"{n}\n")[-4096:] for n, entry in zip(numbers, log, strict=True))


def test_a_check_that_takes_too_long_is_killed(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.start(*check(monitored, "echo begun; sleep 555", "--health-timeout", "100"))
    wait_until(lambda: monitored.read("health.json")["status"] == "unhealthy")
    log = monitored.read("health.json")["log"]
    assert [entry["exitCode"] for entry in log[:3]] == [-1, -1, -1]
    with monitored.client() as client:
        client.kill(signal.SIGKILL)
    monitored.wait()


def test_failures_do_not_count_in_the_start_period(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    options = ("--health-start-period", "3600000", "--health-start-interval", "20")
    monitored.start(*check(monitored, "test -e /good", *options))
    wait_until(lambda: len(monitored.read("health.json")["log"]) == 5)
    health = monitored.read("health.json")
    assert (health["status"], health["failingStreak"]) == ("starting", 0)
    (monitored.bundle.rootfs / "good").touch()
    wait_until(lambda: monitored.read("health.json")["status"] == "healthy")


def test_unhealthy_may_kill(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    record = monitored.run(*check(monitored, "false", "--on-unhealthy", "kill"))
    assert (record["exitCode"], record["restarts"]) == (137, 0)


def test_unhealthy_may_restart_and_checks_follow_the_new_process(monitored: Monitored) -> None:
    monitored.bundle.shell("if test -e /second; then touch /good; else touch /second; fi; exec sleep 1000")
    monitored.start(*check(monitored, "test -e /good", "--on-unhealthy", "restart"))
    with monitored.client() as client:
        assert next_of(client, attach.Health).status == "unhealthy"
        assert not next_of(client, attach.Exit).final
        assert next_of(client, attach.Health).status == "healthy"
    assert monitored.read("monitor.json")["restarts"] == 1


def test_a_damaged_plan_is_a_failing_check(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    options = check(monitored, "true")
    Path(options[1]).write_bytes(b"no plan")
    monitored.start(*options)
    wait_until(lambda: monitored.read("health.json")["status"] == "unhealthy")
    assert monitored.read("health.json")["log"][0]["exitCode"] == 126


def test_a_paused_container_is_not_judged(monitored: Monitored) -> None:
    monitored.bundle.args("sleep", "1000")
    monitored.start(*check(monitored, "true", "--health-timeout", "3600000"))
    wait_until(lambda: monitored.read("health.json")["status"] == "healthy")
    monitored.runtime("pause", monitored.id)
    frozen = [monitored.read("health.json")["log"][-1]["end"]]

    def stands_still() -> bool:  # one that was under way when the container froze waits with it, or ended before
        frozen.append(monitored.read("health.json")["log"][-1]["end"])
        return len(frozen) > 30 and frozen[-30] == frozen[-1]

    wait_until(stands_still)
    monitored.runtime("resume", monitored.id)
    wait_until(lambda: monitored.read("health.json")["log"][-1]["end"] > frozen[-1])
    assert monitored.read("health.json")["status"] == "healthy"
