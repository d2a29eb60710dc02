"""User, time and network namespaces; processes that stand between."""

from __future__ import annotations

import os
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from wherry.plan import instructions as i

from .harness import CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWTIME, CLONE_NEWUSER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .harness import Box

MAP = "0 100000 65536\n"


@pytest.fixture
def user_box(box: Box) -> Box:
    """A box in a user namespace whose root directory belongs to its root."""
    box.namespaces |= CLONE_NEWUSER
    subprocess.run(["chown", "-hR", "100000:100000", box.rootfs], check=True)
    for part in box.rootfs.parents:
        if str(part).startswith("/tmp/"):
            part.chmod(0o755)
    box.after_clone.append(("MAPS", MAP, MAP, 0, None, None))
    box.early.append(("BECOME", 0, 0))
    return box


def test_user_namespace(user_box: Box) -> None:
    user_box.mount("proc", "/proc")
    user_box.mount("tmpfs", "/data", data="mode=0700")
    user_box.mount("sysfs", "/sys")
    out = user_box.output("id -u; id -g; cat /proc/self/uid_map; stat -c %u /data /bin")
    assert out.split() == ["0", "0", "0", "100000", "65536", "0", "0"]


def test_set_id_helpers(user_box: Box) -> None:
    """newuidmap and newgidmap, with /etc/subuid and /etc/subgid of the test's own."""
    grants = user_box.place / "grants"
    grants.write_text("root:100000:65536\n")
    wrapper = user_box.place / "wrapper"
    wrapper.write_text(
        f"""#!/bin/sh
        exec unshare -m --propagation slave sh -c '
            for file in /etc/subuid /etc/subgid; do mount --bind {grants} $file || exit 90; done
            exec {user_box.executable} "$@"' wherry "$@"
        """
    )
    wrapper.chmod(0o755)
    user_box.executable = str(wrapper)
    user_box.after_clone[0] = ("MAPS", MAP, MAP, 0, "/usr/bin/newuidmap", "/usr/bin/newgidmap")
    assert user_box.output("id -u") == "0\n"


def test_failing_helper_is_quoted(user_box: Box) -> None:
    user_box.after_clone[0] = ("MAPS", "0 5 4000000000\n", MAP, 0, "/usr/bin/newuidmap", None)
    stderr = user_box.run().stderr
    assert stderr.startswith("after[0]: /usr/bin/newuidmap: exit status 1: newuidmap:")


def test_denied_setgroups(user_box: Box) -> None:
    user_box.after_clone[0] = ("MAPS", "0 100000 1\n", "0 100000 1\n", 1, None, None)
    user_box.inside.append(("GROUPS", b""))
    user_box.mount("proc", "/proc")
    assert user_box.output("cat /proc/self/setgroups") == "deny\n"


def test_mapped_mount(user_box: Box) -> None:
    """HOST clones the tree and maps its ids; INIT attaches it."""
    source = user_box.place / "source"
    source.mkdir()
    (source / "file").touch()
    os.chown(source / "file", 5, 6)
    user_box.host += [
        ("USERNS", 10, MAP, MAP),
        ("TREE", 11, i.NONE, str(source), i.TREE_RECURSIVE),
        ("TREE_ATTR", 11, 0, 0, 0, 10, i.ATTR_RECURSIVE),
        ("CLOSE", 10),
    ]
    user_box.mounts.append(("ATTACH", 11, "/data", i.KIND_LIKE_SOURCE, 0))
    assert user_box.output("stat -c '%u %g' /data/file") == "5 6\n"


def test_stage_joins_and_offsets(box: Box) -> None:
    """STAGE clones INIT as its sibling into a time namespace with offsets; HOST adopts it."""
    plan = box.plan
    offsets = "boottime 1000000 0\nmonotonic 0 0\n"

    def with_stage() -> object:
        made = plan()
        stage = made.program(i.STAGE)
        stage.emit("PDEATHSIG", 9)
        stage.emit("UNSHARE", CLONE_NEWTIME)
        stage.emit("TIME_OFFSETS", offsets)
        stage.emit("POST", 4)
        stage.emit("AWAIT", 5)
        stage.emit("CLONE", i.INIT, box.namespaces, i.NONE)
        host = made.program(i.HOST)
        at = [step[0] for step in host.steps].index("CLONE")
        host.steps[at : at + 1] = [
            ("CLONE", "", (i.STAGE, 0, i.NONE)),
            ("AWAIT", "", (4,)),
            ("POST", "", (5,)),
            ("ADOPT", "", ()),
        ]
        return made

    box.plan = with_stage  # type: ignore[method-assign,assignment]
    box.mount("proc", "/proc")
    out = box.output("echo $$; cut -d. -f1 /proc/uptime")
    assert out.split()[0] == "1"
    assert int(out.split()[1]) > 1000000


