"""linux.devices, the devices every container has, and linux.resources.devices."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ..bundle import Bundle
from ..runtimes import Container

OURS = "wherry-runtime"
DEFAULT = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}


def device(path: str, kind: str = "c", major: int = 1, minor: int = 5, **more: object) -> dict[str, object]:
    return {"path": path, "type": kind, "major": major, "minor": minor} | more


def allow(bundle: Bundle, **rule: object) -> None:
    bundle.linux["resources"]["devices"].append({"allow": True} | rule)


def test_devices_of_every_container(container: Container) -> None:
    names = " ".join(f"/dev/{name}" for name in DEFAULT)
    lines = container.output(f"stat -c '%n %t:%T %a %u:%g' {names}").splitlines()
    assert lines == [f"/dev/{name} {number} 666 0:0" for name, number in DEFAULT.items()]


def test_they_work(container: Container) -> None:
    container.bundle.shell("echo x >/dev/null; head -c2 /dev/zero | od -An -tx1; head -c1 /dev/urandom | wc -c")
    assert container.output().split() == ["00", "00", "1"]


def test_links_of_every_container(container: Container) -> None:
    links = {
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
    }
    container.bundle.shell("for n in fd stdin stdout stderr; do readlink /dev/$n; done; readlink /dev/ptmx")
    *found, ptmx = container.output().splitlines()
    assert found == list(links.values())
    assert ptmx in ("pts/ptmx", "/dev/pts/ptmx")


def test_nothing_else_is_there(container: Container) -> None:
    allowed = {*DEFAULT, "fd", "stdin", "stdout", "stderr", "core", "ptmx", "pts", "shm", "mqueue", "console"}
    assert set(container.output("ls /dev").split()) <= allowed


def test_a_device_of_the_document(container: Container) -> None:
    container.bundle.linux["devices"] = [
        device("/dev/own", fileMode=0o640, uid=3, gid=4),
        device("/dev/deep/block", "b", 7, 33, fileMode=0o600),
        device("/dev/pipe", "p", fileMode=0o622),
    ]
    container.bundle.shell("stat -c '%F %t:%T %a %u:%g' /dev/own /dev/deep/block /dev/pipe")
    assert container.output().splitlines() == [
        "character special file 1:5 640 3:4",
        "block special file 7:21 600 0:0",
        "fifo 0:0 622 0:0",
    ]


def test_the_umask_does_not_touch_a_devices_mode(container: Container) -> None:
    container.bundle.process["user"]["umask"] = 0o077
    container.bundle.linux["devices"] = [device("/dev/own", fileMode=0o666)]
    assert container.output("stat -c %a /dev/own /dev/null") == "666\n666\n"


def test_a_device_without_a_mode(container: Container, only) -> None:
    only(OURS, "crun")
    container.bundle.linux["devices"] = [device("/dev/own")]
    assert container.output("stat -c %a /dev/own") == "666\n"


def test_a_device_outside_dev(container: Container) -> None:
    container.bundle.linux["devices"] = [device("/var/own", fileMode=0o666)]
    assert container.output("stat -c %t:%T /var/own") == "1:5\n"


def test_unbuffered_characters(container: Container) -> None:
    container.bundle.linux["devices"] = [device("/dev/own", "u", fileMode=0o666)]
    assert container.output("stat -c %F /dev/own") == "character special file\n"


def test_a_device_that_is_there_already(container: Container, only) -> None:
    only(OURS, "runc")
    os.mknod(container.bundle.rootfs / "var/own", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    container.bundle.linux["devices"] = [device("/var/own", fileMode=0o644)]
    assert container.output("stat -c %t:%T /var/own") == "1:5\n"


@pytest.mark.parametrize("kind", ["other device", "file", "folder"])
def test_another_thing_that_is_there_already(container: Container, kind: str, only) -> None:
    """The specification asks for an error; the peers take or replace what they find."""
    only(OURS)
    path = container.bundle.rootfs / "var/own"
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.touch()
    else:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
    container.bundle.linux["devices"] = [device("/var/own")]
    result = container.create(check=False)
    assert result.status == 1
    assert "linux.devices[0]" in result.stderr


def test_a_default_device_may_be_listed(container: Container, only) -> None:
    only(OURS, "crun")  # runc then wants a rule for it
    container.bundle.linux["devices"] = [
        device("/dev/zero", fileMode=0o666),
        device("/dev/null", minor=3, fileMode=0o666),
    ]
    assert container.output("stat -c %t:%T /dev/zero /dev/null") == "1:5\n1:3\n"


def test_a_device_behind_a_link_of_the_image(container: Container, place: Path) -> None:
    """The link leads to a host directory by its text: nothing is made there."""
    (place / "outside").mkdir()
    (container.bundle.rootfs / "link").symlink_to(place / "outside")
    container.bundle.linux["devices"] = [device("/link/own", fileMode=0o666)]
    container.run(check=False)
    assert list((place / "outside").iterdir()) == []


# Rules


def use(bundle: Bundle, script: str) -> None:
    """A container that owns every capability, so that only the rules can refuse."""
    everything = ["CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN", "CAP_SYS_RAWIO", "CAP_SYSLOG"]
    bundle.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), everything)
    bundle.shell(script)


def test_what_no_rule_allows_is_refused(container: Container) -> None:
    container.bundle.linux["devices"] = [device("/dev/own", minor=11, fileMode=0o666)]
    use(container.bundle, "head -c1 /dev/own 2>&1 | grep -c 'not permitted'; : >/dev/null && echo null")
    assert container.output() == "1\nnull\n"


def test_an_allowed_device_works(container: Container) -> None:
    container.bundle.linux["devices"] = [device("/dev/own", minor=11, fileMode=0o666)]
    allow(container.bundle, type="c", major=1, minor=11, access="r")
    use(container.bundle, "exec 3</dev/own && echo read; (: >/dev/own) 2>/dev/null || echo no write")
    assert container.output() == "read\nno write\n"


@pytest.mark.parametrize(
    ("rule", "number", "made"),
    [
        ({"type": "c", "major": 10, "minor": 7, "access": "m"}, "c 10 7", True),
        ({"type": "c", "major": 10, "minor": 7, "access": "rw"}, "c 10 7", False),
        ({"type": "c", "major": 10, "access": "rwm"}, "c 10 9", True),
        ({"type": "b", "major": 10, "access": "rwm"}, "c 10 9", False),
        ({"type": "a", "access": "rwm"}, "b 7 99", True),
        ({"access": "rwm"}, "c 99 99", True),
    ],
)
def test_rules_for_making_nodes(container: Container, rule: dict[str, object], number: str, made: bool) -> None:
    """The default rules let every node be made, so they are taken away first."""
    rules = container.bundle.linux["resources"]["devices"]
    rules += [{"allow": True, "access": "rwm"}, {"allow": False, "access": "rwm"}, {"allow": True} | rule]
    # The peers add `c *:* m` and `b *:* m` behind the document: refusal shows when the node is opened.
    use(container.bundle, f"mknod /dev/x {number} && (: </dev/x) 2>&1 | grep -c 'not permitted'")
    access = str(rule["access"])
    refused = int(not (made and "r" in access) and not ("r" in access and number == "c 10 7"))
    assert container.run(check=False).stdout == f"{refused}\n"


def test_later_rules_count(container: Container) -> None:
    container.bundle.linux["devices"] = [device("/dev/own", minor=11, fileMode=0o666)]
    allow(container.bundle, type="c", major=1, minor=11, access="rwm")
    container.bundle.linux["resources"]["devices"].append(
        {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "rwm"}
    )
    use(container.bundle, "(: </dev/own) 2>/dev/null || echo refused")
    assert container.output() == "refused\n"


def test_terminals_can_always_be_used(container: Container) -> None:
    use(container.bundle, "exec 3<>/dev/ptmx && echo opened")
    assert container.output() == "opened\n"


def test_without_rules_everything_the_specification_asks_for_works(container: Container) -> None:
    container.bundle.linux["resources"] = {}
    assert container.output("head -c1 /dev/zero | wc -c") == "1\n"


def test_devices_in_a_user_namespace(container: Container) -> None:
    """They cannot be made there: they are bound from the host."""
    container.bundle.map_root()
    names = " ".join(f"/dev/{name}" for name in DEFAULT)
    lines = container.output(f"stat -c '%n %t:%T' {names}; head -c1 /dev/zero | wc -c").splitlines()
    assert lines == [*(f"/dev/{name} {number}" for name, number in DEFAULT.items()), "1"]
