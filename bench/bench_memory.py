"""Memory that an idle container costs beside its workload, and a created one that waits for its start.

.venv/bin/python bench/bench_memory.py [CONTAINERS]

Per container, averaged over CONTAINERS that stand at once: the proportional set size (PSS: shared pages divided by
those who share them) and the private dirty memory of the process that watches it. conmon and containerd's shim
are started as their engines do.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from wherry.runtime.compile.container import compile_container
from wherry.runtime.host import Host
from wherry.runtime.options import Options

OURS = str(Path(__file__).parents[1] / ".venv/bin/wherry-runtime")
SETTLE_S = 2.0
CRUN = ["unshare", "-m", "sh", "-c", 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$0" "$@"', "crun"]


def run(*command: str | Path, **how: object) -> None:
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([str(word) for word in command], check=True, **(quiet | how))  # type: ignore[call-overload]


def memory_kib(pid: int) -> tuple[int, int]:
    """PSS and private dirty memory."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return tuple(int(text.split(f"{name}:")[1].split()[0]) for name in ("Pss", "Private_Dirty"))  # type: ignore[return-value]


def show(name: str, pids: list[int]) -> None:
    time.sleep(SETTLE_S)
    pairs = [memory_kib(pid) for pid in pids]
    pss, private = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    print(f"{name:<44}{pss:>10.0f}{private:>16.0f}", flush=True)


def make_bundle(place: Path) -> Path:
    bundle = place / "bundle"
    (bundle / "rootfs/bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", bundle / "rootfs/bin/busybox")
    (bundle / "rootfs/bin/sleep").symlink_to("busybox")
    run("runc", "spec", cwd=bundle)
    config = json.loads((bundle / "config.json").read_text())
    config["process"].update(terminal=False, args=["/bin/sleep", "1000"])
    config["process"].pop("rlimits", None)
    config["root"]["path"] = str(bundle / "rootfs")
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle


@contextmanager
def monitored(bundle: Path, place: Path, name: str) -> Iterator[int]:
    """One of ours; gives the monitor's pid."""
    root, folder = place / "root", place / name
    for path in (folder, root / name):
        path.mkdir(parents=True)
    config = json.loads((bundle / "config.json").read_text())
    options = Options(id=name, bundle=str(bundle), root=str(root), monitor=True)
    (root / name / "plan").write_bytes(compile_container(config, Host.probe(), options).encode())
    (root / name / "config.json").write_text(json.dumps(config))
    (root / name / "lock").touch()
    plan_fd = os.open(root / name / "plan", os.O_RDONLY)
    files: list[str | Path] = ["--root", root, "--id", name, "--dir", folder]
    files += ["--log-driver", "k8s-file", "--log-path", folder / "log"]
    run(OURS, "@monitor", *files, "--stdin", "--detach-start", str(plan_fd), pass_fds=(plan_fd,))
    os.close(plan_fd)
    try:
        while not (folder / "monitor.json").exists() or '"running"' not in (folder / "monitor.json").read_text():
            time.sleep(0.01)
        yield int((folder / "monitor.lock").read_text())
    finally:
        run(OURS, "--root", root, "delete", "--force", name)


@contextmanager
def conmon(bundle: Path, place: Path, name: str) -> Iterator[int]:
    """conmon with runc as podman starts it; gives conmon's pid."""
    folder = place / name
    folder.mkdir()
    command = ["conmon", "--api-version", "1", "-c", name, "-u", name, "-n", name, "-r", shutil.which("runc") or ""]
    command += ["-b", str(bundle), "-p", str(folder / "pid"), "--exit-dir", str(folder), "-i"]
    command += ["--socket-dir-path", str(folder), "-l", f"k8s-file:{folder / 'log'}", "--log-level", "error"]
    command += ["--conmon-pidfile", str(folder / "conmon.pid"), "--runtime-arg", "--root", "--runtime-arg"]
    command += [str(place / "root-runc")]
    run(*command)
    try:
        while not (folder / "pid").exists() or not (folder / "conmon.pid").exists():
            time.sleep(0.01)
        run("runc", "--root", place / "root-runc", "start", name)
        yield int((folder / "conmon.pid").read_text())
    finally:
        run("runc", "--root", place / "root-runc", "delete", "--force", name)


@contextmanager
def containerd(place: Path) -> Iterator[list[str]]:
    """A containerd of our own; gives the beginning of ctr's command line."""
    address = place / "containerd.sock"
    folders = ["--root", str(place / "ctrd-root"), "--state", str(place / "ctrd-state")]
    config = place / "containerd.toml"
    config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    daemon = subprocess.Popen(
        ["containerd", "--config", str(config), "--address", str(address), *folders, "--log-level", "error"],
        stderr=subprocess.DEVNULL,
    )
    try:
        while not address.exists():
            time.sleep(0.05)
        yield ["ctr", "--address", str(address), "--namespace", "wherry-bench"]
    finally:
        daemon.terminate()
        daemon.wait()


@contextmanager
def shim(ctr: list[str], bundle: Path, name: str) -> Iterator[int]:
    """A container of containerd; gives its shim's pid."""
    run(*ctr, "run", "--detach", "--rootfs", bundle / "rootfs", name, "/bin/sleep", "1000")
    listing = subprocess.run([*ctr, "task", "ls"], check=True, capture_output=True, text=True).stdout
    pid = next(int(line.split()[1]) for line in listing.splitlines() if line.startswith(f"{name} "))
    try:
        yield int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    finally:
        run(*ctr, "task", "kill", "--signal", "KILL", name)
        run(*ctr, "task", "delete", "--force", name)
        run(*ctr, "container", "delete", name)


@contextmanager
def created(command: list[str], bundle: Path, place: Path, name: str) -> Iterator[int]:
    """A container that waits for its start; gives its first process."""
    prefix = [*command, "--root", str(place / f"root-{Path(command[-1]).name}")]
    pid_file = place / f"{name}.pid"
    run(*prefix, "create", "--bundle", bundle, "--pid-file", pid_file, name)
    try:
        yield int(pid_file.read_text())
    finally:
        run(*prefix, "delete", "--force", name)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    place = Path(tempfile.mkdtemp(prefix="wherry-bench-", dir="/run"))
    try:
        bundle = make_bundle(place)
        print(f"{'KiB a container, ' + str(count) + ' at once':<44}{'PSS':>10}{'private dirty':>16}")
        with ExitStack() as stack:
            show("wherry monitor", [stack.enter_context(monitored(bundle, place, f"wb-m{n}")) for n in range(count)])
        with ExitStack() as stack:
            show("conmon", [stack.enter_context(conmon(bundle, place, f"wb-c{n}")) for n in range(count)])
        with ExitStack() as stack:
            ctr = stack.enter_context(containerd(place))
            show("containerd-shim", [stack.enter_context(shim(ctr, bundle, f"wb-s{n}")) for n in range(count)])
        for name, command in {"wherry-runtime": [OURS], "crun": CRUN, "runc": ["runc"]}.items():
            with ExitStack() as stack:
                pids = [stack.enter_context(created(command, bundle, place, f"wb-x{n}")) for n in range(count)]
                show(f"created, not started: {name}", pids)
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
