from __future__ import annotations

import ctypes
import errno
import json
import os
import subprocess
import sys

import pytest

from wherry.errors import INVALID_ARGUMENT, WherryError
from wherry.runtime import landlock as ll

ABI = ctypes.CDLL(None).syscall(444, None, 0, 1)


def compiled(**keys):
    return ll.compile_landlock(json.dumps(keys), "a")


def test_nothing_is_handled_without_keys():
    rules = compiled()
    assert (rules.handled_fs, rules.handled_net, rules.scoped, rules.paths, rules.ports) == (0, 0, 0, [], [])


def test_paths_add_up():
    rules = compiled(ro=["/etc", "/data"], rw=["/data"], exec=["/bin"])
    assert rules.handled_fs == 0xFFFF
    masks = {path: mask for mask, path in rules.paths}
    assert masks == {
        "/etc": ll.READ_FILE | ll.READ_DIR,
        "/data": 0xFFFF & ~ll.EXECUTE,
        "/bin": ll.EXECUTE | ll.READ_FILE | ll.READ_DIR,
    }


def test_an_empty_list_forbids():
    assert compiled(ro=[]).handled_fs == 0xFFFF
    assert compiled(tcp_bind=[]).handled_net == ll.BIND_TCP


def test_ports_and_scopes():
    rules = compiled(tcp_bind=[80, 81], tcp_connect=[80], scope=["signal", "abstract_unix_socket"])
    assert rules.handled_net == ll.BIND_TCP | ll.CONNECT_TCP
    assert sorted(rules.ports) == [(ll.BIND_TCP, 81), (ll.BIND_TCP | ll.CONNECT_TCP, 80)]
    assert rules.scoped == 3


def test_older_kernels_get_less():
    rules = compiled(rw=["/x"], tcp_bind=[1], scope=["signal"])
    assert [rules.for_abi(abi).handled_fs for abi in range(8)] == [
        *(0, 0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF, 0xFFFF, 0xFFFF)
    ]
    assert rules.for_abi(0).paths == []
    assert rules.for_abi(1).paths == [(0x1FFE, "/x")]
    assert [len(rules.for_abi(abi).ports) for abi in (3, 4)] == [0, 1]
    assert [rules.for_abi(abi).scoped for abi in (5, 6)] == [0, 2]
    assert rules.missing(0) == ["ro", "rw", "exec", "tcp_bind", "scope"]
    assert rules.missing(4) == ["scope"]
    assert rules.missing(6) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[", "a"),
        ("[]", "a"),
        ('{"ro": "/x"}', "a.ro"),
        ('{"ro": ["/x", "x"]}', "a.ro[1]"),
        ('{"rw": [1]}', "a.rw[0]"),
        ('{"rw": ["/a\\u0000"]}', "a.rw[0]"),
        ('{"write": []}', "a.write"),
        ('{"tcp_bind": [65536]}', "a.tcp_bind[0]"),
        ('{"tcp_connect": [true]}', "a.tcp_connect[0]"),
        ('{"scope": ["all"]}', "a.scope[0]"),
        ('{"scope": [[]]}', "a.scope[0]"),
    ],
)
def test_errors_name_their_place(text, path):
    with pytest.raises(WherryError) as caught:
        ll.compile_landlock(text, "a")
    assert (caught.value.code, caught.value.path) == (INVALID_ARGUMENT, path)


# --- the kernel -----------------------------------------------------------------------------------------

RESTRICTED = """
import ctypes, json, os, socket, stat, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
handled, paths, ports, attempts = json.loads(sys.argv[1])
def call(number, *args):
    value = libc.syscall(number, *args)
    assert value >= 0, (number, os.strerror(ctypes.get_errno()))
    return value
attributes = struct.pack("=QQQ", *handled)
ruleset = call(444, attributes, len(attributes), 0)
for mask, path in paths:
    fd = os.open(path, os.O_PATH)
    if not stat.S_ISDIR(os.fstat(fd).st_mode):
        mask &= 0xC007
    call(445, ruleset, 1, struct.pack("=Qi", mask, fd), 0)
for mask, port in ports:
    call(445, ruleset, 2, struct.pack("=QQ", mask, port), 0)
call(157, 38, 1, 0, 0, 0)
call(446, ruleset, 0)
results = []
for kind, target in attempts:
    try:
        if kind == "bind":
            socket.socket().bind(("127.0.0.1", target))
        elif kind == "kill":
            os.kill(target, 0)
        else:
            os.close(os.open(target, int(kind), 0o600))
        results.append(0)
    except OSError as error:
        results.append(error.errno)
print(json.dumps(results))
"""


@pytest.mark.skipif(ABI < 6, reason="the kernel's Landlock is older than version 6")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the test knows the number of prctl of x86_64 only")
def test_the_kernel_obeys_it(tmp_path):
    for name in ("read", "write"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    read, write = str(tmp_path / "read"), str(tmp_path / "write")
    rules = compiled(
        ro=[read, "/usr", "/lib", "/lib64", "/etc"],
        rw=[write, "/dev/null"],
        tcp_bind=[0],
        scope=["signal"],
    ).for_abi(ABI)
    attempts = [
        (os.O_RDONLY, read + "/file"),
        (os.O_WRONLY, read + "/file"),
        (os.O_WRONLY | os.O_TRUNC, write + "/file"),
        (os.O_WRONLY | os.O_CREAT, write + "/new"),
        (os.O_WRONLY | os.O_CREAT, read + "/new"),
        (os.O_RDWR, "/dev/null"),
        (os.O_RDONLY, "/dev/zero"),
        (os.O_RDONLY, str(tmp_path)),
        ("bind", 0),
        ("bind", 47123),
        ("kill", os.getpid()),
    ]
    handled = [rules.handled_fs, rules.handled_net, rules.scoped]
    argument = json.dumps([handled, rules.paths, rules.ports, attempts])
    done = subprocess.run([sys.executable, "-ISc", RESTRICTED, argument], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    denied, none = errno.EACCES, 0
    assert json.loads(done.stdout) == [
        *(none, denied, none, none, denied, none, denied, denied, none, denied, errno.EPERM)
    ]
