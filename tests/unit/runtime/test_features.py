from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from wherry.runtime.features import UNSAFE_ANNOTATIONS, features, supported_flags
from wherry.runtime.seccomp import filter as seccomp

RUNTIME = Path(seccomp.__file__).parent


def test_the_document_is_json_with_what_engines_read():
    document = json.loads(json.dumps(features()))
    assert document["ociVersionMin"] == "1.0.0"
    assert document["ociVersionMax"] == "1.3.0"
    assert {"ro", "rro", "ridmap", "tmpcopyup", "copy-symlink"} <= set(document["mountOptions"])
    linux = document["linux"]
    assert "time" in linux["namespaces"]
    assert linux["capabilities"][0] == "CAP_CHOWN"
    assert len(linux["capabilities"]) == 41
    assert linux["mountExtensions"]["idmap"]["enabled"]
    assert "SCMP_ACT_NOTIFY" in linux["seccomp"]["actions"]
    assert "MPOL_BIND" in linux["memoryPolicy"]["modes"]
    assert document["annotations"]["io.wherry.version"]


def test_supported_flags_are_the_kernels():
    flags = supported_flags()
    assert set(flags) <= set(features()["linux"]["seccomp"]["knownFlags"])
    release = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    assert ("SECCOMP_FILTER_FLAG_LOG" in flags) == (release >= (4, 14))
    assert ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" in flags) == (release >= (5, 19))


def test_no_honoured_annotation_is_left_out():
    """Every annotation that the sources read by name is either called unsafe here or known to be harmless."""
    sources = "".join(path.read_text() for path in RUNTIME.glob("*.py") if path.name != "features.py")
    read = set(re.findall(r'"((?:run\.oci|org\.systemd)\.[\w.-]+)"', sources))
    assert read <= set(UNSAFE_ANNOTATIONS)


@pytest.mark.skipif(not shutil.which("runc"), reason="runc is not installed")
def test_it_has_the_keys_that_runc_prints():
    done = subprocess.run(["runc", "features"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("this runc has no features command")
    theirs, ours = json.loads(done.stdout), features()
    assert set(theirs) <= set(ours)
    assert set(theirs["hooks"]) <= set(ours["hooks"])
    assert set(theirs["mountOptions"]) <= set(ours["mountOptions"])
    for key in ("namespaces", "capabilities"):
        assert set(theirs["linux"][key]) <= set(ours["linux"][key])
    for key in ("actions", "operators", "archs"):
        assert set(theirs["linux"]["seccomp"][key]) <= set(ours["linux"]["seccomp"][key])
