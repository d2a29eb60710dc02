"""exec: every flag, every state of the container, and what the process gets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ..bundle import Bundle
from ..runtimes import Container, wait_until
from .console import ConsoleSocket

OURS = "wherry-runtime"
FAILED = {OURS: 255, "runc": 255, "crun": 1}


@pytest.fixture
def host(probe: Bundle, container: Container) -> Container:
    """A running container to execute in."""
    probe.args("sleep", "1000")
    container.create()
    container.start()
    return container


def process_file(place: Path, **fields: Any) -> str:
    path = place / "process.json"
    document = {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["true"], "env": ["PATH=/bin"]}
    path.write_text(json.dumps(document | fields))
    return str(path)


def status_of(container: Container, *flags: str) -> dict[str, str]:
    lines = container.exec("cat", "/proc/self/status", flags=flags).stdout.splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_output_and_status(host: Container) -> None:
    result = host.exec("sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (result.status, result.stdout, result.stderr) == (7, "out\n", "err\n")


@pytest.mark.parametrize(("script", "status"), [("exit 300", 44), ("kill -9 $$", 137), ("kill $$", 143), ("true", 0)])
def test_statuses(host: Container, script: str, status: int) -> None:
    assert host.exec("sh", "-c", script, check=False).status == status


def test_standard_input(host: Container) -> None:
    assert host.exec("cat", input="given").stdout == "given"


def test_every_namespace_is_the_containers(host: Container) -> None:
    kinds = ("pid", "net", "mnt", "ipc", "uts")
    found = host.exec("sh", "-c", "for n in pid net mnt ipc uts; do readlink /proc/self/ns/$n; done").stdout.split()
    assert found == [os.readlink(f"/proc/{host.pid}/ns/{kind}") for kind in kinds]


def test_every_control_group_is_the_containers(host: Container) -> None:
    found = host.exec("cat", "/proc/self/cgroup").stdout
    theirs = Path(f"/proc/{host.pid}/cgroup").read_text()
    assert set(found.splitlines()) == set(theirs.splitlines())


def test_working_directory(host: Container) -> None:
    assert host.exec("pwd", flags=["--cwd", "/tmp"]).stdout == "/tmp\n"


def test_the_containers_working_directory_is_the_default(container: Container, only) -> None:
    only(OURS, "runc")
    container.bundle.args("sleep", "1000").process["cwd"] = "/var"
    container.create()
    container.start()
    assert container.exec("pwd").stdout == "/var\n"


def test_environment(host: Container, only) -> None:
    only(OURS, "runc")  # crun drops the container's own
    lines = host.exec("env", flags=["--env", "A=1", "--env", "B=2 3"]).stdout.splitlines()
    assert {"A=1", "B=2 3", "TERM=xterm", "HOME=/root"} <= set(lines)


def test_both_forms_of_a_flag(host: Container, only) -> None:
    only(OURS)
    flags = ["--env", "A=1", "-e", "B=2", "--env=C=3", "-e=D=4"]
    assert {"A=1", "B=2", "C=3", "D=4"} <= set(host.exec("env", flags=flags).stdout.splitlines())


def test_a_flag_overrides_the_containers_environment(host: Container, only) -> None:
    only(OURS, "runc")
    assert host.exec("sh", "-c", "echo $TERM", flags=["--env", "TERM=other"]).stdout == "other\n"


@pytest.mark.parametrize(("flag", "ids"), [("1000", "1000 0"), ("1000:50", "1000 50"), ("0", "0 0")])
def test_user(host: Container, flag: str, ids: str) -> None:
    status = status_of(host, "--user", flag)
    assert f"{status['Uid'].split()[1]} {status['Gid'].split()[1]}" == ids


@pytest.mark.parametrize("flag", ["1000:", ":5", "-1", "x", "1000:x", "99999999999", "1 0", "0x10", "1000:50:1"])
def test_wrong_users(host: Container, flag: str, only) -> None:
    """Never root by mistake."""
    only(OURS, "runc")
    result = host.exec("id", "-u", flags=[f"--user={flag}"], check=False)
    if container_accepts(host, flag):
        return
    assert result.status != 0
    assert result.stdout == ""


def container_accepts(host: Container, flag: str) -> bool:
    return host.runtime.dialect == "runc" and flag in ("1000:50:1", "-1", "0x10", "99999999999")


def test_additional_groups(host: Container, only) -> None:
    only(OURS, "runc")
    groups = status_of(host, "--user", "1000:1000", "--additional-gids", "50", "--additional-gids", "51")[
        "Groups"
    ].split()
    assert {"50", "51"} <= set(groups)


def test_home_follows_the_user(host: Container, only) -> None:
    only(OURS)
    assert host.exec("sh", "-c", "echo $HOME", flags=["--user", "1000"]).stdout == "/home/alice\n"


def test_capabilities_are_the_containers(host: Container) -> None:
    status = status_of(host)
    given = host.bundle.process["capabilities"]["bounding"]
    assert int(status["CapBnd"], 16).bit_count() == len(given)
    assert int(status["CapEff"], 16).bit_count() == len(given)
    assert int(status["CapInh"], 16) in (0, int(status["CapBnd"], 16))


def test_one_more_capability(host: Container) -> None:
    for mask in (int(status_of(host, "--cap", "CAP_SYS_CHROOT")[name], 16) for name in ("CapBnd", "CapEff", "CapPrm")):
        assert mask & 1 << 18


def test_added_capabilities_of_a_user(host: Container, only) -> None:
    """An ambient one is what a user's process can have."""
    only(OURS, "runc")
    status = status_of(host, "--cap", "CAP_SYS_CHROOT", "--user", "1000")
    assert int(status["CapEff"], 16) in (0, *[int(status["CapAmb"], 16)])


