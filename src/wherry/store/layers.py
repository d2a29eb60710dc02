"""Layers applied once and shared by every image that has them, known by chain id.

Adding one: an intent is recorded, the archive extracted to a temporary directory, its diff id compared, the
directory renamed, and the layer's row written in the transaction that ends the intent. Whatever moment that
is cut short at, `repair` brings back the state before. None of it waits for the disk: the image's record does,
which comes last, and with it everything before becomes durable.
"""

from __future__ import annotations

import time

from wherry.errors import DATA_LOSS, NOT_FOUND, WherryError
from wherry.oci.digest import Digest
from wherry.store import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wherry.oci.digest import Data, Verifier
    from wherry.store.base import Applied, Snapshotter
    from wherry.store.blobs import Blobs
    from wherry.store.database import Database
    from wherry.store.extract import Limits

_SETTLED_AFTER_S = 120.0  # the kernel writes back within half a minute by default
_UNKNOWN = Digest("")
_STACK = """
    WITH RECURSIVE stack (id, parent, depth) AS (
        SELECT id, parent, 0 FROM layers WHERE chain_id = ?
        UNION ALL
        SELECT layers.id, layers.parent, depth + 1 FROM layers JOIN stack ON layers.chain_id = stack.parent
    )
    SELECT id FROM stack ORDER BY depth DESC
"""


class Layer:
    """A committed layer. Sizes: files as extracted, and the uncompressed archive."""

    __slots__ = ("archive_bytes", "blob", "chain_id", "diff_id", "inodes", "key", "parent", "size_bytes")

    def __init__(
        self,
        key: int,
        chain_id: str,
        parent: str | None,
        diff_id: str,
        blob: str,
        size_bytes: int,
        inodes: int,
        archive_bytes: int,
    ) -> None:
        self.key = key
        self.chain_id = Digest(chain_id)
        self.parent = Digest(parent) if parent else None
        self.diff_id = Digest(diff_id)
        self.blob = Digest(blob)
        self.size_bytes = size_bytes
        self.inodes = inodes
        self.archive_bytes = archive_bytes


class Staged:
    """A layer extracted and verified, but not yet in place."""

    __slots__ = ("applied", "archive_bytes", "blob", "chain_id", "diff_id", "key")

    def __init__(self, key: int, chain_id: Digest | None, diff_id: Digest | None, blob: Digest | None) -> None:
        self.key = key
        self.chain_id = chain_id or _UNKNOWN
        self.diff_id = diff_id or _UNKNOWN
        self.blob = blob or _UNKNOWN
        self.archive_bytes = 0
        self.applied: Applied | None = None


