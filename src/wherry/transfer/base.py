"""Where images come from and go to, as two small interfaces. Nothing is read before it is asked for."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from wherry.oci.digest import Digest
    from wherry.oci.image import Descriptor, Document

    Observer = Callable[["Progress"], None]
else:
    Protocol = object


class Progress:
    """Something happened to `id` (a digest or a name). Sizes in bytes; `total` is 0 when not known.

    `kind` is `resolve`, `blob` or `image`; `status` one of `waiting`, `downloading`, `present`, `uploading`,
    `applied`, `done`.
    """

    __slots__ = ("current", "id", "kind", "status", "total")

    def __init__(self, kind: str, id: str, status: str, current: int = 0, total: int = 0) -> None:
        self.kind = kind
        self.id = id
        self.status = status
        self.current = current
        self.total = total

    def __repr__(self) -> str:
        return f"Progress({self.kind!r}, {self.id!r}, {self.status!r}, {self.current}/{self.total})"


class ImageSource(Protocol):
    """An image, or an index of several, somewhere. Used from several threads at once."""

    #: How messages call it.
    name: str

    def root(self) -> Document:
        """The manifest or index that is meant."""

    def document(self, descriptor: Descriptor) -> Document:
        """A manifest that an index refers to, verified."""

    def chunks(self, descriptor: Descriptor, offset: int = 0) -> Iterator[bytes]:
        """A blob from `offset` on. Not verified: whoever keeps it does that."""


class ImageSink(Protocol):
    """A place that takes an image as it is, blob by blob, and shows it only when it is complete."""

    name: str

    def write(self, source: ImageSource, root: Document, observer: Observer) -> Digest:
        """Copy `root` and everything it refers to; the digest under which it is there."""


def ignore(progress: Progress) -> None:
    """The observer that does not look."""
