"""dockerd, with the runtime under test as one of its runtimes and its default."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.runtimes import Result, cgroups_named, wait_until

from .conftest import IMAGE
from .engines import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

FOREVER = "trap 'exit 7' TERM; while :; do sleep 0.1; done"


@pytest.fixture
def removed(docker: Engine, name: str) -> Iterator[str]:
    """A name whose container is removed at the end."""
    yield name
    docker("rm", "--force", name, check=False)


@pytest.fixture
def running(docker: Engine, removed: str) -> str:
    """A container that ends with 7 when asked to."""
    docker("run", "--detach", "--network=none", "--name", removed, IMAGE, "sh", "-c", FOREVER)
    return removed


def run(docker: Engine, *args: object, check: bool = True, **how: Any) -> Result:
    return docker("run", "--rm", "--network=none", *args, check=check, **how)


def inspect(docker: Engine, name: str) -> dict[str, Any]:
    return json.loads(docker("inspect", "--type=container", name).stdout)[0]


def status(docker: Engine, name: str) -> str:
    return inspect(docker, name)["State"]["Status"]


def limit(identity: str, controller: str, v1: str, v2: str) -> str:
    found = cgroups_named(identity)
    folder = next((path for path in found if f"/{controller}/" in str(path)), found[0])
    return next(folder / file for file in (v1, v2) if (folder / file).exists()).read_text().split()[0]


def test_the_runtime_is_the_default(docker: Engine, runtime_path: str) -> None:
    information = json.loads(docker.output("info", "--format={{json .}}"))
    assert information["DefaultRuntime"] == "tested"
    assert information["Runtimes"]["tested"]["path"] == runtime_path


# The command


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 44"], 44),
        (["missing"], 127),
        (["/missing/too"], 127),
        (["/etc/text"], 126),
    ],
    ids=["0", "44", "missing", "missing-path", "not-executable"],
)
def test_exit_status(docker: Engine, command: list[str], code: int) -> None:
    assert run(docker, IMAGE, *command, check=False).status == code


def test_streams(docker: Engine) -> None:
    result = run(docker, "--interactive", IMAGE, "sh", "-c", "tr a-z A-Z; echo problem >&2", input="some text\n")
    assert (result.stdout, result.stderr) == ("SOME TEXT\n", "problem\n")


def test_terminal(docker: Engine) -> None:
    # The client sets the size when the container runs.
    script = "tty; read a; echo got:$a; until [ \"$(stty size)\" = '24 80' ]; do sleep 0.1; done"
    shown = docker.terminal("run", "--rm", "--network=none", "-it", IMAGE, "sh", "-c", script, typed="x\n")
    assert shown.status == 0
    assert "/dev/pts/0\r\n" in shown.stdout
    assert "got:x" in shown.stdout


def test_process_settings(docker: Engine) -> None:
    flags = ["--user=worker", "--workdir=/var", "--env=KEY=the value", "--hostname=box"]
    result = run(docker, *flags, IMAGE, "sh", "-c", "id; pwd; echo $KEY; hostname")
    identity, *others = result.stdout.splitlines()
    assert identity.startswith("uid=1000(worker) gid=1001(workers) groups=")
    assert "1002(extra)" in identity
    assert others == ["/var", "the value", "box"]


def test_security_settings(docker: Engine) -> None:
    flags = ["--cap-drop=all", "--cap-add=net_raw", "--security-opt=no-new-privileges", "--read-only"]
    script = "grep -E 'CapEff|NoNewPrivs|^Seccomp:' /proc/self/status; touch /file; unshare -U true"
    result = run(docker, *flags, IMAGE, "sh", "-c", script, check=False)
    assert result.stdout.split() == ["CapEff:", f"{1 << 13:016x}", "NoNewPrivs:", "1", "Seccomp:", "2"]
    assert "Read-only file system" in result.stderr
    assert "unshare" in result.stderr


@pytest.fixture
def all_capabilities(runtime_path: str) -> None:
    """runc refuses capabilities that the host lacks; ours warns, as the specification asks."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd"))
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    missing = (1 << last + 1) - 1 & ~int(line.split()[1], 16)
    if missing and Path(runtime_path).name != "wherry-runtime":
        pytest.skip(f"the host has no capabilities {missing:#x}")


