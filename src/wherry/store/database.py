"""The one SQLite file of a root directory, shared by every layer that keeps metadata there.

Guarantees: write-ahead log with full synchronisation, so what `transaction` has committed survives a power
cut; a connection per thread, so the object may be used from any; writers wait for each other.
"""

from __future__ import annotations

from _sqlite3 import DatabaseError, OperationalError, connect
from _thread import _local, allocate_lock

from wherry.errors import DATA_LOSS, FAILED_PRECONDITION, INTERNAL, UNAVAILABLE, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection
    from types import TracebackType
    from typing import Any

BUSY_TIMEOUT_S = 60.0
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
            raise self._translate(error) from error

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
            connection = connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
        except DatabaseError as error:
            raise self._translate(error) from error
        return connection

    def _version(self, layer: str) -> int:
        try:
            row = self.connection().execute("SELECT version FROM schema_versions WHERE layer=?", (layer,)).fetchone()
        except OperationalError:
            return 0  # the table itself is not there yet
        except DatabaseError as error:
            raise self._translate(error) from error
        return int(row[0]) if row else 0

    def _translate(self, error: DatabaseError) -> WherryError:
        text = str(error)
        if "locked" in text or "busy" in text:
            return WherryError(UNAVAILABLE, f"the store is busy: {text}", hint="try again", path=self.path)
        if "malformed" in text or "not a database" in text:
            return WherryError(DATA_LOSS, f"the store's database is damaged: {text}", path=self.path)
        return WherryError(INTERNAL, f"the store's database refused a statement: {text}", path=self.path)


class Transaction:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK when the block raises."""

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
                raise self._database._translate(error) from error
        return connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._outermost:
            return
        connection = self._database.connection()
        if error is None:
            connection.execute("COMMIT")
        elif connection.in_transaction:
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
