"""Root file systems to start from: Debian by mmdebstrap, and a single static busybox."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from wherry.errors import FAILED_PRECONDITION, INTERNAL, WherryError
from wherry.store import tar
from wherry.transfer.archive import ArchiveWriter, header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

DIRECTORIES = ("bin", "dev", "etc", "home", "proc", "root", "sbin", "sys", "tmp", "usr", "usr/bin", "usr/sbin", "var")
_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
_GROUP = b"root:x:0:\nnogroup:x:65534:\n"


def debian_tarball(suite: str, include: Sequence[str], variant: str, out: str | Path, *, mirror: str = "") -> None:
    """Write a Debian root file system to the tar file `out`, as root or (through a user namespace) without.

    FAILED_PRECONDITION when mmdebstrap is not installed; INTERNAL with its last words when it fails.
    """
    program = shutil.which("mmdebstrap")
    if program is None:
        raise WherryError(FAILED_PRECONDITION, "mmdebstrap is not installed", hint="apt-get install mmdebstrap")
    command = [program, f"--variant={variant}", f"--mode={'root' if os.geteuid() == 0 else 'unshare'}", "--quiet"]
    if include:
        command.append(f"--include={','.join(include)}")
    command += [suite, str(out), *([mirror] if mirror else [])]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise WherryError(INTERNAL, f"mmdebstrap failed: {words[-1] if words else done.returncode}")


def busybox_tarball(out: str | Path, *, busybox: str = "/bin/busybox") -> None:
    """Write a root file system of busybox and its applets to the tar file `out`; the same every time.

    FAILED_PRECONDITION when there is no static busybox.
    """
    if not Path(busybox).is_file() or _is_dynamic(busybox):
        raise WherryError(FAILED_PRECONDITION, "no static busybox", hint="apt-get install busybox-static", path=busybox)
    listing = subprocess.run([busybox, "--list-full"], capture_output=True, check=True).stdout.decode()
    with Path(out).open("wb") as file:
        for name in DIRECTORIES:
            mode = 0o1777 if name == "tmp" else 0o700 if name == "root" else 0o755
            file.write(header(f"{name}/".encode(), kind=tar.DIRECTORY, mode=mode))
        data = Path(busybox).read_bytes()
        file.write(header(b"bin/busybox", len(data), mode=0o755) + data + bytes(-len(data) % tar.BLOCK))
        for applet in sorted(set(listing.split()) - {"bin/busybox", "linuxrc"}):
            if applet.rpartition("/")[0] in DIRECTORIES:
                file.write(header(applet.encode(), kind=tar.SYMLINK, mode=0o777, link=b"/bin/busybox"))
        writer = ArchiveWriter(file)
        writer.add_bytes("etc/passwd", _PASSWD)
        writer.add_bytes("etc/group", _GROUP)
        writer.finish()


def _is_dynamic(path: str) -> bool:
    """Whether the program names an interpreter (ELF, PT_INTERP)."""
    with Path(path).open("rb") as file:
        return b"/ld-" in file.read(4096)
