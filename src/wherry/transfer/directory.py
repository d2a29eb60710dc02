"""`dir:DIRECTORY`: skopeo's directory of loose files, one image each."""

from __future__ import annotations

from pathlib import Path

from wherry.errors import DATA_LOSS, WherryError
from wherry.oci import image as documents
from wherry.transfer import files
from wherry.transfer.deliver import deliver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from wherry.oci.digest import Digest
    from wherry.oci.image import Descriptor, Document
    from wherry.transfer.base import ImageSource, Observer

_VERSION = b"Directory Transport Version: 1.1\n"


class DirectorySource:
    """The image in a directory."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.name = f"dir:{directory}"

    def root(self) -> Document:
        """`manifest.json`, whatever its kind."""
        return files.document_of(files.read_small(self.directory / "manifest.json", documents.MANIFEST_LIMIT_BYTES))

    def document(self, descriptor: Descriptor) -> Document:
        """A manifest of the index."""
        path = self.directory / f"{descriptor.digest.hex}.manifest.json"
        return files.read_document(path, descriptor, documents.MANIFEST_LIMIT_BYTES)

    def chunks(self, descriptor: Descriptor, offset: int = 0) -> Iterator[bytes]:
        """A file named after the digest."""
        return files.file_chunks(self.directory / descriptor.digest.hex, offset)


class DirectorySink:
    """An image in a directory, which is made when it is not there."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.name = f"dir:{directory}"

    def write(self, source: ImageSource, root: Document, observer: Observer) -> Digest:
        """Blobs, then the manifest. Blobs of an earlier attempt are used again."""
        self.directory.mkdir(parents=True, exist_ok=True)
        version = self.directory / "version"
        if version.exists():
            (self.directory / "manifest.json").unlink(missing_ok=True)
        elif any(self.directory.iterdir()):
            raise WherryError(DATA_LOSS, "the directory holds something else", path=str(self.directory))
        files.write_file(version, _VERSION)
        deliver(source, root, self, observer)
        return root.digest

    def put_blob(self, descriptor: Descriptor, read: Callable[[int], Iterable[bytes]]) -> bool:
        """A file named after the digest."""
        return files.write_blob(self.directory / descriptor.digest.hex, descriptor, read)

    def put_manifest(self, document: Document, *, top: bool) -> None:
        """`manifest.json`, or a name of its own for the parts of an index."""
        name = "manifest.json" if top else f"{document.digest.hex}.manifest.json"
        files.write_file(self.directory / name, document.raw)
