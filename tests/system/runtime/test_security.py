"""Known holes of container runtimes: each test fails on an implementation that has the hole."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..bundle import Bundle
from ..runtimes import Container, Runtime, mounts_below, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OURS = "wherry-runtime"
ALL_CAPABILITIES = ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN", "CAP_KILL"]


def capable(bundle: Bundle, *names: str) -> None:
    bundle.process["capabilities"] = {kind: list(names) for kind in ("bounding", "effective", "permitted")}


@pytest.fixture
def outside(place: Path) -> Iterator[Path]:
    """A host directory that a container must not reach. Fails the test if anything is made or mounted there."""
    path = place / "outside"
    path.mkdir()
    (path / "secret").write_text("secret of the host\n")
    yield path
    assert sorted(os.listdir(path)) == ["secret"]
    assert (path / "secret").read_text() == "secret of the host\n"
    assert mounts_below(path) == []


def running_probe(container: Container, verb: str) -> None:
    container.bundle.args("probe", verb)
    container.create()
    container.start()
    wait_until(lambda: "watching" in container.stdout)


# CVE-2016-9962: a process of the container looks into one that is entering it.


def test_an_entering_process_cannot_be_looked_into(container: Container, probe: Bundle) -> None:
    running_probe(container, "watch")
    for _ in range(15):
        container.exec("true")
    assert "seen" not in container.stdout


def test_a_waiting_process_cannot_be_looked_into(container: Container) -> None:
    container.bundle.args("sleep", "1000")
    container.create()
    result = container.exec("sh", "-c", "readlink /proc/1/fd/* /proc/1/exe /proc/1/cwd", check=False)
    assert result.stdout == ""


def test_a_waiting_process_holds_no_directory_of_the_host(container: Container, place: Path, only) -> None:
    """Even for who may trace it: no path from a descriptor leads to the host, not even by climbing."""
    only(OURS, "crun")
    capable(container.bundle, *ALL_CAPABILITIES)
    container.bundle.args("sleep", "1000")
    leak = os.open(place, os.O_RDONLY)
    os.set_inheritable(leak, True)
    container.create(pass_fds=[leak] if container.runtime.dialect == OURS else [])
    os.close(leak)
    up = "/".join([".."] * 12)
    script = f"for f in /proc/1/fd/* /proc/1/root /proc/1/cwd; do test -e $f/{up}{place} && readlink $f; done"
    assert container.exec("sh", "-c", script, check=False).stdout == ""
    names = container.exec("sh", "-c", "readlink /proc/1/fd/*", check=False).stdout.splitlines()
    assert str(place) not in names


# CVE-2019-5736: the host's executable is opened over /proc/PID/exe and overwritten.


@pytest.fixture
def sacrificed(runtime: Runtime, installed: Path) -> Runtime:
    """The runtime from a copy that may be harmed; peers stay as they are, their hole is mended."""
    if runtime.dialect == OURS:
        runtime.executable = str(installed / "bin/wherry-runtime")
        runtime.prefix = [runtime.executable]
    return runtime


def digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_the_executable_cannot_be_overwritten(sacrificed: Runtime, container: Container, probe: Bundle) -> None:
    before = digest(sacrificed.executable)
    capable(probe, *ALL_CAPABILITIES)
    running_probe(container, "overwrite")
    for _ in range(10):
        container.exec("sleep", "0.05", check=False)
        container.exec("/proc/self/exe", "--version", check=False)
    assert "written" not in container.stdout
    assert digest(sacrificed.executable) == before


def test_a_command_that_is_the_runtime_itself(sacrificed: Runtime, container: Container, probe: Bundle) -> None:
    """An image whose command is a link to /proc/self/exe."""
    before = digest(sacrificed.executable)
    (probe.rootfs / "bin/trap").symlink_to("/proc/self/exe")
    capable(probe, *ALL_CAPABILITIES)
    probe.args("/bin/trap", "--version")
    container.run(check=False)
    assert digest(sacrificed.executable) == before


# CVE-2019-16884, CVE-2019-19921, CVE-2023-28642: a /proc that is not one.


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_a_link_in_the_place_of_a_kernel_file_system(container: Container, name: str, outside: Path) -> None:
    (container.bundle.rootfs / name).rmdir()
    (container.bundle.rootfs / "real").mkdir()
    (container.bundle.rootfs / name).symlink_to("real")
    result = container.create(check=False)
    if container.runtime.dialect == "crun" and name == "sys":
        return
    assert result.status == 1
    assert not container.exists


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_a_link_to_the_host_in_that_place(container: Container, name: str, outside: Path) -> None:
    (container.bundle.rootfs / name).rmdir()
    (container.bundle.rootfs / name).symlink_to(outside)
    container.run(check=False)


def test_a_volume_over_proc_gets_nothing(container: Container, place: Path, only) -> None:
    """What the runtime writes to procfs must not go to files of a volume."""
    only(OURS, "runc")
    volume = place / "volume"
    names = ["self/attr/exec", "self/attr/apparmor/exec", "self/oom_score_adj", "sys/net/ipv4/ip_forward", "self/fd/x"]
    for name in [*names, "thread-self/attr/exec"]:
        (volume / name).parent.mkdir(parents=True, exist_ok=True)
        (volume / name).write_text("as it was")
    container.bundle.mount("/proc", "bind", str(volume), "bind")
    container.bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    container.bundle.process["oomScoreAdj"] = 321
    container.run(check=False)
    assert {name: (volume / name).read_text() for name in names} == dict.fromkeys(names, "as it was")


# CVE-2021-30465, CVE-2024-45310, CVE-2025-52881: a second container swaps what a path leads to.


@pytest.fixture
def swapping(place: Path, outside: Path, probe_path: Path) -> Iterator[Path]:
    """A volume in which "a" is a directory and a link to the host's `outside`, in turn, all the time."""
    volume = place / "volume"
    (volume / "a").mkdir(parents=True)
    (volume / "b").symlink_to(outside)
    with subprocess.Popen([probe_path, "exchange", volume / "a", volume / "b"]) as process:
        yield volume
        process.kill()


