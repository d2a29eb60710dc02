"""podman, with the runtime under test given by `--runtime`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sysconfig
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wherry
from tests.system.runtimes import cgroups_named, wait_until

from .conftest import IMAGE, LIMITS, containers_conf
from .engines import Engine, kill_users, with_etc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from system.runtimes import Result

FOREVER = "trap 'exit 7' TERM; while :; do sleep 0.1; done"


@pytest.fixture
def running(podman: Engine, name: str) -> Iterator[str]:
    """A container that ends with 7 when asked to."""
    podman("run", "--detach", "--name", name, IMAGE, "sh", "-c", FOREVER)
    yield name
    remove(podman, name)


@pytest.fixture
def removed(podman: Engine, name: str) -> Iterator[str]:
    """A name whose container is removed at the end."""
    yield name
    remove(podman, name)


def remove(podman: Engine, name: str) -> None:
    """podman 4.3 finds /dev/shm of a user namespace busy when its own clean-up process is not over."""
    wait_until(lambda: podman("rm", "--force", "--ignore", "--time=0", name, check=False).status == 0)


def run(podman: Engine, *args: object, check: bool = True, **how: Any) -> Result:
    return podman("run", "--rm", *args, check=check, **how)


def inspect(podman: Engine, name: str) -> dict[str, Any]:
    return json.loads(podman("inspect", "--type=container", name).stdout)[0]


def status(podman: Engine, name: str) -> str:
    return inspect(podman, name)["State"]["Status"]


def cgroup(identity: str, controller: str) -> Path:
    """A container's control group, in a v1 hierarchy or in the only one."""
    found = cgroups_named(f"libpod-{identity}")
    return next((path for path in found if f"/{controller}/" in str(path)), found[0])


def limit(path: Path, v1: str, v2: str) -> str:
    return next(path / file for file in (v1, v2) if (path / file).exists()).read_text().strip()


# The command


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 44"], 44),
        (["missing"], 127),
        (["/missing/too"], 127),
        (["/etc/text"], 126),
        (["/etc"], 126),
    ],
    ids=["0", "44", "missing", "missing-path", "not-executable", "folder"],
)
def test_exit_status(podman: Engine, command: list[str], code: int) -> None:
    assert run(podman, IMAGE, *command, check=False).status == code


def test_streams(podman: Engine) -> None:
    result = run(podman, "--interactive", IMAGE, "sh", "-c", "tr a-z A-Z; echo problem >&2", input="some text\n")
    assert (result.stdout, result.stderr) == ("SOME TEXT\n", "problem\n")


def test_terminal(podman: Engine) -> None:
    # podman may set the size after the start.
    script = "tty; read a; echo got:$a; until [ \"$(stty size)\" = '24 80' ]; do sleep 0.1; done"
    shown = podman.terminal("run", "--rm", "-it", IMAGE, "sh", "-c", script, typed="x\n")
    assert shown.status == 0
    assert "/dev/pts/0\r\n" in shown.stdout
    assert "got:x" in shown.stdout


def test_process_settings(podman: Engine) -> None:
    flags = ["--user=worker", "--workdir=/var", "--env=KEY=the value", "--hostname=box", "--umask=027"]
    result = run(podman, *flags, IMAGE, "sh", "-c", "id; pwd; echo $KEY; hostname; umask")
    assert result.stdout.splitlines() == [
        "uid=1000(worker) gid=1001(workers) groups=1001(workers),1002(extra)",
        "/var",
        "the value",
        "box",
        "0027",
    ]


def test_security_settings(podman: Engine) -> None:
    flags = ["--cap-drop=all", "--cap-add=net_raw", "--security-opt=no-new-privileges", "--read-only"]
    script = "grep -E 'CapEff|NoNewPrivs|^Seccomp:' /proc/self/status; touch /file"
    result = run(podman, *flags, IMAGE, "sh", "-c", script, check=False)
    assert result.stdout.split() == ["CapEff:", f"{1 << 13:016x}", "NoNewPrivs:", "1", "Seccomp:", "2"]
    assert "Read-only file system" in result.stderr


def test_mounts(podman: Engine, place: Path) -> None:
    folder = place / "volume"
    folder.mkdir()
    (folder / "file").write_text("text\n")
    flags = [f"--volume={folder}:/data:ro", "--tmpfs=/scratch:size=1m,mode=700", "--device=/dev/null:/dev/nothing:r"]
    script = "cat /data/file; touch /data/new; stat -c %a /scratch; stat -c %t:%T /dev/nothing"
    result = run(podman, *flags, IMAGE, "sh", "-c", script)
    assert result.stdout.split() == ["text", "700", "1:3"]
    assert "Read-only file system" in result.stderr


