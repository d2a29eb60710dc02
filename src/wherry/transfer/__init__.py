"""Images between registries, layouts, archives and the store."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.transfer.base import ImageSink, ImageSource, Progress
    from wherry.transfer.importing import import_tarball
    from wherry.transfer.loading import load, save
    from wherry.transfer.names import sink, source
    from wherry.transfer.pulling import pull, pull_from
    from wherry.transfer.pushing import push

__all__ = [
    "ImageSink",
    "ImageSource",
    "Progress",
    "import_tarball",
    "load",
    "pull",
    "pull_from",
    "push",
    "save",
    "sink",
    "source",
]

_HOMES = {
    "ImageSink": "base",
    "ImageSource": "base",
    "Progress": "base",
    "import_tarball": "importing",
    "load": "loading",
    "save": "loading",
    "sink": "names",
    "source": "names",
    "pull": "pulling",
    "pull_from": "pulling",
    "push": "pushing",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{home}"), name)
