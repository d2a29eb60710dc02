"""Someone changes the root directory while mounts are made in it (CVE-2021-30465, CVE-2024-45310)."""

from __future__ import annotations

import ctypes
import threading
from typing import TYPE_CHECKING

from wherry.plan import instructions as i

if TYPE_CHECKING:
    from pathlib import Path

    from .harness import Box

AT_FDCWD, RENAME_EXCHANGE = -100, 2


def exchange(one: Path, other: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.renameat2(AT_FDCWD, bytes(one), AT_FDCWD, bytes(other), RENAME_EXCHANGE) == 0


def test_swapped_targets(box: Box) -> None:
    """A directory and a link to a directory of the host change places all the time."""
    outside = box.place / "outside"
    outside.mkdir()
    volume = box.rootfs / "data"
    (volume / "target").mkdir()
    (volume / "link").symlink_to("../" * 20 + str(outside).lstrip("/"))
    box.mount("tmpfs", "/data/target/deep/er")
    box.mounts += [
        ("MKDIR", i.ROOT, "/data/target/made", 0o755, -1, -1),
        ("MKNOD", i.ROOT, "/data/target/node", 0o20666, 1, 3, -1, -1),
        ("WRITE", i.ROOT, "/data/target/file", b"x", i.WRITE_CREATE),
        ("MASK", "/data/target"),
    ]
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            exchange(volume / "target", volume / "link")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(40):
            result = box.run()
            assert result.status in (0, 1), result
    finally:
        over.set()
        thread.join()
    assert list(outside.iterdir()) == []
