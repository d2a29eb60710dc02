"""The store as a whole: opens (and where necessary repairs) one root directory and hands out its parts."""

from __future__ import annotations

from wherry.errors import FAILED_PRECONDITION, INVALID_ARGUMENT, WherryError
from wherry.store import layout, schema
from wherry.store.blobs import Blobs
from wherry.store.database import Database
from wherry.store.images import Images
from wherry.store.layers import Layers
from wherry.store.lock import StoreLock
from wherry.store.snapshots import Snapshots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.store.base import Snapshotter
    from wherry.store.garbage import GarbageReport
    from wherry.store.layout import Layout

DRIVERS = ("overlay", "copy")


class Store:
    """One root directory. Safe to use from several threads and several processes at once."""

    def __init__(self, paths: Layout, database: Database, snapshotter: Snapshotter) -> None:
        self.paths = paths
        self.root = paths.root
        self.database = database
        self.snapshotter = snapshotter
        self.blobs = Blobs(paths)
        self.layers = Layers(database, snapshotter, self.blobs)
        self.images = Images(database, self.blobs, self._collect_if_free)
        self.snapshots = Snapshots(database, self.layers, snapshotter, paths)

    @classmethod
    def open(cls, root: str | None = None, *, driver: str | None = None) -> Store:
        """Open the store at `root` (see `layout.default_root`), created when it is not there.

        `driver` (`overlay` or `copy`) may be given for a new store; by default overlay is tried.
        FAILED_PRECONDITION when an existing store uses another.
        """
        paths = layout.Layout(root or layout.default_root())
        database = Database(paths.database)
        try:
            chosen = _known_driver(paths, database)
            if chosen is None:
                chosen = _create(paths, database, driver)
            if driver is not None and driver != chosen:
                raise WherryError(FAILED_PRECONDITION, f"the store uses {chosen}, not {driver}", path=paths.root)
            store = cls(paths, database, _snapshotter(chosen, paths))
            store.repair()
        except BaseException:
            database.close()
            raise
        return store

    def close(self) -> None:
        """Close the database; the object may still be used."""
        self.database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def writing(self) -> StoreLock:
        """Hold this (a context manager) while adding anything: nothing is collected meanwhile."""
        return StoreLock(self.paths.lock, exclusive=False)

    def repair(self) -> None:
        """Finish or undo what was interrupted; idempotent. Left for later while others are writing."""
        if not self._needs_repair():
            return
        lock = StoreLock(self.paths.lock, exclusive=True)
        if not lock.acquire(wait=False):
            return
        try:
            for intent, kind, subject in self.database.query("SELECT id, kind, subject FROM intents"):
                if kind == "layer":
                    self.layers.repair_intent(intent)
                else:
                    self._repair_container(intent, subject, removal=kind == "removal")
            self.layers.recover()
        finally:
            lock.release()

    def _repair_container(self, intent: int, container_id: str, *, removal: bool) -> None:
        try:
            self.snapshots.repair_intent(intent, container_id, removal=removal)
        except WherryError as error:
            if error.code != FAILED_PRECONDITION:
                raise
            # It is mounted: somebody else's to undo. The intent stays until then.

    def _needs_repair(self) -> bool:
        query = "SELECT EXISTS (SELECT 1 FROM intents) OR EXISTS (SELECT 1 FROM layers WHERE boot NOT IN ('', ?))"
        row = self.database.query_one(query, (layout.boot_id(),))
        return bool(row and row[0])

    def gc(self) -> GarbageReport:
        """Free everything that is not referred to; waits until nobody is writing."""
        from wherry.store import garbage

        with StoreLock(self.paths.lock, exclusive=True):
            report = garbage.collect(self.database, self.layers, self.blobs, self.paths)
            self.layers.make_durable(self.root, older_than_s=0)
        return report

    def check(self, *, deep: bool = False) -> list[str]:
        """Problems found, as sentences; `deep` also hashes every blob. Waits until nobody is writing."""
        from wherry.store import check

        with StoreLock(self.paths.lock, exclusive=True):
            return check.check(self.database, self.layers, self.blobs, self.paths, deep=deep)

    def _collect_if_free(self) -> Sequence[str]:
        """Chain ids of the layers freed; nothing while somebody is writing: a later collection will do it."""
        from wherry.store import garbage

        lock = StoreLock(self.paths.lock, exclusive=True)
        if not lock.acquire(wait=False):
            return ()
        try:
            return garbage.collect(self.database, self.layers, self.blobs, self.paths, partial=False).layers
        finally:
            lock.release()


def _known_driver(paths: Layout, database: Database) -> str | None:
    """The driver of an existing store; None when there is none yet."""
    from os.path import exists

    if not exists(paths.database):
        return None
    database.migrate("store", schema.MIGRATIONS)
    row = database.query_one("SELECT value FROM settings WHERE name = 'driver'")
    return str(row[0]) if row else None


def _create(paths: Layout, database: Database, driver: str | None) -> str:
    if driver is not None and driver not in DRIVERS:
        raise WherryError(INVALID_ARGUMENT, f"no such driver: {driver!r}", hint=f"one of {', '.join(DRIVERS)}")
    paths.create()
    with StoreLock(paths.lock, exclusive=True):
        database.migrate("store", schema.MIGRATIONS)
        if driver is None:
            from wherry.store import overlay

            driver = "overlay" if overlay.supported(paths) else "copy"
        database.execute("INSERT INTO settings VALUES ('driver', ?) ON CONFLICT DO NOTHING", (driver,))
        row = database.query_one("SELECT value FROM settings WHERE name = 'driver'")
        assert row is not None
        return str(row[0])


def _snapshotter(driver: str, paths: Layout) -> Snapshotter:
    if driver == "overlay":
        from wherry.store.overlay import OverlaySnapshotter

        return OverlaySnapshotter(paths)
    from wherry.store.plaincopy import CopySnapshotter

    return CopySnapshotter(paths)
