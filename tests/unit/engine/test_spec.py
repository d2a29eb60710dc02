import pytest

from wherry.engine import spec
from wherry.engine.options import CreateOptions
from wherry.engine.users import User
from wherry.errors import WherryError

ROOT = User(0, 0, (), "/root")


def allotted(**changes):
    given = {
        "rootfs": "/r",
        "hostname": "h",
        "user": ROOT,
        "command": ["true"],
        "env": ["A=1"],
        "binds": [],
        "network_namespace": "",
        "cgroups_path": "/wherry/x",
        "terminal_group": True,
        **changes,
    }
    return spec.Allotted(**given)


def document(options=None, **changes):
    return spec.document(options or CreateOptions("i"), allotted(**changes), ["CAP_KILL"], {"defaultAction": "X"})


@pytest.mark.parametrize(
    ("given", "entrypoint", "cmd", "expected"),
    [
        ({}, ["/entry"], ["cmd"], ("/entry", "cmd")),
        ({"command": ["mine"]}, ["/entry"], ["cmd"], ("/entry", "mine")),
        ({"command": ["mine"]}, [], ["cmd"], ("mine",)),
        ({"entrypoint": ["/other"]}, ["/entry"], ["cmd"], ("/other",)),
        ({"entrypoint": ["/other"], "command": ["x"]}, ["/entry"], ["cmd"], ("/other", "x")),
        ({"entrypoint": [], "command": ["x"]}, ["/entry"], ["cmd"], ("x",)),
    ],
)
def test_the_command_follows_dockers_rules(given, entrypoint, cmd, expected):
    assert spec.command_line(CreateOptions("i", **given), entrypoint, cmd) == expected


def test_no_command_at_all_is_refused():
    with pytest.raises(WherryError, match="no command"):
        spec.command_line(CreateOptions("i"), [], [])


def test_the_callers_variables_win():
    given = spec.environment(["PATH=/image", "HOME=/image", "B=2"], {"B": "3"}, "host", ROOT, tty=True)
    assert "PATH=/image" in given and "B=3" in given and "HOME=/image" in given
    assert "TERM=xterm" in given and "HOSTNAME=host" in given


def test_home_is_the_users():
    assert "HOME=/root" in spec.environment([], {}, "h", ROOT, tty=False)


def test_defaults_are_strict():
    made = document()
    assert made["process"]["capabilities"] == {
        "bounding": ["CAP_KILL"],
        "effective": ["CAP_KILL"],
        "permitted": ["CAP_KILL"],
    }
    assert "/proc/kcore" in made["linux"]["maskedPaths"] and "/proc/sys" in made["linux"]["readonlyPaths"]
    assert made["linux"]["seccomp"] == {"defaultAction": "X"}
    assert made["linux"]["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert {"type": "network"} in made["linux"]["namespaces"]


def test_a_user_other_than_root_has_no_effective_capabilities():
    assert document(user=User(5, 5, (), "/"))["process"]["capabilities"]["effective"] == []


def test_privileged_masks_nothing():
    made = document(CreateOptions("i", privileged=True))
    assert "maskedPaths" not in made["linux"]
    assert made["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]


def test_host_network_has_no_namespace():
    kinds = [entry["type"] for entry in document(CreateOptions("i", network="host"))["linux"]["namespaces"]]
    assert "network" not in kinds


def test_binds_are_recursive_and_private_unless_told_otherwise():
    made = document(binds=[("/a", "/b", ("ro", "z")), ("/c", "/d", ("bind", "rshared"))])
    assert made["mounts"][-2]["options"] == ["rbind", "ro", "rprivate"]
    assert made["mounts"][-1]["options"] == ["bind", "rshared"]


def test_limits():
    options = CreateOptions("i", memory_bytes=1 << 20, cpus=1.5, pids_limit=9)
    resources = document(options)["linux"]["resources"]
    assert resources["memory"]["limit"] == 1 << 20
    assert resources["cpu"] == {"period": 100_000, "quota": 150_000}
    assert resources["pids"] == {"limit": 9}
