"""A container that exists, for the Python verbs that look at it or change it: update, events, checkpoint."""

from __future__ import annotations

import os
from fcntl import LOCK_EX, flock

from wherry.errors import FAILED_PRECONDITION, NOT_FOUND, WherryError
from wherry.oci import config
from wherry.plan.decode import decode
from wherry.runtime.cgroup.container import Groups, container_groups
from wherry.runtime.state_folder import check_id, read_state, start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Existing:
    """Its folder, document and plan as they are now; `pid` is 0 when it is stopped or not yet created."""

    __slots__ = ("document", "folder", "id", "pid", "plan")

    def __init__(self, root: str, container_id: str) -> None:
        check_id(container_id)
        self.id = container_id
        self.folder = f"{root}/{container_id}"
        state, plan = read_state(root, container_id)
        self.plan = decode(plan)
        self.document = config.load(f"{self.folder}/config.json")
        pid = state.get("pid")
        alive = isinstance(pid, int) and start_time(pid) == state.get("startTime")
        self.pid = pid if isinstance(pid, int) and alive else 0

    def require_live(self) -> None:
        """Raises WherryError(FAILED_PRECONDITION) for a stopped container."""
        if not self.pid:
            raise WherryError(FAILED_PRECONDITION, f"container not running: {self.id}")

    def groups(self) -> Groups:
        """Its control groups."""
        return container_groups(self.plan)

    def save_document(self, document: dict[str, Any]) -> None:
        """Replace config.json, durably and at once."""
        import json

        path = f"{self.folder}/config.json"
        draft = f"{path}.new"
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(draft, path)
        self.document = document


class Locked:
    """Holds the container's lock (`with`), so that no other verb changes it meanwhile."""

    __slots__ = ("_fd", "_path")

    def __init__(self, root: str, container_id: str) -> None:
        check_id(container_id)
        self._path = f"{root}/{container_id}/lock"
        self._fd = -1

    def __enter__(self) -> Locked:
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            flock(self._fd, LOCK_EX)
            gone = os.fstat(self._fd).st_nlink == 0
        except FileNotFoundError:
            gone = True
        if gone:
            name = self._path.split("/")[-2]
            raise WherryError(NOT_FOUND, f"container does not exist: {name}")
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
