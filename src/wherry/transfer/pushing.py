"""Push: an image of the store to any place."""

from __future__ import annotations

from wherry.oci import reference as references
from wherry.transfer import base, names
from wherry.transfer.storeimage import StoreSource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.oci.digest import Digest
    from wherry.registry.client import Client
    from wherry.registry.credentials import Credentials
    from wherry.store.store import Store
    from wherry.transfer.base import ImageSink, Observer


def push(
    store: Store,
    image: str,
    destination: str | ImageSink | None = None,
    *,
    client: Client | None = None,
    tls_verify: bool = True,
    credentials: Credentials | tuple[str, str] | None = None,
    auth_file: str | None = None,
    progress: Observer | None = None,
) -> Digest:
    """Push to `destination` (by default where the image's name says); the manifest's digest there.

    The manifest and its blobs go out byte for byte as they came in.
    """
    found = store.images.find(image)
    source = StoreSource(store, found)
    observer = progress or base.ignore
    if destination is None:
        destination = image
    with store.writing():
        if not isinstance(destination, str):
            return destination.write(source, source.root(), observer)
        transport, rest = names.split(destination)
        if transport != "docker":
            return names.sink(destination).write(source, source.root(), observer)
        from wherry.registry.client import Client
        from wherry.transfer.registry import RegistrySink

        reference = references.parse(rest)
        with client or Client(tls_verify=tls_verify, credentials=credentials, auth_file=auth_file) as used:
            sink = RegistrySink(used, reference, mount_from=_relatives(store, reference))
            digest = sink.write(source, source.root(), observer)
    _remember(store, str(reference), digest)
    return digest


def _relatives(store: Store, reference: references.Reference) -> list[str]:
    """Repositories of the same registry that we know, which may have the blobs already."""
    found = set()
    for image in store.images.list():
        for name in image.names:
            other = references.parse(name)
            if other.domain == reference.domain and other.repository != reference.repository:
                found.add(other.repository)
    return sorted(found)[:1]


def _remember(store: Store, name: str, digest: Digest) -> None:
    """A name that was pushed is known by the digest it was pushed with."""
    store.database.execute("UPDATE names SET target = ? WHERE digest = ? AND name = ?", (digest, digest, name))
