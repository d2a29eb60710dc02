"""The command: finding it, executing it, and the words for why not."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from wherry.plan import instructions as i

if TYPE_CHECKING:
    from .harness import Box


def script(box: Box, name: str, content: str, mode: int = 0o755) -> None:
    path = box.rootfs / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["nothing"], 127, 'process.args[0]: exec: "nothing": executable file not found in $PATH'),
        (["/nothing"], 127, 'process.args[0]: exec: "/nothing": stat /nothing: no such file or directory'),
        (["/data"], 126, 'process.args[0]: exec: "/data": is a directory'),
        (["/etc/plain"], 126, 'process.args[0]: exec: "/etc/plain": permission denied'),
        (["plain"], 126, 'process.args[0]: exec: "plain": permission denied'),
        ([""], 127, 'process.args[0]: exec: "": executable file not found in $PATH'),
        (["/etc/garbage"], 126, "exec /etc/garbage: exec format error"),
        (["/etc/lost"], 127, "exec /etc/lost: its interpreter /no/such/interpreter is missing"),
        (
            ["/etc/windows"],
            127,
            "exec /etc/windows: its interpreter /bin/sh is missing (the script has Windows line ends)",
        ),
        (["/etc/dynamic"], 127, "exec /etc/dynamic: its dynamic loader is missing"),
    ],
)
def test_what_cannot_be_executed(box: Box, args: list[str], status: int, message: str) -> None:
    script(box, "etc/plain", "text", 0o644)
    script(box, "sbin/plain", "text", 0o644)
    script(box, "etc/garbage", "text")
    script(box, "etc/lost", "#!/no/such/interpreter -x\n")
    script(box, "etc/windows", "#!/bin/sh\r\necho\r\n")
    with open("/bin/true", "rb") as source:
        (box.rootfs / "etc/dynamic").write_bytes(source.read())
    (box.rootfs / "etc/dynamic").chmod(0o755)
    box.args = args
    result = box.run()
    assert result.status == status
    assert message in result.stderr
    assert not box.state.exists()


def test_script_with_interpreter(box: Box) -> None:
    script(box, "etc/script", "#!/bin/sh\necho from script\n")
    box.args = ["/etc/script"]
    assert box.run().stdout == "from script\n"


def test_environment_and_arguments_are_exact(box: Box) -> None:
    box.env = ["PATH=/bin:/sbin", "A=b c", "EMPTY=", "NEWLINE=a\nb"]
    box.args = ["/bin/busybox", "env"]
    assert box.run().stdout == "PATH=/bin:/sbin\nA=b c\nEMPTY=\nNEWLINE=a\nb\n"


def test_no_descriptor_is_inherited(box: Box) -> None:
    """CVE-2024-21626: only stdio, and what is preserved by count."""
    box.mount("proc", "/proc")
    box.shell("ls /proc/self/fd")
    spare = os.open("/", os.O_RDONLY)
    other = os.open("/etc", os.O_RDONLY)
    high = os.dup2(spare, 200)
    try:
        result = box.run(pass_fds=(spare, other, high))
    finally:
        for fd in (spare, other, high):
            os.close(fd)
    assert result.stdout.split() == ["0", "1", "2", "3"]  # 3 is ls's own


def test_preserved_descriptors(box: Box) -> None:
    box.mount("proc", "/proc")
    box.keep_fds = 2
    reading, writing = os.pipe()
    os.write(writing, b"through")
    os.close(writing)
    box.shell("cat <&3; ls /proc/self/fd")
    spread = ("sh", "-c", 'exec 3<&0 4<&0; exec "$@" </dev/null', "sh")
    try:
        result = box.run("--preserve-fds", "2", before=spread, stdin=reading)
    finally:
        os.close(reading)
    assert result.stdout.replace("\n", " ").split() == ["through0", "1", "2", "3", "4", "5"]


def test_working_directory(box: Box) -> None:
    box.inside.append(("CHDIR", "/made/deep", i.CHDIR_CREATE))
    assert box.output("pwd") == "/made/deep\n"
    box.inside[0] = ("CHDIR", "/not/there", 0)
    box.shell("true")
    assert box.run().stderr == (
        'inside[0]: chdir to cwd ("/not/there") set in config.json failed: No such file or directory\n'
    )


def test_working_directory_behind_a_magic_link(box: Box) -> None:
    """CVE-2024-21626: a working directory that names a descriptor of ours."""
    box.mount("proc", "/proc")
    for number in range(3, 20):
        box.inside[:] = [("CHDIR", f"/proc/self/fd/{number}", 0)]
        box.shell("pwd")
        assert box.run().status == 1


def test_signals_are_reset(box: Box) -> None:
    box.mount("proc", "/proc")
    out = box.output("exec grep -E '^Sig(Blk|Ign)' /proc/self/status")
    assert {line.split()[1] for line in out.splitlines()} == {"0" * 16}


def test_container_init(box: Box) -> None:
    box.exec_flags = i.EXEC_INIT
    box.shell("echo $$; exit 5")
    result = box.run()
    assert (result.status, result.stdout) == (5, "2\n")


def test_standard_streams(box: Box) -> None:
    box.mounts.append(("MKNOD", i.ROOT, "/dev/null", stat.S_IFCHR | 0o666, 1, 3, -1, -1))
    box.inside.append(("STDIO", 1000, 1000))
    box.mount("proc", "/proc")
    out = box.output("stat -L -c '%t:%T' /proc/self/fd/0; readlink /proc/self/fd/0")
    assert out == "1:3\n/dev/null\n"
