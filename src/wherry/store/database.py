"""The one SQLite file of a root directory, shared by every layer that keeps metadata there.

Guarantees: write-ahead log with full synchronisation, so what `transaction` has committed survives a power
cut; a connection per thread, so the object may be used from any; writers wait for each other.

Beside the file lies a reserve of disk space: on a full disk it is given up, so that containers and images can
still be listed, stopped and removed. It is laid by again as soon as there is room.
"""

from __future__ import annotations

import posix
from _sqlite3 import DatabaseError, IntegrityError, OperationalError, connect
from _thread import _local, allocate_lock

from wherry.errors import (
    DATA_LOSS,
    FAILED_PRECONDITION,
    INTERNAL,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    WherryError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection
    from types import TracebackType
    from typing import Any

BUSY_TIMEOUT_S = 60.0
RESERVE_BYTES = 256 << 10  # the log's index (32 KiB) and the transactions of a few removals
_VERSIONS = "CREATE TABLE IF NOT EXISTS schema_versions (layer TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT"


class Database:
    """`path` is created when it does not exist."""

    __slots__ = ("_connections", "_local", "_lock", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._local = _local()
        self._lock = allocate_lock()
        self._connections: list[Connection] = []

    def migrate(self, layer: str, scripts: Sequence[str]) -> None:
        """Run those of `scripts` that have not run yet for `layer`, in one transaction.

        The list only ever grows at its end. FAILED_PRECONDITION when the file was written by a newer version.
        """
        version = self._version(layer)
        if version > len(scripts):
            raise WherryError(
                FAILED_PRECONDITION,
                f"the {layer} tables are of version {version}, newer than the {len(scripts)} known here",
                hint="use a newer wherry",
                path=self.path,
            )
        if version == len(scripts):
            return
        with self.transaction() as connection:
            connection.execute(_VERSIONS)
            version = self._version(layer)
            for script in scripts[version:]:
                for statement in split_script(script):
                    connection.execute(statement)
            connection.execute("INSERT OR REPLACE INTO schema_versions VALUES (?, ?)", (layer, len(scripts)))

    def transaction(self, *, durable: bool = True) -> Transaction:
        """A context manager giving a connection; nested use on one thread joins the outer transaction.

        What is not `durable` may be lost in a power cut (never in a crash of a program), up to the next
        transaction that is.
        """
        return Transaction(self, durable=durable)

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows."""
        try:
            return self.connection().execute(sql, parameters).fetchall()
        except DatabaseError as error:
            raise self.translate(error) from error

    def query_one(self, sql: str, parameters: Sequence[object] = ()) -> tuple[Any, ...] | None:
        """The first row, or None."""
        rows = self.query(sql, parameters)
        return rows[0] if rows else None

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """One statement in a transaction of its own (or the current one); how many rows it changed."""
        with self.transaction() as connection:
            return connection.execute(sql, parameters).rowcount

    def connection(self) -> Connection:
        """The calling thread's connection."""
        existing: Connection | None = getattr(self._local, "connection", None)
        if existing is not None:
            return existing
        connection = self._connect()
        self._local.connection = connection
        with self._lock:
            self._connections.append(connection)
        return connection

    def close(self) -> None:
        """Close the connections of all threads; the object opens new ones when used again."""
        with self._lock:
            connections, self._connections = self._connections, []
            self._local = _local()
        for connection in connections:
            connection.close()

    def _connect(self) -> Connection:
        try:
            connection = self._open()
        except DatabaseError as error:
            if not (self._is_unwritable(error) or (_is_full(error) and self._give_up_reserve())):
                raise self.translate(error) from error
            try:
                return self._open(immutable=self._is_unwritable(error))
            except DatabaseError as again:
                raise self.translate(again) from again
        self._lay_by_reserve()
        return connection

    def _is_unwritable(self, error: DatabaseError) -> bool:
        """Whether nobody can be writing (a read-only file system) and all is in the one file."""
        if not _name(error).startswith("SQLITE_CANTOPEN") or posix.access(f"{self.path}-wal", posix.F_OK):
            return False
        return posix.access(self.path, posix.R_OK) and not posix.access(self.path, posix.W_OK)

    def _open(self, *, immutable: bool = False) -> Connection:
        place = self.path
        if immutable:
            from urllib.parse import quote

            place = f"file:{quote(place)}?immutable=1"
        connection = connect(
            place, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, uri=immutable
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
        except DatabaseError:
            connection.close()
            raise
        return connection

    @property
    def _reserve(self) -> str:
        return f"{self.path}-reserve"

    def _lay_by_reserve(self) -> None:
        if posix.access(self._reserve, posix.F_OK):
            return
        try:
            flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
            fd = posix.open(self._reserve, flags, 0o600)
        except OSError:
            return
        try:
            posix.posix_fallocate(fd, 0, RESERVE_BYTES)
        except OSError:
            self._give_up_reserve()
        finally:
            posix.close(fd)

    def _give_up_reserve(self) -> bool:
        try:
            posix.unlink(self._reserve)
        except OSError:
            return False
        return True

    def _version(self, layer: str) -> int:
        try:
            row = self.connection().execute("SELECT version FROM schema_versions WHERE layer=?", (layer,)).fetchone()
        except OperationalError:
            return 0  # the table itself is not there yet
        except DatabaseError as error:
            raise self.translate(error) from error
        return int(row[0]) if row else 0

    def translate(self, error: DatabaseError) -> WherryError:
        """The error to raise instead; on a full disk the reserve is given up for whoever makes room."""
        text = str(error)
        name = _name(error)
        if "locked" in text or "busy" in text:
            return WherryError(UNAVAILABLE, f"the store is busy: {text}", hint="try again", path=self.path)
        if "malformed" in text or "not a database" in text:
            return WherryError(DATA_LOSS, f"the store's database is damaged: {text}", path=self.path)
        if _is_full(error):
            self._give_up_reserve()
            hint = "free some: wherry rm, wherry rmi, or what else fills the disk"
            return WherryError(
                RESOURCE_EXHAUSTED, "no space is left for the store's database", hint=hint, path=self.path
            )
        if name.startswith("SQLITE_READONLY"):
            hint = "mount its file system writable, or set the owner and mode of the file right"
            return WherryError(FAILED_PRECONDITION, "the store's database cannot be written", hint=hint, path=self.path)
        if name.startswith("SQLITE_CANTOPEN"):
            return WherryError(PERMISSION_DENIED, "the store's database cannot be opened", path=self.path)
        return WherryError(INTERNAL, f"the store's database refused a statement: {text}", path=self.path)


def _name(error: DatabaseError) -> str:
    name: str = getattr(error, "sqlite_errorname", "")
    return name


def _is_full(error: DatabaseError) -> bool:
    """Whether the disk has no room. The shared index of the log reports that as an error of input and output."""
    return _name(error) in ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")


class Transaction:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK when the block raises.

    What the database refuses leaves the outermost block as a WherryError; an IntegrityError stays what it is.
    """

    __slots__ = ("_database", "_durable", "_outermost")

    def __init__(self, database: Database, *, durable: bool) -> None:
        self._database = database
        self._durable = durable
        self._outermost = False

    def __enter__(self) -> Connection:
        connection = self._database.connection()
        self._outermost = not connection.in_transaction
        if self._outermost:
            try:
                if not self._durable:
                    connection.execute("PRAGMA synchronous=NORMAL")
                connection.execute("BEGIN IMMEDIATE")
            except DatabaseError as error:
                raise self._database.translate(error) from error
        return connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._outermost:
            return
        connection = self._database.connection()
        try:
            self._end(connection, keep=error is None)
        except DatabaseError as refused:
            raise self._database.translate(refused) from refused
        if isinstance(error, DatabaseError) and not isinstance(error, IntegrityError):
            raise self._database.translate(error) from error

    def _end(self, connection: Connection, *, keep: bool) -> None:
        try:
            if keep:
                connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if not self._durable:
                connection.execute("PRAGMA synchronous=FULL")


def split_script(script: str) -> list[str]:
    """Statements of an SQL script (executescript would commit in between)."""
    from _sqlite3 import complete_statement

    statements: list[str] = []
    pending = ""
    for part in script.split(";"):
        pending += part + ";"
        if complete_statement(pending):
            if pending.strip("; \n\t"):
                statements.append(pending.strip())
            pending = ""
    return statements