@pytest.mark.parametrize("below", ["made", "made/deep/er"])
def test_a_destination_that_is_swapped(
    make_container: Callable[..., Container], bundle: Bundle, swapping: Path, place: Path, below: str, only
) -> None:
    only(OURS)  # runc 1.1 makes directories of the host (CVE-2024-45310)
    (place / "shared").mkdir()
    bundle.mount("/volume", "bind", str(swapping), "bind")
    bundle.mount(f"/volume/a/{below}", "tmpfs", "tmpfs")
    bundle.mount("/volume/a/bound", "bind", str(place / "shared"), "bind")
    for _ in range(25):
        make_container().run(check=False)


def test_a_masked_path_that_is_swapped(make_container, bundle: Bundle, swapping: Path) -> None:
    bundle.mount("/volume", "bind", str(swapping), "bind")
    bundle.linux["maskedPaths"] = ["/volume/a/secret"]
    bundle.linux["readonlyPaths"] = ["/volume/a"]
    for _ in range(15):
        make_container().run(check=False)


def test_a_working_directory_that_is_swapped(make_container, bundle: Bundle, swapping: Path, only) -> None:
    only(OURS)
    bundle.mount("/volume", "bind", str(swapping), "bind")
    bundle.process["cwd"] = "/volume/a/work"
    for _ in range(15):
        make_container().run(check=False)
    for path in (swapping / "a/work", swapping / "b/work"):
        if path.exists():
            path.rmdir()


# CVE-2022-27650, CVE-2022-29162: inheritable capabilities nobody asked for.


def test_no_inheritable_capabilities(container: Container) -> None:
    container.bundle.process["capabilities"].pop("ambient")
    container.bundle.args("sleep", "1000")
    container.create()
    container.start()
    for text in (
        Path(f"/proc/{container.pid}/status").read_text(),
        container.exec("cat", "/proc/self/status").stdout,
        container.exec("cat", "/proc/self/status", flags=["--cap", "CAP_SYS_CHROOT"]).stdout,
    ):
        if container.runtime.dialect == "runc" and "CapBnd:\t0000000020040420" in text:
            continue  # runc 1.1 gives --cap as ambient too
        assert "CapInh:\t0000000000000000" in text
        assert "CapAmb:\t0000000000000000" in text


