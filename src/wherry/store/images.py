"""Images: which manifests the store holds, under which names, and what stands on them."""

from __future__ import annotations

import time

from wherry.errors import FAILED_PRECONDITION, INVALID_ARGUMENT, NOT_FOUND, WherryError
from wherry.oci import digest as digests
from wherry.oci import reference as references
from wherry.oci.digest import Digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from wherry.oci.image import ImageConfig, Manifest
    from wherry.store.blobs import Blobs
    from wherry.store.database import Database

_COLUMNS = "digest, config, chain_id, size_bytes, created, architecture, os, variant, added"
_SHORT_ID = frozenset("0123456789abcdef")


class Image:
    """An image for one platform. Immutable.

    `id` is the digest of its configuration, `digest` that of its manifest; `names` are canonical references,
    `targets` what each of them named when it was pulled: the manifest itself or an index. `size_bytes` is
    that of the extracted layers.
    """

    __slots__ = (
        "architecture", "chain_id", "created", "digest", "id", "names", "os", "size_bytes", "targets", "variant",
    )  # fmt: skip

    id: Digest
    digest: Digest
    chain_id: str
    names: tuple[str, ...]
    targets: tuple[str, ...]
    size_bytes: int
    created: str
    architecture: str
    os: str
    variant: str

    def __init__(self, row: Sequence[Any], names: Sequence[tuple[str, str]]) -> None:
        digest, config, chain_id, size_bytes, created, architecture, system, variant = row[:8]
        values = {
            "id": Digest(config),
            "digest": Digest(digest),
            "chain_id": chain_id,
            "names": tuple(name for name, _ in names),
            "targets": tuple(target for _, target in names),
            "size_bytes": size_bytes,
            "created": created,
            "architecture": architecture,
            "os": system,
            "variant": variant,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an image cannot be changed: {name}")

    def __repr__(self) -> str:
        return f"Image({self.id[:19]!r}, names={self.names!r})"

    @property
    def repo_digests(self) -> tuple[str, ...]:
        """`repository@digest` for each name, as pulled or pushed."""
        found = {f"{_bare(name)}@{target}": None for name, target in zip(self.names, self.targets, strict=True)}
        return tuple(found)


class RemoveReport:
    """What `Images.remove` did: names taken away, and ids and layers deleted."""

    __slots__ = ("deleted", "untagged")

    def __init__(self, untagged: Sequence[str], deleted: Sequence[str]) -> None:
        self.untagged = tuple(untagged)
        self.deleted = tuple(deleted)


class Images:
    """The images of one store. `collect` frees what nothing refers to any more, if that is possible now."""

    def __init__(self, database: Database, blobs: Blobs, collect: Callable[[], Sequence[str]]) -> None:
        self._database = database
        self._blobs = blobs
        self._collect = collect

    def find(self, name: str) -> Image:
        """By name, name and digest, full or short id, or manifest digest; NOT_FOUND otherwise."""
        image = self._by_id(name) or self._by_name(name)
        if image is None:
            raise WherryError(NOT_FOUND, f"no such image: {name}", hint="pull it first")
        return image

    def get(self, digest: str) -> Image:
        """By manifest digest; NOT_FOUND."""
        row = self._database.query_one(f"SELECT {_COLUMNS} FROM images WHERE digest = ?", (digest,))
        if row is None:
            raise WherryError(NOT_FOUND, f"no such image: {digest}")
        return self._image(row)

    def list(self) -> list[Image]:
        """All images, the latest added first."""
        rows = self._database.query(f"SELECT {_COLUMNS} FROM images ORDER BY added DESC, digest")
        names: dict[str, list[tuple[str, str]]] = {}
        for name, digest, target in self._database.query("SELECT name, digest, target FROM names ORDER BY name"):
            names.setdefault(digest, []).append((name, target))
        return [Image(row, names.get(row[0], ())) for row in rows]

    def tag(self, image: Image, name: str) -> None:
        """Give the image a further name; another image loses it."""
        reference = references.parse(name)
        if reference.digest is not None:
            raise WherryError(INVALID_ARGUMENT, f"a tag must not have a digest: {name}")
        target = image.targets[0] if image.targets else image.digest
        self._database.execute("INSERT OR REPLACE INTO names VALUES (?, ?, ?)", (str(reference), image.digest, target))

    def untag(self, name: str) -> None:
        """Take a name away; NOT_FOUND. The image stays."""
        canonical = str(references.parse(name))
        if not self._database.execute("DELETE FROM names WHERE name = ?", (canonical,)):
            raise WherryError(NOT_FOUND, f"no such name: {name}")

    def record(self, manifest: Manifest, config: ImageConfig, chain_id: str, names: Sequence[tuple[str, str]]) -> Image:
        """Write down an image whose blobs and layers are in place; `names` are (canonical name, target)."""
        self._blobs.sync()
        with self._database.transaction() as connection:
            size = connection.execute(_SIZE, (chain_id,)).fetchone()[0]
            connection.execute(
                f"INSERT INTO images ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (digest) DO UPDATE SET added = excluded.added",
                (
                    manifest.digest,
                    manifest.config.digest,
                    chain_id,
                    size or 0,
                    config.created,
                    config.architecture,
                    config.os,
                    config.variant,
                    time.time(),
                ),
            )
            for name, target in names:
                connection.execute("INSERT OR REPLACE INTO names VALUES (?, ?, ?)", (name, manifest.digest, target))
        return self.get(manifest.digest)

    def manifest(self, image: Image) -> Manifest:
        """The image's manifest, read and verified."""
        from wherry.oci import image as documents

        parsed = documents.parse_manifest(self._blobs.read(image.digest, documents.MANIFEST_LIMIT_BYTES))
        if not isinstance(parsed, documents.Manifest):
            raise WherryError(INVALID_ARGUMENT, f"{image.digest} is not an image's manifest")
        return parsed

    def config(self, image: Image) -> ImageConfig:
        """The image's configuration: what a container runs by default."""
        from wherry.oci import image as documents

        return documents.parse_config(self._blobs.read(image.id, documents.CONFIG_LIMIT_BYTES))

    def inspect(self, name: str) -> dict[str, Any]:
        """What `docker image inspect` shows."""
        from wherry.store.inspect import describe

        image = self.find(name)
        return describe(image, self.config(image))

    def remove(self, name: str, *, force: bool = False) -> RemoveReport:
        """Take away a name, and the image itself with its last name.

        FAILED_PRECONDITION without `force` when an id has several names, or a container stands on the image;
        layers that containers stand on are kept even then.
        """
        image = self.find(name)
        canonical = _canonical(name)
        if canonical in image.names and len(image.names) > 1:
            self.untag(canonical)
            return RemoveReport([canonical], [])
        if len(image.names) > 1 and not force:
            raise WherryError(
                FAILED_PRECONDITION, f"image {name} has several names", hint="remove them one by one, or force"
            )
        if not force:
            self._refuse_used(image, name)
        self._database.execute("DELETE FROM images WHERE digest = ?", (image.digest,))
        return RemoveReport(image.names, [image.id, *self._collect()])

    def _refuse_used(self, image: Image, name: str) -> None:
        row = self._database.query_one(
            "SELECT container, (SELECT count(*) FROM images WHERE images.chain_id = snapshots.chain_id)"
            " FROM snapshots WHERE chain_id = ?",
            (image.chain_id,),
        )
        if row is not None and row[1] == 1:
            raise WherryError(
                FAILED_PRECONDITION,
                f"image {name} is in use by container {row[0][:12]}",
                hint="remove the container first, or force",
            )

    def _by_id(self, text: str) -> Image | None:
        if digests.is_digest(text):
            row = self._database.query_one(
                f"SELECT {_COLUMNS} FROM images WHERE config = ? OR digest = ? ORDER BY added DESC", (text, text)
            )
            return self._image(row) if row else None
        text = text.removeprefix("sha256:")
        if not 4 <= len(text) <= 64 or not _SHORT_ID.issuperset(text):
            return None
        rows = self._database.query(
            f"SELECT {_COLUMNS} FROM images WHERE config >= ? AND config < ? ORDER BY added DESC",
            (f"sha256:{text}", f"sha256:{text}g"),
        )
        if len({row[1] for row in rows}) > 1:
            # A name of only hexadecimal letters is possible as well, and then meant.
            named = self._by_name(text)
            if named is None:
                raise WherryError(INVALID_ARGUMENT, f"image id {text} is ambiguous")
            return named
        return self._image(rows[0]) if rows else None

    def _by_name(self, text: str) -> Image | None:
        reference = references.parse(text)
        row = self._database.query_one(
            f"SELECT {_COLUMNS} FROM images WHERE digest = (SELECT digest FROM names WHERE name = ?)",
            (str(reference),),
        )
        if row is None and reference.digest is not None:
            row = self._database.query_one(
                f"SELECT {_COLUMNS} FROM images WHERE digest = (SELECT digest FROM names WHERE"
                " (target = ?1 OR digest = ?1) AND (name LIKE ?2 || ':%' OR name LIKE ?2 || '@%') LIMIT 1)",
                (reference.digest, reference.name),
            )
        return self._image(row) if row else None

    def _image(self, row: Sequence[Any]) -> Image:
        names = self._database.query("SELECT name, target FROM names WHERE digest = ? ORDER BY name", (row[0],))
        return Image(row, [(name, target) for name, target in names])


_SIZE = """
    WITH RECURSIVE stack (size_bytes, parent) AS (
        SELECT size_bytes, parent FROM layers WHERE chain_id = ?
        UNION ALL
        SELECT layers.size_bytes, layers.parent FROM layers JOIN stack ON layers.chain_id = stack.parent
    )
    SELECT sum(size_bytes) FROM stack
"""


def _canonical(name: str) -> str:
    try:
        return str(references.parse(name))
    except WherryError:
        return ""


def _bare(name: str) -> str:
    """The name without tag and digest."""
    return references.parse(name).name