@pytest.mark.usefixtures("all_capabilities")
def test_privileged(docker: Engine) -> None:
    result = run(docker, "--privileged", IMAGE, "sh", "-c", "mount -t tmpfs none /mnt 2>&1 || mkdir /mnt; ls /dev")
    assert result.stderr == ""  # warnings are no output of the container
    assert "kmsg" in result.stdout.split()


def test_mounts(docker: Engine, place: Path) -> None:
    folder = place / "folder"
    folder.mkdir()
    (folder / "file").write_text("text\n")
    flags = [f"--volume={folder}:/data:ro", "--tmpfs=/scratch:size=1m,mode=700", "--device=/dev/null:/dev/nothing:r"]
    script = "cat /data/file; touch /data/new; stat -c %a /scratch; stat -c %t:%T /dev/nothing"
    result = run(docker, *flags, IMAGE, "sh", "-c", script)
    assert result.stdout.split() == ["text", "700", "1:3"]
    assert "Read-only file system" in result.stderr


def test_kernel_settings(docker: Engine) -> None:
    flags = ["--sysctl=kernel.shmmax=12345", "--ulimit=stack=1048576:2097152", "--oom-score-adj=500", "--init"]
    script = "cat /proc/sys/kernel/shmmax /proc/self/oom_score_adj; grep stack /proc/self/limits; cat /proc/1/comm"
    words = run(docker, *flags, IMAGE, "sh", "-c", script).stdout.split()
    assert words[:2] == ["12345", "500"]
    assert words[-4:] == ["1048576", "2097152", "bytes", "docker-init"]


def test_namespaces_of_the_host(docker: Engine) -> None:
    flags = [f"--{kind}=host" for kind in ("pid", "ipc", "uts", "network")]
    script = "for kind in pid ipc uts net; do readlink /proc/self/ns/$kind; done"
    result = docker("run", "--rm", *flags, IMAGE, "sh", "-c", script)
    assert result.stdout.split() == [os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "ipc", "uts", "net")]


def test_namespaces_of_another(docker: Engine, running: str) -> None:
    script = "for kind in pid net; do readlink /proc/self/ns/$kind; done"
    flags = [f"--{kind}=container:{running}" for kind in ("pid", "network")]
    result = docker("run", "--rm", *flags, IMAGE, "sh", "-c", script)
    assert result.stdout == docker("exec", running, "sh", "-c", script).stdout


# exec


def test_exec(docker: Engine, running: str) -> None:
    assert docker("exec", running, "sh", "-c", "exit 9", check=False).status == 9
    assert docker("exec", running, "missing", check=False).status in (126, 127)
    assert docker("exec", "--interactive", running, "cat", input="given\n").stdout == "given\n"
    flags = ["--user=worker", "--workdir=/var", "--env=KEY=value"]
    result = docker("exec", *flags, running, "sh", "-c", "id -u; id -g; pwd; echo $KEY")
    assert result.stdout.split() == ["1000", "1001", "/var", "value"]


def test_exec_with_a_terminal(docker: Engine, running: str) -> None:
    shown = docker.terminal("exec", "-it", running, "sh", "-c", "tty; read a; echo got:$a; exit 3", typed="word\n")
    assert shown.status == 3
    assert "/dev/pts/0" in shown.stdout
    assert "got:word" in shown.stdout


@pytest.mark.usefixtures("all_capabilities")
def test_exec_privileged(docker: Engine, running: str) -> None:
    result = docker.output("exec", "--privileged", running, "grep", "CapEff", "/proc/self/status")
    assert int(result.split()[1], 16) & 1 << 21  # CAP_SYS_ADMIN