# CVE-2024-21626: the working directory is a leaked descriptor of the host.


@pytest.mark.parametrize("number", range(3, 13))
def test_a_working_directory_behind_a_descriptor(container: Container, outside: Path, number: int, only) -> None:
    only(OURS, "runc")  # crun 1.8 has the hole
    container.bundle.process["cwd"] = f"/proc/self/fd/{number}"
    container.bundle.shell("ls; cat ../../../../../../etc/hostname; cat secret")
    with_leak = os.open(outside, os.O_RDONLY)
    os.set_inheritable(with_leak, True)
    try:
        result = container.run(check=False, pass_fds=[with_leak])
    finally:
        os.close(with_leak)
    assert "secret" not in result.stdout
    assert Path("/etc/hostname").read_text() not in result.stdout
    assert "bundle1" not in result.stdout


def test_a_link_of_the_image_to_a_descriptor(container: Container, only) -> None:
    for number in (3, 5, 7, 8):
        (container.bundle.rootfs / f"leak{number}").symlink_to(f"/proc/self/fd/{number}/../../../../..")
    for number in (3, 5, 7, 8):
        container.bundle.process["cwd"] = f"/leak{number}"
        result = container.run(check=False) if container.bundle.shell("ls; ls work 2>/dev/null") else None
        assert result is not None
        assert "bundle1" not in result.stdout


def test_exec_in_a_directory_behind_a_descriptor(container: Container) -> None:
    container.bundle.args("sleep", "1000")
    container.create()
    container.start()
    for number in range(3, 12):
        result = container.exec("sh", "-c", "pwd; ls", flags=["--cwd", f"/proc/self/fd/{number}"], check=False)
        assert "state.json" not in result.stdout
        assert "unreachable" not in result.stdout
        assert "cgroup" not in result.stdout


# CVE-2025-31133: /dev/null of the image is a link, and masks show what it leads to.


@pytest.fixture
def bare_dev(bundle: Bundle) -> Bundle:
    """A bundle whose /dev is a directory of the image."""
    bundle.config["mounts"] = [m for m in bundle.mounts if not m["destination"].startswith("/dev")]
    return bundle


def test_masks_do_not_show_what_null_leads_to(container: Container, bare_dev: Bundle, only) -> None:
    only(OURS, "crun")  # runc 1.1 has the hole
    (bare_dev.rootfs / "etc/target").write_text("not hidden")
    (bare_dev.rootfs / "etc/masked").write_text("masked")
    (bare_dev.rootfs / "dev/null").symlink_to("/etc/target")
    bare_dev.linux["maskedPaths"] = ["/etc/masked"]
    bare_dev.shell("cat /etc/masked; echo x >/etc/masked")
    result = container.run(check=False)
    assert "not hidden" not in result.stdout
    assert (bare_dev.rootfs / "etc/target").read_text() == "not hidden"


def test_masks_do_not_use_a_null_device_of_the_image(container: Container, bare_dev: Bundle, only) -> None:
    only(OURS)
    (bare_dev.rootfs / "etc/masked").write_text("masked")
    (bare_dev.rootfs / "dev/null").write_text("not hidden")
    bare_dev.linux["maskedPaths"] = ["/etc/masked"]
    bare_dev.args("cat", "/etc/masked")
    assert container.run(check=False).stdout == ""


# CVE-2025-52565: /dev/console, /dev/ptmx and /dev/pts lead elsewhere.


@pytest.mark.parametrize("name", ["console", "ptmx", "pts", "pts/ptmx", "tty"])
def test_a_terminal_of_an_image_with_links(
    container: Container, bare_dev: Bundle, outside: Path, console, name: str
) -> None:
    path = bare_dev.rootfs / "dev" / name
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(outside / "secret" if name != "pts" else outside)
    bare_dev.process["terminal"] = True
    bare_dev.shell("echo inside >/dev/console; echo inside >/dev/tty")
    result = container.create("--console-socket", str(console.path), check=False)
    if result.status == 0:
        container.start(check=False)
        container.wait()