def test_kernel_settings(podman: Engine) -> None:
    limits = [f"--ulimit={limit}" for limit in (*LIMITS, "stack=1048576:2097152")]
    flags = ["--sysctl=kernel.shmmax=12345", "--network=none", "--oom-score-adj=500", *limits]
    script = "cat /proc/sys/kernel/shmmax /proc/self/oom_score_adj; grep stack /proc/self/limits; ls /sys/class/net"
    words = run(podman, *flags, IMAGE, "sh", "-c", script).stdout.split()
    assert words[:2] == ["12345", "500"]
    assert words[-5:-1] == ["size", "1048576", "2097152", "bytes"]
    assert words[-1] == "lo"


def test_preserved_descriptors(podman: Engine, place: Path) -> None:
    file = place / "descriptor"
    engine = Engine("sh", "-c", f'exec "$0" "$@" 3>{file}', *podman.prefix, scratch=place, env=podman.env)
    run(engine, "--preserve-fds=1", IMAGE, "sh", "-c", "echo through >&3")
    assert file.read_text() == "through\n"


def test_namespaces_of_the_host(podman: Engine) -> None:
    flags = [f"--{kind}=host" for kind in ("pid", "ipc", "uts", "network")]
    result = run(
        podman, *flags, IMAGE, "sh", "-c", "for kind in pid ipc uts net; do readlink /proc/self/ns/$kind; done"
    )
    assert result.stdout.split() == [os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "ipc", "uts", "net")]


def test_namespaces_of_another(podman: Engine, running: str) -> None:
    flags = [f"--{kind}=container:{running}" for kind in ("pid", "ipc", "network")]
    script = "for kind in pid ipc net; do readlink /proc/self/ns/$kind; done"
    result = run(podman, *flags, IMAGE, "sh", "-c", script)
    assert result.stdout == podman("exec", running, "sh", "-c", script).stdout


def test_hooks(podman: Engine, place: Path) -> None:
    folder = place / "hooks"
    folder.mkdir()
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"cat > {place}/hook.state"]}
    (folder / "one.json").write_text(
        json.dumps({"version": "1.0.0", "hook": hook, "when": {"always": True}, "stages": ["createRuntime"]})
    )
    podman(f"--hooks-dir={folder}", "run", "--rm", IMAGE, "true")
    state = json.loads((place / "hook.state").read_text())
    assert state["status"] in ("creating", "created")
    assert state["pid"] > 0


def test_the_runtime_by_its_name(podman: Engine, runtime_path: str) -> None:
    name = Path(runtime_path).name
    others = [word for word in podman.prefix if not word.startswith("--runtime=")]
    engine = Engine(*others, f"--runtime={name}", scratch=podman.scratch / "named", env=podman.env)
    engine.scratch.mkdir()
    assert run(engine, IMAGE, "echo", "text").stdout == "text\n"
    assert (
        engine.output("info", "--format={{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}}")
        == f"{name} {runtime_path}"
    )


# exec


def test_exec(podman: Engine, running: str) -> None:
    assert podman("exec", running, "sh", "-c", "exit 9", check=False).status == 9
    assert podman("exec", running, "missing", check=False).status == 127
    assert podman("exec", running, "/etc/text", check=False).status == 126
    assert podman("exec", "--interactive", running, "cat", input="given\n").stdout == "given\n"


def test_exec_settings(podman: Engine, running: str) -> None:
    flags = ["--user=worker", "--workdir=/var", "--env=KEY=value"]
    result = podman("exec", *flags, running, "sh", "-c", "id -u; id -g; pwd; echo $KEY; cat /proc/1/cmdline")
    assert result.stdout.split()[:4] == ["1000", "1001", "/var", "value"]
    assert "trap" in result.stdout


def test_exec_with_a_terminal(podman: Engine, running: str) -> None:
    shown = podman.terminal("exec", "-it", running, "sh", "-c", "tty; read a; echo got:$a; exit 3", typed="word\n")
    assert shown.status == 3
    assert "/dev/pts/0" in shown.stdout
    assert "got:word" in shown.stdout


def test_exec_detached(podman: Engine, running: str) -> None:
    podman("exec", "--detach", running, "sh", "-c", "echo done > /tmp/mark")
    wait_until(lambda: podman("exec", running, "cat", "/tmp/mark", check=False).stdout == "done\n")


# Its life