def test_stage_failure_is_told(box: Box) -> None:
    made = box.plan()
    stage = made.program(i.STAGE)
    stage.emit("UNSHARE", 0x12345, where="here")
    made.program(i.HOST).steps[2] = ("CLONE", "", (i.STAGE, 0, i.NONE))
    made.program(i.HOST).steps.insert(3, ("ADOPT", "", ()))
    assert box.execute("@run", plan=made).stderr == "here: create namespaces: Invalid argument\n"


def message(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("<IHHII", 16 + len(body), kind, flags, 0, 0) + body


def loopback_up() -> bytes:
    return message(16, 1, struct.pack("<BBHiII", 0, 0, 0, -1, 1, 1))


def test_loopback(box: Box) -> None:
    box.mounts.append(("NETLINK", loopback_up()))
    assert "LOOPBACK,UP" in box.output("ip link show lo")


def test_refused_netlink_request(box: Box) -> None:
    address = struct.pack("<BBBBI", 2, 8, 0, 0, 77)
    box.mounts.append(("NETLINK", loopback_up() + message(20, 0x601, address)))
    assert box.run().stderr.startswith("mounts[0]: set up the network: request 1: ")


@pytest.fixture
def device() -> Iterator[str]:
    """A veth end with two addresses; whatever is left of the pair is deleted."""
    name = f"wtex{os.getpid() % 100000}"
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"], check=True)
    subprocess.run(["ip", "addr", "add", "192.0.2.7/24", "dev", name], check=True)
    subprocess.run(["ip", "-6", "addr", "add", "2001:db8::7/64", "dev", name, "nodad"], check=True)
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
    yield name
    # the container's end of the pair may have gone with its namespace already
    subprocess.run(["ip", "link", "del", f"{name}p"], check=False, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("new_name", ["", "renamed0", "net%d"])
def test_network_device(box: Box, device: str, new_name: str) -> None:
    box.after_clone.append(("NETDEV", device, new_name))
    box.mount("proc", "/proc")
    out = box.output("ip addr; ip link show up")
    wanted = {"": device, "net%d": "net0"}.get(new_name, new_name)
    assert f"{wanted}@" in out
    assert "192.0.2.7/24" in out
    assert "2001:db8::7/64" in out
    assert device != wanted or f"{wanted}@" in out.split("inet6")[-1]


def test_missing_network_device(box: Box) -> None:
    box.after_clone.append(("NETDEV", "nosuchdev0", ""))
    assert box.run().stderr == "after[0]: find the network device nosuchdev0: No such device\n"


def test_joining_a_network_namespace(box: Box) -> None:
    box.namespaces &= ~CLONE_NEWNET
    holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 100"], stdout=subprocess.PIPE)
    assert holder.stdout
    holder.stdout.readline()
    try:
        box.host.append(("OPEN", 10, i.NONE, f"/proc/{holder.pid}/ns/net", os.O_RDONLY, 0, 0))
        box.early.append(("SETNS", 10, CLONE_NEWNET))
        box.mount("proc", "/proc")
        assert os.readlink(f"/proc/{holder.pid}/ns/net") in box.output("readlink /proc/self/ns/net")
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_joining_the_wrong_kind_of_namespace(box: Box) -> None:
    box.host.append(("OPEN", 10, i.NONE, "/proc/self/ns/uts", os.O_RDONLY, 0, 0))
    box.early.append(("SETNS", 10, CLONE_NEWNET))
    assert box.run().stderr == "early[0]: join the namespace: Invalid argument\n"


def test_names(box: Box) -> None:
    box.early += [("HOSTNAME", "ship"), ("DOMAINNAME", "harbour"), ("KEYRING", "box")]
    box.mount("proc", "/proc")
    assert box.output("hostname; cat /proc/sys/kernel/domainname") == "ship\nharbour\n"


def test_without_pid_namespace_the_children_end_too(box: Box) -> None:
    box.namespaces &= ~CLONE_NEWPID
    assert box.output("echo ok") == "ok\n"
