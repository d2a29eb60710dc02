"""Containers' writable layers: created on an image's layers, found again, measured and removed."""

from __future__ import annotations

import time

from wherry.errors import ALREADY_EXISTS, INVALID_ARGUMENT, NOT_FOUND, WherryError
from wherry.store.lock import StoreLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.store.base import ContainerRoot, Snapshotter, Usage
    from wherry.store.database import Database
    from wherry.store.layers import Layers
    from wherry.store.layout import Layout

_ID = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


class Snapshots:
    """The writable layers of one store, by container id."""

    def __init__(self, database: Database, layers: Layers, snapshotter: Snapshotter, paths: Layout) -> None:
        self._database = database
        self._layers = layers
        self._snapshotter = snapshotter
        self._paths = paths

    def create(self, container_id: str, chain_id: str) -> ContainerRoot:
        """A new writable layer on `chain_id` ("" is an empty file system).

        Durable from the caller's next durable transaction on, as the files in it are when they are synced.
        ALREADY_EXISTS; NOT_FOUND when the layers are not in the store.
        """
        _check(container_id)
        with StoreLock(self._paths.lock, exclusive=False):
            parents = self._layers.stack(chain_id)
            with self._database.transaction(durable=False) as connection:
                if connection.execute("SELECT 1 FROM snapshots WHERE container = ?", (container_id,)).fetchone():
                    raise WherryError(ALREADY_EXISTS, f"container {container_id} has a root already")
                intent = connection.execute(
                    "INSERT INTO intents (kind, subject) VALUES ('container', ?)", (container_id,)
                ).lastrowid
            try:
                root = self._snapshotter.create_container(container_id, parents)
                with self._database.transaction(durable=False) as connection:
                    connection.execute("INSERT INTO snapshots VALUES (?, ?, ?)", (container_id, chain_id, time.time()))
                    connection.execute("DELETE FROM intents WHERE id = ?", (intent,))
            except BaseException as error:
                if not (isinstance(error, WherryError) and error.code == ALREADY_EXISTS):
                    self._snapshotter.remove_container(container_id)
                self._database.execute("DELETE FROM intents WHERE id = ?", (intent,))
                raise
        return root

    def get(self, container_id: str) -> ContainerRoot:
        """An existing one; NOT_FOUND."""
        row = self._database.query_one("SELECT chain_id FROM snapshots WHERE container = ?", (container_id,))
        if row is None:
            raise WherryError(NOT_FOUND, f"container {container_id} has no root")
        return self._snapshotter.container(container_id, self._layers.stack(row[0]))

    def preview(self, container_id: str, chain_id: str) -> ContainerRoot:
        """What `create` would give, without making anything; NOT_FOUND when the layers are not in the store."""
        return self._snapshotter.container(container_id, self._layers.stack(chain_id), check=False)

    def exists(self, container_id: str) -> bool:
        """Whether the container has one."""
        return bool(self._database.query("SELECT 1 FROM snapshots WHERE container = ?", (container_id,)))

    def list(self) -> list[str]:
        """All container ids."""
        return [row[0] for row in self._database.query("SELECT container FROM snapshots ORDER BY created")]

    def remove(self, container_id: str) -> None:
        """Remove it with everything written; nothing there is no error. Its mounts must be gone.

        The intent is durable before anything is removed: after a power cut the removal is finished.
        """
        _check(container_id)
        with StoreLock(self._paths.lock, exclusive=False):
            with self._database.transaction() as connection:
                intent = connection.execute(
                    "INSERT INTO intents (kind, subject) VALUES ('removal', ?)", (container_id,)
                ).lastrowid
            assert intent is not None
            try:
                self._snapshotter.remove_container(container_id)
            except WherryError:  # still mounted: nothing has happened
                self._database.execute("DELETE FROM intents WHERE id = ?", (intent,))
                raise
            self._forget(intent, container_id)

    def usage(self, container_id: str) -> Usage:
        """What the container's own writes occupy."""
        return self._snapshotter.usage(self.get(container_id).upperdir)

    def repair_intent(self, intent: int, container_id: str, *, removal: bool) -> None:
        """Bring an interrupted creation or removal to its end."""
        if removal or not self.exists(container_id):
            self._snapshotter.remove_container(container_id)
            self._forget(intent, container_id)
        self._database.execute("DELETE FROM intents WHERE id = ?", (intent,))

    def _forget(self, intent: int, container_id: str) -> None:
        with self._database.transaction(durable=False) as connection:
            connection.execute("DELETE FROM snapshots WHERE container = ?", (container_id,))
            connection.execute("DELETE FROM intents WHERE id = ?", (intent,))


def _check(container_id: str) -> None:
    if not 0 < len(container_id) <= 128 or container_id[0] in ".-" or not _ID.issuperset(container_id):
        raise WherryError(INVALID_ARGUMENT, f"not a container id: {container_id!r}")