def test_states(podman: Engine, removed: str) -> None:
    podman("create", "--name", removed, IMAGE, "sh", "-c", FOREVER)
    assert status(podman, removed) == "created"
    podman("init", removed)
    assert status(podman, removed) == "initialized"
    podman("start", removed)
    assert status(podman, removed) == "running"
    podman("stop", removed)
    state = inspect(podman, removed)["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 7)


def test_pause(podman: Engine, running: str) -> None:
    podman("pause", running)
    assert status(podman, running) == "paused"
    assert podman("exec", running, "true", check=False).status != 0
    podman("unpause", running)
    assert status(podman, running) == "running"
    podman("exec", running, "true")


def test_kill(podman: Engine, running: str) -> None:
    podman("kill", "--signal=TERM", running)
    assert podman.output("wait", running) == "7"


def test_stop_kills_what_does_not_end(podman: Engine, removed: str) -> None:
    podman("run", "--detach", "--name", removed, IMAGE, "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    podman("stop", "--time=0", removed)
    assert inspect(podman, removed)["State"]["ExitCode"] == 128 + signal.SIGKILL


def test_restart(podman: Engine, running: str) -> None:
    before = inspect(podman, running)["State"]["Pid"]
    podman("restart", "--time=5", running)
    after = inspect(podman, running)["State"]
    assert after["Status"] == "running"
    assert after["Pid"] != before


def test_restart_policy(podman: Engine, removed: str) -> None:
    script = "echo start >> /var/starts; test $(wc -l < /var/starts) = 3"
    podman("run", "--detach", "--name", removed, "--restart=on-failure:5", IMAGE, "sh", "-c", script)
    wait_until(lambda: inspect(podman, removed)["RestartCount"] == 2 and status(podman, removed) == "exited")
    assert inspect(podman, removed)["State"]["ExitCode"] == 0


def test_removal_by_force(podman: Engine, running: str) -> None:
    state = inspect(podman, running)
    assert cgroups_named(f"libpod-{state['Id']}")
    podman("rm", "--force", "--time=0", running)
    assert podman("inspect", running, check=False).status != 0
    assert not cgroups_named(f"libpod-{state['Id']}")
    wait_until(lambda: not Path(f"/proc/{state['State']['Pid']}").exists())


def test_removal_of_a_paused_one(podman: Engine, running: str) -> None:
    state = inspect(podman, running)
    podman("pause", running)
    podman("rm", "--force", "--time=0", running)
    assert not cgroups_named(f"libpod-{state['Id']}")
    wait_until(lambda: not Path(f"/proc/{state['State']['Pid']}").exists())


def test_removal_ends_what_was_executed(podman: Engine, running: str) -> None:
    executing = podman.start("exec", running, "sleep", "1000")
    wait_until(lambda: "sleep 1000" in podman.output("top", running, "args"))
    podman("rm", "--force", "--time=0", running)
    assert executing.end(check=False).status != 0


def test_the_end_without_a_pid_namespace(podman: Engine, removed: str, name: str) -> None:
    """What the first process leaves behind is ended too."""
    script = f"sh -c 'while :; do sleep 0.1; done' {name} & {FOREVER}"
    podman("run", "--detach", "--pid=host", "--name", removed, IMAGE, "sh", "-c", script)
    wait_until(lambda: len(commands(name)) >= 2)
    podman("rm", "--force", "--time=0", removed)
    wait_until(lambda: not commands(name))


def commands(word: str) -> list[str]:
    """Command lines of shells with this word."""
    found = []
    for path in Path("/proc").glob("[1-9]*/cmdline"):
        with suppress(OSError):
            line = path.read_bytes()
            if word.encode() in line and line.startswith(b"sh\0"):
                found.append(line.decode())
    return found


def test_a_signal_is_passed_on(podman: Engine, removed: str) -> None:
    client = podman.start("run", "--name", removed, IMAGE, "sh", "-c", f"echo ready; {FOREVER}")
    wait_until(lambda: client.stdout.read_text() == "ready\n")
    client.process.send_signal(signal.SIGTERM)
    assert client.end(check=False).status == 7


def test_several_at_once(podman: Engine, name: str) -> None:
    flags = ["run", "--detach", "--interactive=false"]
    started = [podman.start(*flags, "--name", f"{name}-{n}", IMAGE, "sh", "-c", FOREVER) for n in range(5)]
    for one in started:
        one.end()
    executing = [podman.start("exec", f"{name}-{n}", "sh", "-c", f"exit {n}") for n in range(5)]
    assert [one.end(check=False).status for one in executing] == list(range(5))
    ending = [podman.start("rm", "--force", "--time=1", f"{name}-{n}") for n in range(5)]
    for one in ending:
        one.end()
    assert name not in podman.output("ps", "--all")


# What is to be seen of it


def test_logs(podman: Engine, removed: str) -> None:
    podman("run", "--name", removed, IMAGE, "sh", "-c", "echo one; echo two >&2")
    logs = podman("logs", removed)
    assert (logs.stdout, logs.stderr) == ("one\n", "two\n")


def test_top_and_stats(podman: Engine, running: str) -> None:
    assert "trap" in podman.output("top", running, "pid", "args")
    stats = json.loads(podman("stats", "--no-stream", "--format=json", running).stdout)[0]
    assert int(stats["pids"]) >= 1
    assert stats["mem_usage"].split()[0] != "0B"


def test_limits(podman: Engine, removed: str) -> None:
    flags = ["--memory=64m", "--cpus=0.5", "--pids-limit=50", "--cpu-shares=512"]
    podman("run", "--detach", *flags, "--name", removed, IMAGE, "sh", "-c", FOREVER)
    identity = inspect(podman, removed)["Id"]
    assert limit(cgroup(identity, "memory"), "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert limit(cgroup(identity, "cpu"), "cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    assert limit(cgroup(identity, "pids"), "pids.max", "pids.max") == "50"
    podman("update", "--memory=96m", "--cpus=0.25", removed)
    assert limit(cgroup(identity, "memory"), "memory.limit_in_bytes", "memory.max") == str(96 << 20)
    assert limit(cgroup(identity, "cpu"), "cpu.cfs_quota_us", "cpu.max").split()[0] == "25000"
    assert limit(cgroup(identity, "pids"), "pids.max", "pids.max") == "50"


def test_out_of_memory(podman: Engine, removed: str) -> None:
    flags = ["--memory=16m", "--memory-swap=16m"]
    result = podman("run", "--name", removed, *flags, IMAGE, "sh", "-c", "exec tail /dev/zero", check=False)
    assert result.status == 128 + signal.SIGKILL


def test_health_check(podman: Engine, removed: str) -> None:
    flags = ["--health-cmd=test -e /tmp/fine", "--health-interval=disable", "--health-retries=1"]
    podman("run", "--detach", "--name", removed, *flags, IMAGE, "sh", "-c", FOREVER)
    assert podman("healthcheck", "run", removed, check=False).status == 1
    podman("exec", removed, "touch", "/tmp/fine")
    podman("healthcheck", "run", removed)
    assert inspect(podman, removed)["State"]["Health"]["Status"] == "healthy"


def test_attach(podman: Engine, removed: str) -> None:
    podman("create", "--interactive", "--name", removed, IMAGE, "sh", "-c", "read a; echo got:$a")
    assert podman("start", "--attach", "--interactive", removed, input="word\n").stdout == "got:word\n"


@pytest.fixture
def more_than_runc(runtime_path: str) -> None:
    if Path(runtime_path).name == "runc":
        pytest.skip("runc has not got it")


@pytest.mark.usefixtures("more_than_runc")
def test_no_control_groups(podman: Engine, removed: str) -> None:
    podman("run", "--detach", "--cgroups=disabled", "--name", removed, IMAGE, "sh", "-c", FOREVER)
    assert not cgroups_named(inspect(podman, removed)["Id"])
    podman("stop", removed)
    assert inspect(podman, removed)["State"]["ExitCode"] == 7


# User namespaces


def test_user_namespace(podman: Engine, removed: str) -> None:
    flags = ["--uidmap=0:200000:5000", "--gidmap=0:300000:5000"]
    script = f"cat /proc/self/uid_map; id -u; touch /var/mine; stat -c %u /var/mine; {FOREVER}"
    podman("run", "--detach", "--name", removed, *flags, IMAGE, "sh", "-c", script)
    wait_until(lambda: len(podman.output("logs", removed).split()) == 5)
    assert podman.output("logs", removed).split() == ["0", "200000", "5000", "0", "0"]
    assert os.stat(f"/proc/{inspect(podman, removed)['State']['Pid']}").st_uid == 200000
    assert podman.output("exec", "--user=worker", removed, "id", "-u") == "1000"
    podman("stop", removed)
    assert inspect(podman, removed)["State"]["ExitCode"] == 7


@pytest.mark.usefixtures("more_than_runc")
def test_mount_with_mapped_ids(podman: Engine, place: Path) -> None:
    folder = place / "mapped"
    folder.mkdir()
    flags = ["--uidmap=0:200000:5000", "--gidmap=0:300000:5000", f"--volume={folder}:/data:idmap"]
    result = run(podman, *flags, IMAGE, "sh", "-c", "stat -c %u:%g /data; touch /data/file")
    assert result.stdout == "0:0\n"
    made = (folder / "file").stat()
    assert (made.st_uid, made.st_gid) == (0, 0)


def test_automatic_user_namespace(podman: Engine, place: Path) -> None:
    ids = "containers:500000:65536\n"
    before = with_etc(place / "etc", subuid=ids, subgid=ids)
    engine = Engine(*before, *podman.prefix, scratch=place, env=podman.env)
    result = engine("run", "--rm", "--userns=auto:size=3000", IMAGE, "cat", "/proc/self/uid_map")
    assert result.stdout.split() == ["0", "500000", "3000"]


ROOTLESS_ID = 64422


@pytest.fixture(scope="module")
def rootless(place: Path, layer: Path, runtime_path: str) -> Iterator[Engine]:
    """podman of an ordinary user, who is in the passwd file and has more ids only where it runs."""
    home = place / "home"
    (home / "run").mkdir(parents=True)
    before = with_etc(
        home / "etc",
        passwd=Path("/etc/passwd").read_text() + f"peer:x:{ROOTLESS_ID}:{ROOTLESS_ID}::{home}:/bin/sh\n",
        group=Path("/etc/group").read_text() + f"peer:x:{ROOTLESS_ID}:\n",
        subuid="peer:600000:65536\n",
        subgid="peer:600000:65536\n",
    )
    if runtime_path.endswith("wherry-runtime"):
        runtime_path = str(copy_runtime(runtime_path, home / "venv"))
    conf = home / "containers.conf"
    conf.write_text(containers_conf(runtime_path))
    shutil.copy(layer, home / "layer.tar")
    for path in (home, *home.iterdir()):
        os.chown(path, ROOTLESS_ID, ROOTLESS_ID)
    become = ["setpriv", f"--reuid={ROOTLESS_ID}", f"--regid={ROOTLESS_ID}", "--clear-groups"]
    environment = [
        f"HOME={home}",
        f"XDG_RUNTIME_DIR={home}/run",
        f"PATH={os.environ['PATH']}",
        f"CONTAINERS_CONF={conf}",
    ]
    words = [*before, *become, "env", "--ignore-environment", f"--chdir={home}", *environment]
    engine = Engine(*words, "podman", f"--runtime={runtime_path}", scratch=home)
    engine("import", home / "layer.tar", IMAGE)
    yield engine
    engine("rm", "--force", "--all", "--time=0")
    engine("system", "migrate")
    kill_users(home)  # the process that holds the user namespace


def copy_runtime(path: str, place: Path) -> Path:
    """The runtime where every user may read it, as an installation has it."""
    library = Path(sysconfig.get_path("purelib", vars={"base": str(place), "platbase": str(place)}))
    (place / "bin").mkdir(parents=True)
    shutil.copytree(Path(wherry.__file__).parent, library / "wherry")
    return Path(shutil.copy(path, place / "bin/wherry-runtime"))


def test_rootless(rootless: Engine, name: str) -> None:
    assert rootless("run", "--rm", IMAGE, "sh", "-c", "exit 44", check=False).status == 44
    rootless("run", "--detach", "--name", name, IMAGE, "sh", "-c", FOREVER)
    assert os.stat(f"/proc/{inspect(rootless, name)['State']['Pid']}").st_uid == ROOTLESS_ID
    assert rootless.output("exec", "--user=worker", name, "id", "-u") == "1000"
    assert "got:x" in rootless.terminal("exec", "-it", name, "sh", "-c", "read a; echo got:$a", typed="x\n").stdout
    assert "trap" in rootless.output("top", name, "args")
    rootless("stop", name)
    assert inspect(rootless, name)["State"]["ExitCode"] == 7


@pytest.mark.parametrize("flags", [["--userns=keep-id"], ["--userns=keep-id", "--group-add=keep-groups"]])
def test_rootless_keep_id(rootless: Engine, runtime_path: str, flags: list[str]) -> None:
    if len(flags) > 1 and Path(runtime_path).name == "runc":
        pytest.skip("runc has no run.oci.keep_original_groups")
    result = rootless("run", "--rm", *flags, IMAGE, "id", "-u")
    assert result.stdout == f"{ROOTLESS_ID}\n"
