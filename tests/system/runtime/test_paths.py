"""linux.maskedPaths, readonlyPaths and rootfsPropagation."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..runtimes import Container
from .inside import mounts_of, parse_mounts

OURS = "wherry-runtime"


def test_a_masked_file_reads_empty(container: Container) -> None:
    (container.bundle.rootfs / "etc/secret").write_text("secret")
    container.bundle.linux["maskedPaths"].append("/etc/secret")
    container.bundle.shell("cat /etc/secret; echo x >/etc/secret; stat -c %t:%T /etc/secret")
    assert container.output() == "1:3\n"
    assert (container.bundle.rootfs / "etc/secret").read_text() == "secret"


def test_a_masked_directory_is_empty_and_read_only(container: Container) -> None:
    (container.bundle.rootfs / "var/secret").mkdir()
    (container.bundle.rootfs / "var/secret/file").write_text("secret")
    container.bundle.linux["maskedPaths"].append("/var/secret")
    container.bundle.shell("ls /var/secret; touch /var/secret/x 2>/dev/null || echo refused")
    assert container.output() == "refused\n"


def test_the_usual_paths(container: Container) -> None:
    container.bundle.shell("wc -c </proc/keys; ls /proc/scsi | wc -l; ls /sys/firmware | wc -l")
    assert container.output().split() == ["0", "0", "0"]


def test_a_missing_path_is_no_error(container: Container) -> None:
    for key in ("maskedPaths", "readonlyPaths"):
        container.bundle.linux[key] = ["/not/there", "/proc/not/there"]
    assert container.output("ls /not 2>&1 | grep -c 'No such'") == "1\n"


def test_a_masked_link_hides_what_it_leads_to_inside(container: Container, place: Path) -> None:
    (place / "outside").write_text("x")
    (container.bundle.rootfs / "etc/target").write_text("secret")
    (container.bundle.rootfs / "etc/link").symlink_to("/etc/target")
    container.bundle.linux["maskedPaths"] = ["/etc/link"]
    assert container.output("cat /etc/target") == ""


def test_read_only_paths(container: Container) -> None:
    (container.bundle.rootfs / "var/data").mkdir()
    (container.bundle.rootfs / "var/data/file").write_text("x")
    container.bundle.linux["readonlyPaths"] = ["/var/data", "/etc/passwd", "/proc/sys"]
    container.bundle.shell(
        "touch /var/data/y 2>/dev/null || echo 1; echo y 2>/dev/null >/etc/passwd || echo 2; "
        "cat /var/data/file; echo; (echo 0 >/proc/sys/vm/swappiness) 2>/dev/null || echo 3; touch /var/free && echo 4"
    )
    assert container.output().split() == ["1", "2", "x", "3", "4"]


def test_a_path_below_a_file_is_a_missing_one(container: Container, only) -> None:
    only(OURS)
    for key in ("maskedPaths", "readonlyPaths"):
        container.bundle.linux[key] = ["/etc/passwd/below"]
    container.output("true")


def test_read_only_paths_keep_the_flags_of_their_mount(container: Container, only) -> None:
    only(OURS, "runc")
    container.bundle.mounts[0]["options"] = ["nosuid", "noexec", "nodev"]
    options = mounts_of(container)["/proc/sys"].options
    assert {"ro", "nosuid", "noexec", "nodev"} <= options


def test_read_only_and_masked_in_a_user_namespace(container: Container) -> None:
    container.bundle.map_root()
    mounts = mounts_of(container)
    assert "ro" in mounts["/proc/sys"].options
    assert "/proc/keys" in mounts


def test_masks_are_still_there_for_exec(container: Container) -> None:
    container.bundle.args("sleep", "1000")
    container.create()
    container.start()
    assert container.exec("wc", "-c", "/proc/keys").stdout.split()[0] == "0"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("private", ()),
        ("rprivate", ()),
        ("shared", ("shared",)),
        ("rshared", ("shared",)),
        ("slave", ()),
        ("rslave", ()),
        ("unbindable", ("unbindable",)),
        ("runbindable", ("unbindable",)),
    ],
)
def test_propagation_of_the_root(container: Container, given: str, shown: tuple[str, ...], only) -> None:
    """A slave of a mount that is not shared is a private one."""
    if "shared" in given:
        only(OURS, "crun")  # runc 1.1 keeps it private
    elif "unbindable" in given:
        only(OURS)
    container.bundle.linux["rootfsPropagation"] = given
    assert mounts_of(container)["/"].propagation == shown


def test_nothing_of_the_container_reaches_the_host(container: Container, place: Path) -> None:
    before = parse_mounts(Path("/proc/self/mountinfo").read_text())
    container.bundle.args("sleep", "1000")
    container.create()
    container.start()
    after = parse_mounts(Path("/proc/self/mountinfo").read_text())
    assert {p for p in after if str(place) in p or "bundle" in p} == {p for p in before if str(place) in p}


def test_unknown_propagation(container: Container, only) -> None:
    only(OURS, "runc")
    container.bundle.linux["rootfsPropagation"] = "nonsense"
    assert container.create(check=False).status == 1
