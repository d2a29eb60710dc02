"""Pull: from a source to an image in the store that is ready to run."""

from __future__ import annotations

import os
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from wherry.errors import CANCELLED, INVALID_ARGUMENT, NOT_FOUND, WherryError
from wherry.oci import image as documents
from wherry.oci import platform as platforms
from wherry.oci import reference as references
from wherry.oci.digest import Verifier
from wherry.oci.image import ImageConfig, Manifest
from wherry.transfer import base
from wherry.transfer.base import Progress
from wherry.transfer.pipeline import Cancel, LayerJob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from wherry.oci.digest import Digest
    from wherry.oci.image import Document
    from wherry.oci.platform import Platform
    from wherry.registry.client import Client
    from wherry.registry.credentials import Credentials
    from wherry.store.images import Image
    from wherry.store.layers import Staged
    from wherry.store.store import Store
    from wherry.transfer.base import ImageSource, Observer

POLICIES = ("always", "missing", "newer", "never")
INDEX_DEPTH = 3


def pull(
    store: Store,
    reference: str,
    *,
    client: Client | None = None,
    platform: Platform | str | None = None,
    tls_verify: bool = True,
    credentials: Credentials | tuple[str, str] | None = None,
    auth_file: str | None = None,
    policy: str = "always",
    workers: int = 0,
    progress: Observer | None = None,
) -> Image:
    """Pull an image from its registry.

    `reference` may be a bare name, `docker://NAME`, or any other transport (`oci:DIR:TAG` …). `policy`:
    `always` asks the registry, `missing` only when the store has no such image, `newer` falls back to what
    the store has when the registry cannot be asked, `never` does not ask.
    """
    from wherry.transfer import names

    if policy not in POLICIES:
        raise WherryError(INVALID_ARGUMENT, f"no such pull policy: {policy!r}", hint=f"one of {', '.join(POLICIES)}")
    wanted = platforms.parse(platform) if isinstance(platform, str) else platform
    transport, rest = names.split(reference)
    if transport != "docker":
        source = names.source(reference)
        return pull_from(store, source, platform=wanted, workers=workers, progress=progress)
    parsed = references.parse(rest)
    local = None if policy == "always" else find_local(store, str(parsed), wanted)
    if policy == "never" and local is None:
        raise WherryError(NOT_FOUND, f"no such image: {parsed.familiar()}", hint="pulling is turned off")
    if local is not None and policy in ("missing", "never"):
        return local
    from wherry.transfer.registry import RegistrySource

    with client or _client(tls_verify, credentials, auth_file) as used:
        source = RegistrySource(used, parsed)
        try:
            root = source.root()
        except WherryError:
            if local is None:
                raise
            return local
        return pull_from(
            store, source, root=root, names=[str(parsed)], platform=wanted, workers=workers, progress=progress
        )


def _client(tls_verify: bool, credentials: Credentials | tuple[str, str] | None, auth_file: str | None) -> Client:
    from wherry.registry.client import Client

    return Client(tls_verify=tls_verify, credentials=credentials, auth_file=auth_file)


def find_local(store: Store, name: str, platform: Platform | None) -> Image | None:
    """The store's image of that name, if it is for that platform."""
    try:
        image = store.images.find(name)
    except WherryError:
        return None
    if platform is not None:
        offered = platforms.Platform(image.os, image.architecture, image.variant)
        if platforms.rank(platform, offered) is None:
            return None
    return image


def pull_from(
    store: Store,
    source: ImageSource,
    *,
    root: Document | None = None,
    names: Sequence[str] = (),
    platform: Platform | None = None,
    workers: int = 0,
    progress: Observer | None = None,
) -> Image:
    """The same from any source; `names` are canonical references to give the image."""
    observer = _serial(progress) if progress is not None else base.ignore
    root = root or source.root()
    observer(Progress("resolve", source.name, "done"))
    with store.writing():
        store.layers.make_durable(store.root)
        kept = [root]
        manifest = _choose(source, root, platform or platforms.host(), kept, depth=INDEX_DEPTH)
        config = _fetch_config(store, source, manifest)
        _check_platform(source, config, platform)
        chain_id = _apply_layers(store, source, manifest, config, workers or default_workers(), observer)
        for document in kept:
            store.blobs.put(document.raw, document.digest.algorithm)
        store.blobs.put(manifest.raw)  # by the digest it is recorded under, whatever it was asked for by
        targets = [(name, str(root.digest)) for name in names]
        image = store.images.record(manifest, config, chain_id, targets)
    observer(Progress("image", image.id, "done"))
    return image


def default_workers() -> int:
    """Layers side by side: one more than processors, since each waits for its source now and then."""
    return min(len(os.sched_getaffinity(0)) + 1, 6)