def test_no_new_privileges(container: Container) -> None:
    container.bundle.args("sleep", "1000").process["noNewPrivileges"] = False
    container.create()
    container.start()
    assert status_of(container)["NoNewPrivs"] == "0"
    assert status_of(container, "--no-new-privs")["NoNewPrivs"] == "1"


def test_limits_are_the_containers(container: Container, only) -> None:
    only(OURS, "runc")
    container.bundle.args("sleep", "1000").process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99}]
    container.create()
    container.start()
    assert container.exec("sh", "-c", "ulimit -n; ulimit -Hn").stdout == "77\n99\n"


def test_a_process_file(host: Container, place: Path) -> None:
    path = process_file(
        place,
        args=["sh", "-c", "pwd; id -u; id -g; echo $A; umask; ulimit -n; grep NoNewPrivs /proc/self/status"],
        cwd="/tmp",
        env=["PATH=/bin", "A=word"],
        user={"uid": 1000, "gid": 50, "umask": 0o027},
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 60, "hard": 70}],
        noNewPrivileges=True,
    )
    words = host.runtime("exec", "--process", path, host.id).stdout.split()
    umask = "0022" if host.runtime.dialect == "runc" else "0027"  # runc 1.1 passes over it here
    assert words == ["/tmp", "1000", "50", "word", umask, "60", "NoNewPrivs:", "1"]


def test_a_process_file_is_the_whole_truth(host: Container, place: Path) -> None:
    path = process_file(place, args=["env"])
    assert "TERM" not in host.runtime("exec", "--process", path, host.id).stdout


def test_a_process_file_with_capabilities(host: Container, place: Path) -> None:
    sets = {name: ["CAP_KILL"] for name in ("bounding", "effective", "permitted")}
    path = process_file(place, args=["cat", "/proc/self/status"], capabilities=sets, noNewPrivileges=True)
    text = host.runtime("exec", "--process", path, host.id).stdout
    assert "CapEff:\t0000000000000020" in text
    assert "CapInh:\t0000000000000000" in text


