"""A FUSE file system that takes requests and never answers: whoever touches it cannot be killed.

The kernel lets go of a process whose request was read by the server only when the answer comes or the connection
ends, so this makes a process in state D at will.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from pathlib import Path

_INIT = 26
_LOOKUP = 1
_GETATTR = 3


class StuckFileSystem:
    """Mounted from `__enter__` to `__exit__`; `asked` is set when a look-up waits for its answer."""

    def __init__(self, mount_point: Path) -> None:
        self.mount_point = mount_point
        self.asked = threading.Event()

    def __enter__(self) -> StuckFileSystem:
        self.fd = os.open("/dev/fuse", os.O_RDWR)
        data = f"fd={self.fd},rootmode=40755,user_id=0,group_id=0,allow_other".encode()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"stuck", os.fsencode(self.mount_point), b"fuse", 0, data):
            raise OSError(ctypes.get_errno(), "mount fuse")
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def release(self) -> None:
        """End the connection: who waits gets an error."""
        if not self.fd:
            return
        libc = ctypes.CDLL(None, use_errno=True)
        libc.umount2(os.fsencode(self.mount_point), 1 | 2)  # MNT_FORCE aborts, MNT_DETACH always succeeds
        self.fd, fd = 0, self.fd
        os.close(fd)

    def _serve(self) -> None:
        fd = self.fd
        while True:
            try:
                request = os.read(fd, 1 << 20)
            except OSError:
                return
            _, opcode, unique, _ = struct.unpack_from("<IIQQ", request)
            if opcode == _INIT:
                body = struct.pack("<IIII", 7, 31, 0, 0) + struct.pack("<HHIIHHI", 1, 1, 4096, 1, 1, 0, 0) + bytes(28)
                self._answer(fd, unique, body)
            elif opcode == _GETATTR:
                attributes = struct.pack("<6Q10I", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)
                self._answer(fd, unique, struct.pack("<QII", 1, 0, 0) + attributes)
            elif opcode == _LOOKUP:
                self.asked.set()

    @staticmethod
    def _answer(fd: int, unique: int, body: bytes) -> None:
        os.write(fd, struct.pack("<IiQ", 16 + len(body), 0, unique) + body)
