"""A QEMU machine that talks to us over its serial console.

It is emulated in software: slower, but the same on every host, also where /dev/kvm is there and does not work.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from .image import Kernel, find_kernel, project_disk, root_disk

MARK = "WHERRY-VM"
MEMORY_MIB = 1024
# no line on the console for so long, and the machine hangs
SILENCE_S = 240


class Machine:
    """One machine with a root disk of its own, which lasts over several boots."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.kernel: Kernel = find_kernel()
        self.root = place / "root.ext4"
        subprocess.run(["cp", "--sparse=always", root_disk(self.kernel), self.root], check=True)
        self.project = project_disk(place / "project.ext4")
        self.boots = 0
        self._process: subprocess.Popen[bytes] | None = None

    def boot(self, *words: str, reboots: bool = False) -> str:
        """Run until the machine switches itself off; returns what the console showed.

        `words` are added to the kernel's command line, where the guest finds what to do.
        """
        console = self.start(*words, reboots=reboots)
        try:
            self._wait(console)
        finally:
            self.kill()
        return console.read_text(errors="replace")

    def start(self, *words: str, reboots: bool = False) -> Path:
        """Switch on; returns the file that the console is written to."""
        self.boots += 1
        console = self.place / f"console{self.boots}.log"
        with console.open("wb") as output:
            self._process = subprocess.Popen(
                self._command(words, reboots), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        return console

    def kill(self) -> None:
        """Cut the power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def discard(self) -> None:
        """Cut the power and remove the disks; the consoles stay."""
        self.kill()
        for disk in (self.root, self.project):
            disk.unlink(missing_ok=True)

    def wait_for(self, console: Path, text: str) -> None:
        """Wait until the console has shown a text."""
        assert self._process is not None
        last, heard = 0, time.monotonic()
        while text not in console.read_text(errors="replace"):
            assert self._process.poll() is None, f"the machine stopped before {text!r}:\n{tail(console)}"
            last, heard = _listen(console, last, heard)
            time.sleep(0.5)

    def _wait(self, console: Path) -> None:
        assert self._process is not None
        last, heard = 0, time.monotonic()
        while self._process.poll() is None:
            last, heard = _listen(console, last, heard)
            time.sleep(0.5)

    def _command(self, words: tuple[str, ...], reboots: bool) -> list[str]:
        qemu = shutil.which("qemu-system-x86_64")
        assert qemu, "no QEMU: apt-get install qemu-system-x86"
        line = f"console=ttyS0 root=/dev/vda rw quiet panic=-1 tsc_early_khz={_clock_khz()} {' '.join(words)}"
        command = [qemu, "-M", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "2"]
        command += ["-m", str(MEMORY_MIB), "-nographic", "-nodefaults", "-serial", "stdio"]
        command += ["-kernel", str(self.kernel.image), "-initrd", str(self.kernel.initrd), "-append", line]
        command += ["-drive", f"file={self.root},if=virtio,format=raw,cache=writeback"]
        command += ["-drive", f"file={self.project},if=virtio,format=raw,readonly=on"]
        return command if reboots else [*command, "-no-reboot"]


def results(console: str) -> dict[str, str]:
    """Outcome by test, from the marked lines of the console."""
    found = {}
    for line in console.splitlines():
        words = line.split()
        if len(words) == 4 and words[:2] == [MARK, "TEST"]:
            # a test that failed in any of its phases failed
            found[words[2]] = words[3] if found.get(words[2]) != "failed" else "failed"
    return found


def tail(console: Path, lines: int = 60) -> str:
    """The last lines of a console."""
    return "\n".join(console.read_text(errors="replace").splitlines()[-lines:])


def _listen(console: Path, last: int, heard: float) -> tuple[int, float]:
    size = console.stat().st_size
    if size != last:
        return size, time.monotonic()
    assert time.monotonic() - heard < SILENCE_S, f"the machine hangs:\n{tail(console)}"
    return last, heard


def _clock_khz() -> int:
    """The host's clock rate: without a hint a guest that is emulated on a busy host may hang when it measures."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("cpu MHz"):
            return int(float(line.split(":")[1]) * 1000)
    return 2_000_000