def test_a_process_file_with_newer_fields(host: Container, place: Path, only) -> None:
    only(OURS)
    path = process_file(
        place,
        args=["sh", "-c", "probe schedule; probe io-priority; cat /proc/self/oom_score_adj"],
        scheduler={"policy": "SCHED_BATCH", "nice": 3},
        ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6},
        oomScoreAdj=500,
        execCPUAffinity={"initial": "0", "final": "1"},
    )
    words = host.runtime("exec", "--process", path, host.id).stdout.split()
    assert words[:3] == ["3", "0", "3"]
    assert words[7:] == ["2", "6", "500"]


def test_cpu_affinity(host: Container, place: Path, only) -> None:
    only(OURS)
    path = process_file(place, args=["grep", "Cpus_allowed_list", "/proc/self/status"], execCPUAffinity={"final": "1"})
    assert host.runtime("exec", "--process", path, host.id).stdout.split()[1] == "1"


def test_affinity_is_not_inherited_from_the_caller(host: Container, only) -> None:
    """Runtimes are often pinned; containers are not to be."""
    only(OURS)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        found = host.exec("grep", "Cpus_allowed_list", "/proc/self/status").stdout.split()[1]
    finally:
        os.sched_setaffinity(0, before)
    assert found != str(min(before)) or len(before) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"args": 5}', '{"cwd": "/"}'])
def test_wrong_process_files(host: Container, place: Path, text: str) -> None:
    (place / "process.json").write_text(text)
    result = host.runtime("exec", "--process", str(place / "process.json"), host.id, check=False)
    if host.runtime.dialect == OURS:
        assert result.status == 255
        assert len(result.stderr.splitlines()) == 1
    else:
        assert result.status != 0


# Terminals


def test_a_terminal_over_a_socket(host: Container, console: ConsoleSocket) -> None:
    flags = ["--tty", "--console-socket", str(console.path), "--detach"]
    host.exec("sh", "-c", "tty; read w; echo got $w", flags=flags)
    terminal = console.accept()
    assert "/dev/pts/0" in terminal.read_until("/dev/pts/0")
    terminal.write("hello\n")
    assert "got hello" in terminal.read_until("got hello")
    terminal.read_all()
    terminal.close()


def test_console_size_of_a_process_file(host: Container, console: ConsoleSocket, place: Path, only) -> None:
    only(OURS, "runc")  # crun 1.8 sets the size late
    path = process_file(place, args=["stty", "size"], terminal=True, consoleSize={"height": 21, "width": 43})
    host.runtime("exec", "--process", path, "--console-socket", str(console.path), "--detach", host.id)
    terminal = console.accept()
    assert terminal.read_all().split() == ["21", "43"]
    terminal.close()


def test_the_terminal_belongs_to_the_user(host: Container, console: ConsoleSocket, only) -> None:
    only(OURS, "runc")
    flags = ["--tty", "--console-socket", str(console.path), "--detach", "--user", "1000:1000"]
    host.exec("sh", "-c", "stat -c %u $(tty); echo x >/dev/tty", flags=flags)
    terminal = console.accept()
    assert terminal.read_all().split() == ["1000", "x"]
    terminal.close()


def test_the_containers_terminal_is_not_the_execs(container: Container, console: ConsoleSocket) -> None:
    """A container with a terminal; exec without --tty has none."""
    container.bundle.args("sleep", "1000").process["terminal"] = True
    container.create("--console-socket", str(console.path))
    terminal = console.accept()
    container.start()
    assert container.exec("sh", "-c", "test -t 0 || echo none").stdout == "none\n"
    terminal.close()


# Detached


def test_detached(host: Container, place: Path) -> None:
    pid_file = place / "exec.pid"
    result = host.exec("sleep", "1000", flags=["--detach", "--pid-file", str(pid_file)])
    assert result.status == 0
    pid = int(pid_file.read_text())
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001000\x00"
    assert os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{host.pid}/ns/pid")


