"""@create, letting go, @exec: life between two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wherry.plan import instructions as i

from .harness import start_time, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .harness import Box


@pytest.fixture
def created(box: Box) -> Iterator[tuple[Box, int]]:
    """A created container that would sleep; killed at the end."""
    box.mount("proc", "/proc")
    box.shell("echo started > /data/started; sleep 1000")
    pid = box.created()
    yield box, pid
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    wait_until(lambda: not alive(pid))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def release(box: Box) -> bytes:
    """What `start` does: open the fifo, and read until the command runs or has told why not."""
    with (box.state / "exec.fifo").open("rb") as fifo:
        return fifo.read()


def test_waits_for_start(created: tuple[Box, int]) -> None:
    box, pid = created
    state = json.loads((box.state / "state.json").read_text())
    assert state["startTime"] == start_time(pid)
    assert not (box.rootfs / "data/started").exists()
    assert release(box) == b""
    wait_until((box.rootfs / "data/started").exists)


def test_keeps_little_memory(created: tuple[Box, int]) -> None:
    """A created container waits in at most 300 KiB (PSS)."""
    box, pid = created
    if "asan" in box.executable:
        pytest.skip("AddressSanitizer keeps more memory than the program")
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (pss,) = [int(line.split()[1]) for line in lines if line.startswith("Pss:")]
    assert pss <= 300


def test_holds_no_descriptor_of_the_host(created: tuple[Box, int]) -> None:
    _, pid = created

    def links() -> list[str]:
        numbers = [entry for entry in os.listdir(f"/proc/{pid}/fd") if int(entry) > 2]
        return [os.readlink(f"/proc/{pid}/fd/{number}") for number in numbers]

    wait_until(lambda: not [link for link in links() if link.startswith("socket")])
    assert not [link for link in links() if "lock" in link or "state.json" in link]


def test_runs_from_a_protected_copy(created: tuple[Box, int]) -> None:
    """CVE-2019-5736: the executable on the host cannot be written through /proc/PID/exe."""
    _, pid = created
    with pytest.raises(OSError) as caught:
        os.open(f"/proc/{pid}/exe", os.O_WRONLY)
    assert caught.value.strerror in ("Read-only file system", "Text file busy")
    assert Path(f"/proc/{pid}/mountinfo").exists()


def test_failing_command_is_told_through_the_fifo(box: Box) -> None:
    (box.rootfs / "bin/garbage").write_text("no program")
    (box.rootfs / "bin/garbage").chmod(0o755)
    box.args = ["/bin/garbage"]
    pid = box.created()
    assert b"exec /bin/garbage: exec format error" in release(box)
    wait_until(lambda: not alive(pid))


def test_exec(created: tuple[Box, int]) -> None:
    box, pid = created
    result = box.execute("@exec", plan=box.exec_plan(pid, "sh", "-c", "echo $$; readlink /proc/1/exe; exit 9"))
    assert result.status == 9
    assert int(result.stdout.split()[0]) > 1


def test_detached_exec(created: tuple[Box, int]) -> None:
    box, pid = created
    plan = box.exec_plan(pid, "sh", "-c", "sleep 0.2; touch /data/done")
    plan.program(i.HOST).emit("PID_FILE", str(box.place / "pid"))
    assert box.execute("@exec", "--detach", plan=plan).status == 0
    executed = int((box.place / "pid").read_text())
    wait_until((box.rootfs / "data/done").exists)
    with suppress(ChildProcessError):  # ours only if something made this process a subreaper
        os.waitpid(executed, 0)


@pytest.mark.parametrize("flags", [(), ("--detach",)])
def test_exec_of_nothing(created: tuple[Box, int], flags: tuple[str, ...]) -> None:
    box, pid = created
    result = box.execute("@exec", *flags, plan=box.exec_plan(pid, "nothing"))
    assert result.status == 127
    assert result.stderr == 'exec: "nothing": executable file not found in $PATH\n'


def test_exec_into_another_process_with_the_same_pid(created: tuple[Box, int]) -> None:
    box, pid = created
    plan = box.exec_plan(pid, "true")
    name, where, arguments = plan.program(i.HOST).steps[0]
    plan.program(i.HOST).steps[0] = (name, where, (arguments[0], arguments[1], 1))
    assert box.execute("@exec", plan=plan).stderr == "container not running\n"


def test_signals_are_forwarded(box: Box) -> None:
    box.shell("trap 'echo got; exit 3' USR1; echo ready > /data/ready; while :; do sleep 0.05; done")
    with (box.place / "plan").open("wb") as file:
        file.write(box.plan().encode())
    with (box.place / "plan").open("rb") as file:
        number = file.fileno()
        command = [box.executable, "@run", "--root", str(box.root), "--id", box.id, str(number)]
        process = subprocess.Popen(command, pass_fds=[number], stdout=subprocess.PIPE, text=True)
    wait_until((box.rootfs / "data/ready").exists)
    process.send_signal(signal.SIGUSR1)
    assert process.communicate(timeout=30)[0] == "got\n"
    assert process.returncode == 3


def test_damaged_plan(box: Box) -> None:
    data = bytearray(box.plan().encode())
    data[-3] ^= 1
    path = box.place / "plan"
    path.write_bytes(data)
    with path.open("rb") as file:
        command = [box.executable, "@create", "--root", str(box.root), "--id", box.id, str(file.fileno())]
        done = subprocess.run(command, pass_fds=[file.fileno()], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "damaged launch plan: its checksum does not match\n")
    assert not box.state.exists()


def test_log_gets_the_failure(box: Box) -> None:
    box.args = ["nothing"]
    log = box.place / "log"
    result = box.execute("@create", "--log", str(log), "--log-format", "json")
    assert result.status == 127
    message = json.loads(log.read_text().splitlines()[-1])
    assert message["level"] == "error"
    assert message["msg"] == 'process.args[0]: exec: "nothing": executable file not found in $PATH'