def _choose(
    source: ImageSource, document: Document, platform: Platform, kept: list[Document], *, depth: int
) -> Manifest:
    """Down the indexes to the manifest for the platform; `kept` collects what is passed."""
    parsed = documents.parse_manifest(document.raw, document.media_type)
    if isinstance(parsed, Manifest):
        return parsed
    if not depth:
        raise WherryError(INVALID_ARGUMENT, f"{source.name}: indexes are nested too deeply")
    child = source.document(parsed.select(platform))
    kept.append(child)
    return _choose(source, child, platform, kept, depth=depth - 1)


def _fetch_config(store: Store, source: ImageSource, manifest: Manifest) -> ImageConfig:
    """The configuration, verified and kept; INVALID_ARGUMENT when it does not fit the manifest."""
    descriptor = manifest.config
    if descriptor.size_bytes > documents.CONFIG_LIMIT_BYTES:
        raise WherryError(INVALID_ARGUMENT, f"an image config of {descriptor.size_bytes} bytes is too large")
    if not store.blobs.has(descriptor.digest):
        raw = b""
        for chunk in source.chunks(descriptor):
            raw += chunk
            if len(raw) > descriptor.size_bytes:
                break
        verifier = Verifier(descriptor.digest)
        verifier.update(raw)
        verifier.check("the image's config")
        store.blobs.put(raw, descriptor.digest.algorithm)
    config = documents.parse_config(store.blobs.read(descriptor.digest, documents.CONFIG_LIMIT_BYTES))
    if len(config.diff_ids) != len(manifest.layers):
        raise WherryError(
            INVALID_ARGUMENT,
            f"{source.name}: {len(manifest.layers)} layers, but the config names {len(config.diff_ids)}",
            hint="this may be an artifact and no image",
        )
    return config


def _check_platform(source: ImageSource, config: ImageConfig, platform: Platform | None) -> None:
    """An image without an index may be of another platform than was asked for: NOT_FOUND then."""
    if platform is None or not config.os or not config.architecture:
        return
    if platforms.rank(platform, config.platform) is None:
        raise WherryError(
            NOT_FOUND, f"{source.name}: no image for platform {platform}", hint=f"it is {config.platform}"
        )


def _apply_layers(
    store: Store,
    source: ImageSource,
    manifest: Manifest,
    config: ImageConfig,
    workers: int,
    observer: Observer,
) -> str:
    """Stage side by side, commit bottom to top; the image's chain id."""
    chain = documents.chain_ids(config.diff_ids)
    cancel = Cancel()
    jobs = [
        LayerJob(
            store,
            source,
            descriptor,
            chain_id=chain[number],
            parent=chain[number - 1] if number else None,
            diff_id=config.diff_ids[number],
            observer=observer,
            cancel=cancel,
        )
        for number, descriptor in enumerate(manifest.layers)
    ]
    if store.layers.parallel:
        _side_by_side(store, jobs, manifest, chain, workers, cancel)
    else:
        for number, job in enumerate(jobs):
            _commit(store, job.run(), chain, number)
    return str(chain[-1]) if chain else ""


def _side_by_side(
    store: Store,
    jobs: Sequence[LayerJob],
    manifest: Manifest,
    chain: Sequence[Digest],
    workers: int,
    cancel: Cancel,
) -> None:
    # The largest first: the last to end should be small.
    order = sorted(range(len(jobs)), key=lambda number: -manifest.layers[number].size_bytes)
    futures: dict[int, Future[Staged | None]] = {}
    with ThreadPoolExecutor(workers) as pool:
        try:
            for number in order:
                futures[number] = pool.submit(jobs[number].run)
            wait(futures.values(), return_when=FIRST_EXCEPTION)
            _raise_first(futures)
            for number in range(len(jobs)):
                _commit(store, futures.pop(number).result(), chain, number)
        except BaseException:
            cancel.set()
            pool.shutdown(cancel_futures=True)
            _discard_all(store, futures)
            raise


def _raise_first(futures: dict[int, Future[Staged | None]]) -> None:
    """The failure that made the others stop, rather than theirs."""
    errors = [error for future in futures.values() if future.done() and (error := future.exception())]
    for error in errors:
        if not (isinstance(error, WherryError) and error.code == CANCELLED):
            raise error
    if errors:
        raise errors[0]


def _discard_all(store: Store, futures: dict[int, Future[Staged | None]]) -> None:
    for future in futures.values():
        if future.done() and not future.cancelled() and future.exception() is None:
            staged = future.result()
            if staged is not None:
                store.layers.discard(staged)


def _commit(store: Store, staged: Staged | None, chain: Sequence[Digest], number: int) -> None:
    if staged is not None:
        store.layers.commit(staged, chain[number - 1] if number else None)


def _serial(progress: Observer) -> Observer:
    """Call the observer from one thread at a time."""
    lock = threading.Lock()

    def observe(event: Progress) -> None:
        with lock:
            progress(event)

    return observe
