"""`--cidfile`: a new file that holds the container's id."""

from __future__ import annotations

import os

from wherry.errors import ALREADY_EXISTS, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


class CidFile:
    """A context manager giving a function that writes the id; the file is made first and removed on failure."""

    __slots__ = ("_file", "_path")

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._file = -1

    def __enter__(self) -> CidFile:
        if self._path:
            try:
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            except FileExistsError:
                raise WherryError(ALREADY_EXISTS, f"container id file {self._path} exists", hint="remove it") from None
        return self

    def __call__(self, container_id: str) -> None:
        """Write the id."""
        if self._file >= 0:
            os.write(self._file, container_id.encode())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file >= 0:
            os.close(self._file)
            if error is not None and self._path:
                os.unlink(self._path)
