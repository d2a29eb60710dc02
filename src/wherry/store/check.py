"""Look for what should not be: the store's promises, verified against the disk."""

from __future__ import annotations

import os

from wherry.oci.digest import Digest
from wherry.store import garbage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.store.blobs import Blobs
    from wherry.store.database import Database
    from wherry.store.layers import Layers
    from wherry.store.layout import Layout


def check(database: Database, layers: Layers, blobs: Blobs, paths: Layout, *, deep: bool) -> list[str]:
    """Problems as sentences; none is good. `deep` reads and hashes every blob."""
    problems = [f"database: {row[0]}" for row in database.query("PRAGMA integrity_check") if row[0] != "ok"]
    problems += [f"database: {row[0]} refers to nothing" for row in database.query("PRAGMA foreign_key_check")]
    problems += _check_layers(database, layers, paths)
    problems += _check_containers(database, paths)
    problems += _check_blobs(database, blobs, deep=deep)
    return problems


def _check_layers(database: Database, layers: Layers, paths: Layout) -> list[str]:
    problems = []
    known = layers.list()
    chain_ids = {layer.chain_id for layer in known}
    problems += [f"layer {layer.chain_id}: no directory" for layer in known if layers.missing(layer)]
    for chain_id, subject in database.query(
        "SELECT chain_id, 'image ' || digest FROM images"
        " UNION SELECT chain_id, 'container ' || container FROM snapshots"
    ):
        if chain_id and chain_id not in chain_ids:
            problems.append(f"{subject}: layer {chain_id} is not there")
    expected = {str(layer.key) for layer in known} | _intended(database, "layer")
    problems += [f"layer directory {name}: not recorded" for name in os.listdir(paths.layers) if name not in expected]
    return problems


def _check_containers(database: Database, paths: Layout) -> list[str]:
    recorded = {row[0] for row in database.query("SELECT container FROM snapshots")}
    there = set(os.listdir(paths.containers))
    problems = [f"container {name}: no directory" for name in sorted(recorded - there)]
    strange = there - recorded - _intended(database, "container")
    return problems + [f"container directory {name}: not recorded" for name in sorted(strange)]


def _check_blobs(database: Database, blobs: Blobs, *, deep: bool) -> list[str]:
    needed: dict[Digest, str] = garbage.referenced(database, blobs)
    problems = [
        f"image {owner}: blob {digest} is not there" for digest, owner in needed.items() if not blobs.has(digest)
    ]
    if deep:
        problems += [f"blob {digest}: damaged" for digest in blobs.list() if not blobs.verify(digest)]
    return problems


def _intended(database: Database, kind: str) -> set[str]:
    column, where = ("id", "=") if kind == "layer" else ("subject", "!=")
    return {str(row[0]) for row in database.query(f"SELECT {column} FROM intents WHERE kind {where} 'layer'")}