def test_health_check(docker: Engine, removed: str) -> None:
    flags = ["--health-cmd=test -e /tmp/fine", "--health-interval=100ms", "--health-retries=1", "--network=none"]
    docker("run", "--detach", "--name", removed, *flags, IMAGE, "sh", "-c", FOREVER)
    wait_until(lambda: inspect(docker, removed)["State"]["Health"]["Status"] == "unhealthy")
    docker("exec", removed, "touch", "/tmp/fine")
    wait_until(lambda: inspect(docker, removed)["State"]["Health"]["Status"] == "healthy")


# Its life


def test_states(docker: Engine, removed: str) -> None:
    docker("create", "--network=none", "--name", removed, IMAGE, "sh", "-c", FOREVER)
    assert status(docker, removed) == "created"
    docker("start", removed)
    assert status(docker, removed) == "running"
    docker("pause", removed)
    assert status(docker, removed) == "paused"
    docker("unpause", removed)
    assert status(docker, removed) == "running"
    docker("stop", removed)
    state = inspect(docker, removed)["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 7)


def test_kill(docker: Engine, running: str) -> None:
    docker("kill", "--signal=TERM", running)
    assert docker.output("wait", running) == "7"
    assert docker("kill", running, check=False).status == 1


def test_stop_kills_what_does_not_end(docker: Engine, removed: str) -> None:
    script = "trap '' TERM; while :; do sleep 0.1; done"
    docker("run", "--detach", "--network=none", "--name", removed, IMAGE, "sh", "-c", script)
    docker("stop", "--time=0", removed)
    assert inspect(docker, removed)["State"]["ExitCode"] == 128 + signal.SIGKILL


def test_restart(docker: Engine, running: str) -> None:
    before = inspect(docker, running)["State"]["Pid"]
    docker("restart", "--time=5", running)
    after = inspect(docker, running)["State"]
    assert after["Status"] == "running"
    assert after["Pid"] != before


def test_restart_policy(docker: Engine, removed: str) -> None:
    script = "echo start >> /var/starts; test $(wc -l < /var/starts) = 3"
    flags = ["--detach", "--network=none", "--restart=on-failure:5"]
    docker("run", *flags, "--name", removed, IMAGE, "sh", "-c", script)
    wait_until(lambda: inspect(docker, removed)["RestartCount"] == 2 and status(docker, removed) == "exited")
    assert inspect(docker, removed)["State"]["ExitCode"] == 0


def test_removal_by_force(docker: Engine, running: str) -> None:
    state = inspect(docker, running)
    assert cgroups_named(state["Id"])
    docker("rm", "--force", running)
    assert docker("inspect", running, check=False).status != 0
    assert not cgroups_named(state["Id"])
    assert not Path(f"/proc/{state['State']['Pid']}").exists()


def test_removal_of_a_paused_one(docker: Engine, running: str) -> None:
    state = inspect(docker, running)
    docker("pause", running)
    docker("rm", "--force", running)
    assert not cgroups_named(state["Id"])
    assert not Path(f"/proc/{state['State']['Pid']}").exists()


def test_removal_ends_what_was_executed(docker: Engine, running: str) -> None:
    executing = docker.start("exec", running, "sleep", "1000")
    wait_until(lambda: "sleep 1000" in docker.output("top", running))
    docker("rm", "--force", running)
    assert executing.end(check=False).status != 0


def test_the_end_without_a_pid_namespace(docker: Engine, removed: str) -> None:
    """What the first process leaves behind is ended too."""
    script = f"sleep 1000 & {FOREVER}"
    docker("run", "--detach", "--pid=host", "--network=none", "--name", removed, IMAGE, "sh", "-c", script)
    wait_until(lambda: "sleep 1000" in docker.output("top", removed))
    group = cgroups_named(inspect(docker, removed)["Id"])[0]
    processes = [Path("/proc", pid) for pid in (group / "cgroup.procs").read_text().split()]
    docker("rm", "--force", removed)
    wait_until(lambda: not any(path.exists() for path in processes))


def test_a_signal_is_passed_on(docker: Engine, removed: str) -> None:
    command = ["run", "--network=none", "--name", removed, IMAGE, "sh", "-c", f"echo ready; {FOREVER}"]
    client = docker.start(*command)
    wait_until(lambda: client.stdout.read_text() == "ready\n")
    client.process.send_signal(signal.SIGTERM)
    assert client.end(check=False).status == 7


def test_several_at_once(docker: Engine, name: str) -> None:
    names = [f"{name}-{n}" for n in range(6)]
    flags = ["run", "--detach", "--network=none"]
    started = [docker.start(*flags, "--name", one, IMAGE, "sh", "-c", FOREVER) for one in names]
    for one in started:
        one.end()
    executing = [docker.start("exec", one, "sh", "-c", f"exit {n}") for n, one in enumerate(names)]
    assert [one.end(check=False).status for one in executing] == list(range(6))
    docker("rm", "--force", *names)
    assert name not in docker.output("ps", "--all")


# What is to be seen of it


def test_logs_and_attach(docker: Engine, removed: str) -> None:
    docker(
        "create",
        "--network=none",
        "--interactive",
        "--name",
        removed,
        IMAGE,
        "sh",
        "-c",
        "read a; echo got:$a; echo two >&2",
    )
    assert docker("start", "--attach", "--interactive", removed, input="word\n").stdout == "got:word\n"
    logs = docker("logs", removed)
    assert (logs.stdout, logs.stderr) == ("got:word\n", "two\n")


def test_top_and_stats(docker: Engine, running: str) -> None:
    assert "trap" in docker.output("top", running)
    assert "trap" in docker.output("top", running, "-o", "pid,args")
    stats = json.loads(docker("stats", "--no-stream", "--format={{json .}}", running).stdout)
    assert int(stats["PIDs"]) >= 1
    assert stats["MemUsage"].split()[0] != "0B"


def test_limits(docker: Engine, removed: str) -> None:
    flags = ["--network=none", "--memory=64m", "--cpus=0.5", "--pids-limit=50", "--cpu-shares=512", "--cpuset-cpus=0"]
    docker("run", "--detach", *flags, "--name", removed, IMAGE, "sh", "-c", FOREVER)
    identity = inspect(docker, removed)["Id"]
    assert limit(identity, "memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert limit(identity, "cpu", "cpu.cfs_quota_us", "cpu.max") == "50000"
    assert limit(identity, "pids", "pids.max", "pids.max") == "50"
    docker("update", "--memory=96m", "--memory-swap=-1", "--cpus=0.25", "--pids-limit=60", removed)
    assert limit(identity, "memory", "memory.limit_in_bytes", "memory.max") == str(96 << 20)
    assert limit(identity, "cpu", "cpu.cfs_quota_us", "cpu.max") == "25000"
    assert limit(identity, "pids", "pids.max", "pids.max") == "60"


def test_out_of_memory(docker: Engine, removed: str) -> None:
    flags = ["--network=none", "--memory=16m", "--memory-swap=16m"]
    result = docker("run", "--name", removed, *flags, IMAGE, "sh", "-c", "exec tail /dev/zero", check=False)
    assert result.status == 128 + signal.SIGKILL
    assert inspect(docker, removed)["State"]["OOMKilled"]


def test_copy_and_commit(docker: Engine, running: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    docker("cp", tmp_path / "file", f"{running}:/var/file")
    assert docker.output("exec", running, "cat", "/var/file") == "text"
    identity = docker.output("commit", running)
    assert run(docker, identity, "cat", "/var/file").stdout == "text"
    assert docker.output("diff", running).splitlines()[-1] == "A /var/file"