def test_pid_file_in_the_foreground(host: Container, place: Path) -> None:
    host.exec("true", flags=["--pid-file", str(place / "exec.pid")])
    assert (place / "exec.pid").read_text().isdigit()


def test_a_detached_process_is_the_callers(host: Container, place: Path) -> None:
    """The caller is the subreaper, learns the end, and its status."""
    host.exec("sh", "-c", "exit 9", flags=["--detach", "--pid-file", str(place / "exec.pid")])
    _, status = os.waitpid(int((place / "exec.pid").read_text()), 0)
    assert os.waitstatus_to_exitcode(status) == 9


@pytest.mark.parametrize("name", ["INT", "TERM", "USR1", "HUP", "QUIT"])
def test_signals_are_passed_on(host: Container, runtime, name: str) -> None:
    out = runtime.scratch / "exec.out"
    with out.open("wb") as stdout:
        script = f"trap 'echo {name}; exit 5' {name}; echo ready; while :; do sleep 0.1; done"
        process = subprocess.Popen(runtime.command("exec", host.id, "sh", "-c", script), stdout=stdout)
    wait_until(lambda: "ready" in out.read_text())
    process.send_signal(getattr(signal, f"SIG{name}"))
    assert process.wait(20) == 5
    assert name in out.read_text()


# Descriptors


def test_preserved_descriptors(host: Container, place: Path, only) -> None:
    only(OURS, "runc")  # crun 1.8 closes them in exec
    numbers = []
    for name in ("three", "four"):
        (place / name).write_text(name)
    saved = [os.open(place / name, os.O_RDONLY) for name in ("three", "four")]
    try:
        for number, fd in zip((3, 4), saved, strict=True):
            numbers.append(_at(number, fd))
        flags = ["--preserve-fds", "2"]
        result = host.exec("sh", "-c", "cat <&3; cat <&4", flags=flags, pass_fds=(3, 4))
    finally:
        for undo in reversed(numbers):
            undo()
        for fd in saved:
            os.close(fd)
    assert result.stdout == "threefour"


def _at(number: int, fd: int):
    """Put fd at this number; gives the undoing."""
    try:
        kept = os.dup(number)
    except OSError:
        kept = -1
    if fd != number:
        os.dup2(fd, number, inheritable=True)

    def undo() -> None:
        if kept >= 0:
            os.dup2(kept, number, inheritable=False)
            os.close(kept)
        elif fd != number:
            os.close(number)

    return undo


def test_no_descriptor_reaches_the_process(host: Container) -> None:
    lines = host.exec("probe", "fds").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2"]


def test_inherited_descriptors_do_not_reach_the_process(host: Container, place: Path) -> None:
    with (place / "file").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        lines = host.exec("probe", "fds", pass_fds=[file.fileno()]).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2"]


# Groups


