"""Tables of the store in the shared database. The list only ever grows at its end."""

from __future__ import annotations

MIGRATIONS = [
    """
    CREATE TABLE settings (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT;
    -- Something is being made or removed outside of the database. The id is the layer's key.
    CREATE TABLE intents (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL
    ) STRICT;
    -- boot is empty once the files are known to be durable, else the boot they were written in.
    CREATE TABLE layers (
        id INTEGER PRIMARY KEY,
        chain_id TEXT NOT NULL UNIQUE,
        parent TEXT REFERENCES layers (chain_id),
        diff_id TEXT NOT NULL,
        blob TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        inodes INTEGER NOT NULL,
        archive_bytes INTEGER NOT NULL,
        boot TEXT NOT NULL,
        created REAL NOT NULL
    ) STRICT;
    CREATE INDEX layers_parent ON layers (parent);
    CREATE TABLE images (
        digest TEXT PRIMARY KEY,
        config TEXT NOT NULL,
        chain_id TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        created TEXT NOT NULL,
        architecture TEXT NOT NULL,
        os TEXT NOT NULL,
        variant TEXT NOT NULL,
        added REAL NOT NULL
    ) STRICT;
    CREATE INDEX images_config ON images (config);
    CREATE INDEX images_chain ON images (chain_id);
    CREATE TABLE names (
        name TEXT PRIMARY KEY,
        digest TEXT NOT NULL REFERENCES images (digest) ON DELETE CASCADE,
        target TEXT NOT NULL
    ) STRICT;
    CREATE INDEX names_digest ON names (digest);
    CREATE TABLE snapshots (
        container TEXT PRIMARY KEY,
        chain_id TEXT NOT NULL,
        created REAL NOT NULL
    ) STRICT;
    """,
]
