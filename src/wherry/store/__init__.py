"""Content-addressed storage: blobs, layers applied to disk, images by name, containers' writable layers."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.store.base import ContainerRoot, Mount, Snapshotter, Usage
    from wherry.store.database import Database
    from wherry.store.images import Image
    from wherry.store.store import Store

__all__ = ["ContainerRoot", "Database", "Image", "Mount", "Snapshotter", "Store", "Usage"]

_HOMES = {
    "ContainerRoot": "base",
    "Database": "database",
    "Image": "images",
    "Mount": "base",
    "Snapshotter": "base",
    "Store": "store",
    "Usage": "base",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(__import__(f"{__name__}.{home}", fromlist=[name]), name)