class Layers:
    """The layers of one store. Callers hold the store's lock, shared, from `stage` to `commit`."""

    def __init__(self, database: Database, snapshotter: Snapshotter, blobs: Blobs) -> None:
        self._database = database
        self._snapshotter = snapshotter
        self._blobs = blobs

    @property
    def parallel(self) -> bool:
        """Whether layers may be staged before their parents are committed."""
        return self._snapshotter.parallel

    def find(self, chain_id: str) -> Layer | None:
        """The committed layer, or None."""
        row = self._database.query_one(
            "SELECT id, chain_id, parent, diff_id, blob, size_bytes, inodes, archive_bytes"
            " FROM layers WHERE chain_id = ?",
            (chain_id,),
        )
        return Layer(*row) if row else None

    def stack(self, chain_id: str) -> list[int]:
        """Keys of a layer and all below it, bottom first; NOT_FOUND. Empty for the empty chain id."""
        if not chain_id:
            return []
        rows = self._database.query(_STACK, (chain_id,))
        if not rows:
            raise WherryError(NOT_FOUND, f"layer {chain_id} is not in the store", hint="pull the image again")
        return [row[0] for row in rows]

    def stage(
        self,
        chain_id: Digest | None,
        parent: Digest | None,
        diff_id: Digest | None,
        blob: Digest | None,
        chunks: Iterable[Data],
        *,
        hashed: Verifier | None = None,
        limits: Limits | None = None,
    ) -> Staged:
        """Extract the uncompressed archive in `chunks`, whose digest must turn out as `diff_id`.

        What is not known beforehand is None; chain id and diff id are then set by what the archive turns out to
        be, and the caller sets `blob` before `commit`. `hashed` is given when the caller hashes the chunks
        already, in a thread of its own; it must have seen them all when they end. On any error nothing is left.
        """
        from wherry.oci import image
        from wherry.oci.digest import Verifier
        from wherry.store import extract

        verifier = hashed
        if verifier is None:
            verifier = Verifier(algorithm=diff_id.algorithm if diff_id else "sha256")
            chunks = _hash(chunks, verifier)
        parents = [] if self.parallel or parent is None else self.stack(parent)
        staged = Staged(self._intend("layer", chain_id or ""), chain_id, diff_id, blob)
        try:
            target = self._snapshotter.prepare(staged.key, parents, base=parent is None)
            try:
                staged.applied = extract.extract(target, chunks, limits)
            finally:
                target.close()
            actual = verifier.digest()
            if diff_id is not None and actual != diff_id:
                raise WherryError(DATA_LOSS, f"layer {blob}: its contents are {actual}, not {diff_id}")
            staged.diff_id = actual
            if chain_id is None:
                staged.chain_id = image.chain_ids([parent, actual] if parent is not None else [actual])[-1]
            staged.archive_bytes = verifier.size_bytes
        except BaseException:
            self.discard(staged)
            raise
        return staged

    def commit(self, staged: Staged, parent: Digest | None) -> Layer:
        """Put a staged layer in its place; its parent is committed. Another's equal layer wins over ours."""
        try:
            if self.find(staged.chain_id) is None:
                assert staged.applied is not None
                self._snapshotter.commit(staged.key, self.stack(parent or ""), staged.applied)
                self._record(staged, parent)
        except BaseException:
            self.discard(staged)
            raise
        layer = self.find(staged.chain_id)
        assert layer is not None
        if layer.key != staged.key:
            self.discard(staged)
        return layer

    def _record(self, staged: Staged, parent: Digest | None) -> None:
        assert staged.applied is not None
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                "INSERT INTO layers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    staged.key,
                    staged.chain_id,
                    parent,
                    staged.diff_id,
                    staged.blob,
                    staged.applied.size_bytes,
                    staged.applied.entries,
                    staged.archive_bytes,
                    layout.boot_id(),
                    time.time(),
                ),
            )
            owner = connection.execute("SELECT id FROM layers WHERE chain_id = ?", (staged.chain_id,)).fetchone()
            if owner[0] == staged.key:
                connection.execute("DELETE FROM intents WHERE id = ?", (staged.key,))

    def discard(self, staged: Staged) -> None:
        """Throw a staged layer away."""
        self._snapshotter.discard(staged.key)
        self._forget(staged.key)

    def remove(self, layer: Layer) -> None:
        """Remove a committed layer that nothing stands on; the caller holds the exclusive lock."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM layers WHERE id = ?", (layer.key,))
            connection.execute("INSERT INTO intents VALUES (?, 'layer', ?)", (layer.key, layer.chain_id))
        self._snapshotter.discard(layer.key)
        self._forget(layer.key)

    def list(self) -> list[Layer]:
        """All layers, parents before children."""
        rows = self._database.query(
            "SELECT id, chain_id, parent, diff_id, blob, size_bytes, inodes, archive_bytes FROM layers"
        )
        layers = {row[1]: Layer(*row) for row in rows}
        ordered: dict[str, Layer] = {}
        for layer in layers.values():
            trail = [layer]
            while trail[-1].parent and trail[-1].parent not in ordered and trail[-1].parent in layers:
                trail.append(layers[trail[-1].parent])
            for item in reversed(trail):
                ordered[item.chain_id] = item
        return list(ordered.values())

    def missing(self, layer: Layer) -> bool:
        """Whether a recorded layer has lost its directory."""
        return not self._snapshotter.has(layer.key)

    def repair_intent(self, key: int) -> None:
        """Bring an interrupted addition or removal of a layer to its end."""
        if self._database.query_one("SELECT 1 FROM layers WHERE id = ?", (key,)) is None:
            self._snapshotter.discard(key)
        self._forget(key)

    def recover(self) -> None:
        """After a crash of the machine: apply again, from their blobs, the layers that may be incomplete.

        The caller holds the exclusive lock.
        """
        boot = layout.boot_id()
        doubtful = {
            row[0] for row in self._database.query("SELECT chain_id FROM layers WHERE boot NOT IN ('', ?)", (boot,))
        }
        if not doubtful:
            return
        for layer in self.list():
            # A flat layer holds its parents' files as well, so doubt spreads upwards.
            if layer.chain_id in doubtful or (not self.parallel and layer.parent in doubtful):
                doubtful.add(layer.chain_id)
                self._apply_again(layer)

    def _apply_again(self, layer: Layer) -> None:
        from wherry.store.compression import decompress

        if not self._blobs.has(layer.blob):
            raise WherryError(DATA_LOSS, f"layer {layer.chain_id} may be incomplete, and its blob {layer.blob} is gone")
        chunks = decompress(self._blobs.chunks(layer.blob))
        staged = self.stage(layer.chain_id, layer.parent, layer.diff_id, layer.blob, chunks)
        assert staged.applied is not None
        self._snapshotter.commit(staged.key, self.stack(layer.parent or ""), staged.applied)
        with self._database.transaction() as connection:
            connection.execute("PRAGMA defer_foreign_keys=ON")
            connection.execute(
                "UPDATE layers SET id = ?, boot = ? WHERE id = ?", (staged.key, layout.boot_id(), layer.key)
            )
            connection.execute("DELETE FROM intents WHERE id = ?", (staged.key,))
            connection.execute("INSERT INTO intents VALUES (?, 'layer', ?)", (layer.key, layer.chain_id))
        self._snapshotter.discard(layer.key)
        self._forget(layer.key)

    def make_durable(self, root: str, *, older_than_s: float = _SETTLED_AFTER_S) -> None:
        """Flush the file system and note so, for layers that the kernel has written back by itself by now.

        It is not done while a layer is added: its blob is durable, and `recover` can start from that.
        """
        limit = time.time() - older_than_s
        keys = self._database.query("SELECT id FROM layers WHERE boot != '' AND created <= ?", (limit,))
        if keys:
            _sync_file_system(root)
            with self._database.transaction() as connection:
                connection.executemany("UPDATE layers SET boot = '' WHERE id = ?", keys)

    def _intend(self, kind: str, subject: str) -> int:
        with self._database.transaction(durable=False) as connection:
            cursor = connection.execute("INSERT INTO intents (kind, subject) VALUES (?, ?)", (kind, subject))
            key = cursor.lastrowid
            assert key is not None
        # A power cut may have taken the row of a directory, and with it the memory of its number.
        self._snapshotter.discard(key)
        return key

    def _forget(self, key: int) -> None:
        with self._database.transaction(durable=False) as connection:
            connection.execute("DELETE FROM intents WHERE id = ?", (key,))


def _hash(chunks: Iterable[Data], verifier: Verifier) -> Iterator[Data]:
    for chunk in chunks:
        verifier.update(chunk)
        yield chunk


def _sync_file_system(path: str) -> None:
    import os
    from ctypes import CDLL, get_errno

    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if CDLL(None, use_errno=True).syncfs(fd):
            raise OSError(get_errno(), os.strerror(get_errno()), path)
    finally:
        os.close(fd)
