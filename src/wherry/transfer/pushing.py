"""Push: an image of the store to any place."""

from __future__ import annotations

from wherry.oci import reference as references
from wherry.transfer import base
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
    with store.writing():
        if destination is None:
            destination = image
        if isinstance(destination, str):
            sink = _sink(store, destination, client, tls_verify, credentials, auth_file)
        else:
            sink = destination
        digest = sink.write(source, source.root(), progress or base.ignore)
    _remember(store, destination, found.digest)
    return digest


def _sink(
    store: Store,
    destination: str,
    client: Client | None,
    tls_verify: bool,
    credentials: Credentials | tuple[str, str] | None,
    auth_file: str | None,
) -> ImageSink:
    from wherry.transfer import names

    transport, rest = names.split(destination)
    if transport != "docker":
        return names.sink(destination)
    from wherry.registry.client import Client
    from wherry.transfer.registry import RegistrySink

    reference = references.parse(rest)
    client = client or Client(tls_verify=tls_verify, credentials=credentials, auth_file=auth_file)
    return RegistrySink(client, reference, mount_from=_relatives(store, reference))


def _relatives(store: Store, reference: references.Reference) -> list[str]:
    """Repositories of the same registry that we know, which may have the blobs already."""
    found = set()
    for image in store.images.list():
        for name in image.names:
            other = references.parse(name)
            if other.domain == reference.domain and other.repository != reference.repository:
                found.add(other.repository)
    return sorted(found)[:1]


def _remember(store: Store, destination: str | ImageSink, digest: Digest) -> None:
    """A name that was pushed is known by the digest it was pushed with."""
    if isinstance(destination, str):
        store.database.execute(
            "UPDATE names SET target = ? WHERE digest = ? AND name = ?", (digest, digest, _canonical(destination))
        )


def _canonical(destination: str) -> str:
    from wherry.transfer import names

    transport, rest = names.split(destination)
    return str(references.parse(rest)) if transport == "docker" else ""