# CVE-2026-41579, CVE-2026-47766: /dev of the image is a link to the host.


def test_devices_behind_a_link(container: Container, bare_dev: Bundle, outside: Path, only) -> None:
    only(OURS)
    (bare_dev.rootfs / "dev").rmdir()
    (bare_dev.rootfs / "dev").symlink_to(outside)
    container.run(check=False)


def test_mounts_behind_a_link(container: Container, outside: Path, only) -> None:
    only(OURS, "crun")  # runc 1.1 makes its links there
    (container.bundle.rootfs / "dev").rmdir()
    (container.bundle.rootfs / "dev").symlink_to(outside)
    container.run(check=False)


def test_control_groups_behind_a_link(container: Container, outside: Path, only) -> None:
    only(OURS)
    container.bundle.config["mounts"] = [m for m in container.bundle.mounts if m["destination"] != "/sys"]
    (container.bundle.rootfs / "sys/fs").mkdir(parents=True)
    (container.bundle.rootfs / "sys/fs/cgroup").symlink_to(outside)
    container.bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    container.run(check=False)


def test_links_that_climb_more_than_there_is(container: Container, place: Path, token: str) -> None:
    (container.bundle.rootfs / "up").symlink_to("../" * 30 + f"tmp/{token}-climbed")
    container.bundle.mount("/up/target", "tmpfs", "tmpfs")
    container.run(check=False)
    assert not Path(f"/tmp/{token}-climbed").exists()


# Annotations with "..", crun 1.28 and 1.29.


@pytest.mark.parametrize(
    "name",
    [
        "run.oci.systemd.subgroup",
        "run.oci.delegate-cgroup",
        "org.systemd.property.Slice",
        "run.oci.handler",
    ],
)
def test_annotations_reach_nothing_outside(container: Container, name: str, token: str) -> None:
    container.bundle.config["annotations"] = {name: f"../../../../../../tmp/{token}-up"}
    container.run(check=False)
    assert not Path(f"/tmp/{token}-up").exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{token}-up"))


# Names


@pytest.mark.parametrize("name", ["../up", "a/b", "..", ".", "", "a\nb", "x" * 5000, "ü"])
def test_names_reach_nothing_outside(runtime: Runtime, bundle: Bundle, place: Path, name: str, only) -> None:
    only(OURS, "runc")  # `crun delete --force ..` deletes what is beside its root
    bundle.save()
    before = sorted(os.listdir(place))
    for words in (["create", "--bundle", str(bundle.path), name], ["delete", "--force", name], ["kill", name, "KILL"]):
        result = runtime(*words, check=False)
        if runtime.dialect == OURS and not (words[0] == "delete" and name == "ü"):
            assert result.status != 0
    assert sorted(os.listdir(place)) == before
    assert (place / "root").exists()


# A state folder that something else wrote to: every verb answers, and `delete --force` ends the container.


@pytest.mark.parametrize("name", ["plan", "lock", "state.json", "exec.fifo"])
def test_a_state_folder_with_pipes_and_links_in_it(container: Container, only, name: str) -> None:
    only(OURS)
    container.bundle.args("sleep", "1000")
    container.create()
    state = container.runtime.root / container.id / name
    state.rename(state.with_name("kept"))
    if name == "exec.fifo":
        state.symlink_to("/etc/passwd")
    else:
        os.mkfifo(state)
    for verb in (["state"], ["start"], ["pause"], ["resume"], ["kill"], ["ps"]):
        result = container.runtime(*verb, container.id, check=False, timeout_s=15)
        assert "root:" not in result.stderr
    container.runtime("exec", container.id, "true", check=False, timeout_s=15)
    if name in ("plan", "state.json"):
        state.with_name("kept").rename(state)
    container.runtime("delete", "--force", container.id, check=False, timeout_s=15)
    assert not state.parent.exists()