def test_a_sub_group(host: Container, only) -> None:
    only(OURS, "runc")
    for line in Path(f"/proc/{host.pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if names == "pids":
            (Path("/sys/fs/cgroup/pids", path.lstrip("/")) / "sub").mkdir()
    found = host.exec("grep", ":pids:", "/proc/self/cgroup", flags=["--cgroup", "pids:sub"]).stdout
    assert found.strip().endswith("/sub")


def test_a_missing_sub_group(host: Container, only) -> None:
    only(OURS, "runc")
    assert host.exec("true", flags=["--cgroup", "pids:missing"], check=False).status == 255


@pytest.mark.parametrize("path", ["../..", "/../..", "sub/../../.."])
def test_a_sub_group_that_climbs(host: Container, path: str, only) -> None:
    only(OURS, "runc")
    result = host.exec("cat", "/proc/self/cgroup", flags=["--cgroup", f"pids:{path}"], check=False)
    lines = [line for line in result.stdout.splitlines() if ":pids:" in line]
    assert result.status == 255 or all(host.id in line for line in lines)


# States


def test_in_a_created_container(container: Container) -> None:
    container.bundle.args("sleep", "1000")
    container.create()
    assert container.exec("echo", "in").stdout == "in\n"
    assert container.status == "created"


def test_in_a_paused_container(host: Container) -> None:
    host.runtime("pause", host.id)
    result = host.exec("true", check=False)
    assert result.status == FAILED[host.runtime.dialect]
    assert "paused" in result.stderr
    host.runtime("resume", host.id)


def test_ignoring_the_pause(host: Container, only) -> None:
    """The process is there, and frozen like the others; it runs when the container does."""
    only(OURS, "runc")
    host.runtime("pause", host.id)
    out = host.runtime.scratch / "paused.out"
    with out.open("wb") as stdout:
        process = subprocess.Popen(
            host.runtime.command("exec", "--ignore-paused", host.id, "echo", "late"), stdout=stdout
        )
    host.runtime("resume", host.id)
    assert process.wait(20) == 0
    assert out.read_text() == "late\n"


def test_in_a_stopped_container(host: Container) -> None:
    host.kill("KILL")
    host.wait()
    result = host.exec("true", check=False)
    assert result.status == FAILED[host.runtime.dialect]
    assert result.stderr


def test_in_no_container(container: Container) -> None:
    result = container.runtime("exec", "nothing-like-it", "true", check=False)
    assert result.status == FAILED[container.runtime.dialect]
    assert "does not exist" in result.stderr or container.runtime.dialect == "crun"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("nothing-there", "no such file|not found"),
        ("/etc/passwd", "permission denied"),
        ("/tmp", "denied|directory|executable"),
    ],
)
def test_a_command_that_cannot_run(host: Container, command: str, words: str) -> None:
    result = host.exec(command, check=False)
    assert result.status in ((255, 127, 126) if host.runtime.dialect == OURS else (255, 1, 127, 126))
    assert any(word in result.stderr.lower() for word in words.split("|"))


def test_no_command(host: Container) -> None:
    assert host.runtime("exec", host.id, check=False).status != 0


def test_the_command_keeps_its_own_flags(host: Container) -> None:
    assert host.exec("echo", "-e", "--cwd", "-t").stdout == "--cwd -t\n"


def test_a_user_namespace(container: Container) -> None:
    container.bundle.map_root().args("sleep", "1000")
    container.create()
    container.start()
    assert container.exec("sh", "-c", "id -u; cat /proc/self/uid_map").stdout.split() == ["0", "0", "100000", "65536"]


def test_joined_namespaces(container: Container, host: Container, make_container, make_bundle) -> None:
    bundle = make_bundle()
    bundle.namespace("pid", f"/proc/{host.pid}/ns/pid").namespace("network", f"/proc/{host.pid}/ns/net")
    bundle.args("sleep", "2000")
    second = make_container(bundle)
    second.create()
    second.start()
    found = second.exec("sh", "-c", "readlink /proc/self/ns/net; tr '\\0' ' ' </proc/1/cmdline").stdout.split()
    assert found == [os.readlink(f"/proc/{host.pid}/ns/net"), "sleep", "1000"]


def test_a_keyring_like_the_containers(host: Container) -> None:
    assert host.exec("probe", "call", "39").stdout.strip().isdigit()


def test_processes_of_exec_end_with_the_container(host: Container, place: Path) -> None:
    host.exec("sleep", "1000", flags=["--detach", "--pid-file", str(place / "exec.pid")])
    pid = int((place / "exec.pid").read_text())
    host.kill("KILL")
    host.wait()
    wait_until(lambda: not Path(f"/proc/{pid}/exe").exists() or not os.path.exists(f"/proc/{pid}/fd/0"))


def test_many_at_once(host: Container) -> None:
    running = [
        subprocess.Popen(host.runtime.command("exec", host.id, "sh", "-c", f"exit {number}")) for number in range(1, 9)
    ]
    assert [process.wait(60) for process in running] == list(range(1, 9))
