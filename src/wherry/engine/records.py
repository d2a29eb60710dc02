"""What the database knows of containers. The kernel and the monitor's files are the truth about running ones.

A record's state is an intent, written before the work it speaks of:

    creating   being made by process `owner`; if that is dead, whatever exists of it is removed
    created    complete, never started since it was made
    started    handed to a monitor in this boot; the monitor's folder says what became of it
    exited     over; exit_code and the times are final
    removing   being removed; whoever finds it finishes the removal

Only what was acknowledged and cannot be found out again is written durably (see `Database.transaction`): that a
container is complete, how it ended, and that it is going to be removed, before anything of it is (the snapshot's
intent syncs the record with it). The log keeps the order, so what a power cut takes is always the latest.
"""

from __future__ import annotations

from _sqlite3 import IntegrityError

from wherry.errors import ALREADY_EXISTS, INVALID_ARGUMENT, NOT_FOUND, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from wherry.store.database import Database

CREATING, CREATED, STARTED, EXITED, REMOVING = "creating", "created", "started", "exited", "removing"

_SCHEMA = """
CREATE TABLE engine_containers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    image TEXT NOT NULL,
    image_id TEXT NOT NULL,
    state TEXT NOT NULL,
    owner TEXT NOT NULL DEFAULT '',
    boot TEXT NOT NULL DEFAULT '',
    created_ns INTEGER NOT NULL,
    started_at TEXT NOT NULL DEFAULT '',
    finished_at TEXT NOT NULL DEFAULT '',
    exit_code INTEGER NOT NULL DEFAULT 0,
    oom_killed INTEGER NOT NULL DEFAULT 0,
    restarts INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    launch TEXT NOT NULL DEFAULT '{}'
);
"""
_FIELDS = (
    "id", "name", "image", "image_id", "state", "owner", "boot", "created_ns", "started_at", "finished_at",
    "exit_code", "oom_killed", "restarts", "error", "launch",
)  # fmt: skip
_SELECT = f"SELECT {', '.join(_FIELDS)} FROM engine_containers "


class Record:
    """One row."""

    __slots__ = _FIELDS

    id: str
    name: str
    image: str
    image_id: str
    state: str
    owner: str
    boot: str
    created_ns: int
    started_at: str
    finished_at: str
    exit_code: int
    oom_killed: int
    restarts: int
    error: str
    launch: str

    def __init__(self, row: Sequence[Any]) -> None:
        for field, value in zip(_FIELDS, row, strict=True):
            setattr(self, field, value)


class Records:
    """The table of containers."""

    __slots__ = ("_database",)

    def __init__(self, database: Database) -> None:
        self._database = database
        database.migrate("engine", [_SCHEMA])

    def insert(self, *, container_id: str, name: str, image: str, image_id: str, created_ns: int, owner: str) -> None:
        """Reserve id and name. Raises WherryError (already exists) naming who has the name."""
        try:
            self._execute(
                "INSERT INTO engine_containers (id, name, image, image_id, state, owner, created_ns)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (container_id, name, image, image_id, CREATING, owner, created_ns),
                durable=False,
            )
        except IntegrityError as error:
            holder = self.find(name)
            raise WherryError(
                ALREADY_EXISTS,
                f"the container name {name!r} is already in use by {holder.id[:12]}",
                hint=f"choose another, or first: wherry rm {name}",
            ) from error

    def update(self, container_id: str, *, durable: bool = True, **values: str | int) -> None:
        """Set columns of a row."""
        assignments = ", ".join([f"{column} = ?" for column in values])
        sql = f"UPDATE engine_containers SET {assignments} WHERE id = ?"
        self._execute(sql, (*values.values(), container_id), durable=durable)

    def delete(self, container_id: str) -> None:
        """Forget a container; an unknown one is no error."""
        self._execute("DELETE FROM engine_containers WHERE id = ?", (container_id,), durable=False)

    def _execute(self, sql: str, parameters: Sequence[object], *, durable: bool) -> None:
        with self._database.transaction(durable=durable) as connection:
            connection.execute(sql, parameters)

    def every(self) -> list[Record]:
        """Every container, newest first."""
        return [Record(row) for row in self._database.query(_SELECT + "ORDER BY created_ns DESC")]

    def unsettled(self) -> list[Record]:
        """Rows whose state must be compared with the kernel."""
        rows = self._database.query(_SELECT + "WHERE state IN (?, ?, ?)", (CREATING, STARTED, REMOVING))
        return [Record(row) for row in rows]

    def get(self, container_id: str) -> Record | None:
        """The row with exactly this id."""
        row = self._database.query_one(_SELECT + "WHERE id = ?", (container_id,))
        return Record(row) if row else None

    def find(self, name_or_id: str) -> Record:
        """By name, id, or unambiguous start of an id. Raises WherryError (not found, invalid argument)."""
        row = self._database.query_one(_SELECT + "WHERE name = ? OR id = ?", (name_or_id, name_or_id))
        if row:
            return Record(row)
        rows = []
        if name_or_id and all(c in "0123456789abcdef" for c in name_or_id):
            rows = self._database.query(_SELECT + "WHERE id GLOB ? LIMIT 2", (name_or_id + "*",))
        if len(rows) > 1:
            raise WherryError(INVALID_ARGUMENT, f"more than one container id begins with {name_or_id}")
        if not rows:
            raise WherryError(NOT_FOUND, f"no such container: {name_or_id}", hint="wherry ps -a lists them")
        return Record(rows[0])
