"""`spec`, `features` and `--version`: what engines and people start from."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ..bundle import Bundle
from ..runtimes import Container, Runtime

OURS = "wherry-runtime"
WORDS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
FLAG = {"type": "object", "properties": {"enabled": {"type": "boolean"}}, "required": ["enabled"]}
# The shape of features.md of the specification, as far as engines read it.
FEATURES: dict[str, Any] = {
    "type": "object",
    "required": ["ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux"],
    "properties": {
        "ociVersionMin": {"type": "string", "pattern": r"^1\.\d+\.\d+"},
        "ociVersionMax": {"type": "string", "pattern": r"^1\.\d+\.\d+"},
        "hooks": WORDS,
        "mountOptions": WORDS,
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        "potentiallyUnsafeConfigAnnotations": WORDS,
        "linux": {
            "type": "object",
            "required": ["namespaces", "capabilities", "cgroup", "seccomp"],
            "properties": {
                "namespaces": WORDS,
                "capabilities": WORDS,
                "cgroup": {
                    "type": "object",
                    "properties": {
                        name: {"type": "boolean"} for name in ("v1", "v2", "systemd", "systemdUser", "rdma")
                    },
                },
                "seccomp": {
                    "type": "object",
                    "required": ["enabled"],
                    "properties": {
                        "enabled": {"type": "boolean"},
                        "actions": WORDS,
                        "operators": WORDS,
                        "archs": WORDS,
                        "knownFlags": {"type": "array"},
                        "supportedFlags": {"type": "array"},
                    },
                },
                "apparmor": FLAG,
                "selinux": FLAG,
                "intelRdt": FLAG,
                "netDevices": FLAG,
            },
        },
    },
}


@pytest.fixture
def features(runtime: Runtime, only) -> dict[str, Any]:
    only(OURS, "runc")  # crun 1.8 has no such verb
    return json.loads(runtime("features").stdout)


def test_the_shape_of_features(features: dict[str, Any]) -> None:
    jsonschema.validate(features, FEATURES)


def test_what_features_name(features: dict[str, Any], only) -> None:
    hooks = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    assert features["hooks"] == hooks
    assert {"pid", "network", "mount", "ipc", "uts", "user", "cgroup"} <= set(features["linux"]["namespaces"])
    assert {"ro", "rbind", "rslave", "nosuid", "rro"} <= set(features["mountOptions"])
    assert {"SCMP_ACT_ERRNO", "SCMP_ACT_NOTIFY"} <= set(features["linux"]["seccomp"]["actions"])
    only(OURS)
    assert "time" in features["linux"]["namespaces"]
    assert features["linux"]["mountExtensions"]["idmap"]["enabled"]
    assert features["linux"]["netDevices"]["enabled"]
    assert "MPOL_BIND" in features["linux"]["memoryPolicy"]["modes"]


def test_every_option_of_features_is_taken(features: dict[str, Any], container: Container, place: Path, only) -> None:
    only(OURS)
    (place / "source").mkdir()
    special = {"idmap", "ridmap", "remount", "copy-symlink", "acl", "noacl", "tmpcopyup", "private", "bind", "rbind"}
    for number, option in enumerate(sorted(set(features["mountOptions"]) - special)):
        container.bundle.mount(f"/m{number}", "bind", str(place / "source"), "rbind", option)
    assert container.output("echo fine") == "fine\n"


def test_features_print_no_more_than_a_document(runtime: Runtime, only) -> None:
    only(OURS, "runc")
    result = runtime("features")
    assert result.stderr == ""
    assert result.stdout.startswith("{")


@pytest.mark.parametrize("flags", [[], ["--rootless"]])
def test_spec(runtime: Runtime, place: Path, flags: list[str]) -> None:
    folder = place / "new"
    folder.mkdir()
    runtime("spec", *flags, "--bundle", folder)
    document = json.loads((folder / "config.json").read_text())
    assert document["process"]["args"] == ["sh"]
    assert document["root"]["path"] == "rootfs"
    kinds = {namespace["type"] for namespace in document["linux"]["namespaces"]}
    assert {"pid", "mount", "ipc", "uts"} <= kinds
    if flags:
        assert "user" in kinds
        if runtime.dialect == "crun":  # 1.8 leaves the maps to its run
            return
        assert document["linux"]["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    else:
        assert "user" not in kinds


def test_spec_in_the_working_directory(runtime: Runtime, place: Path) -> None:
    (place / "new").mkdir()
    runtime("spec", cwd=place / "new")
    assert (place / "new/config.json").exists()


def test_spec_overwrites_nothing(runtime: Runtime, place: Path) -> None:
    (place / "new").mkdir()
    (place / "new/config.json").write_text("mine")
    assert runtime("spec", "--bundle", place / "new", check=False).status == 1
    assert (place / "new/config.json").read_text() == "mine"


@pytest.mark.parametrize("flags", [[], ["--rootless"]])
def test_what_spec_gives_runs(runtime: Runtime, container: Container, bundle: Bundle, flags: list[str]) -> None:
    runtime("spec", *flags, "--bundle", bundle.path)
    bundle.config = json.loads((bundle.path / "config.json").read_text())
    bundle.process["terminal"] = False
    bundle.shell("echo fine")
    assert container.run().stdout == "fine\n"


def test_version_as_engines_parse_it(runtime: Runtime) -> None:
    text = runtime("--version").stdout
    assert re.search(r"version \d+\.\d+", text.splitlines()[0])
    assert re.search(r"^commit: \S+", text, re.MULTILINE)
    assert re.search(r"^spec: 1\.\d+\.\d+", text, re.MULTILINE)
