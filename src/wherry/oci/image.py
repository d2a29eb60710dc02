"""Image documents: descriptors, manifests, indexes and image configurations (image-spec v1, docker schema 2).

Documents are kept as the bytes they came in, because their digest is their identity; what is read from them
is checked first. Anything wrong is INVALID_ARGUMENT with the place in the document as `path`.
"""

from __future__ import annotations

from wherry.errors import INVALID_ARGUMENT, NOT_FOUND, NOT_IMPLEMENTED, RESOURCE_EXHAUSTED, WherryError
from wherry.oci import digest as digests
from wherry.oci import json_text
from wherry.oci import platform as platforms
from wherry.oci.digest import Digest
from wherry.oci.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

MANIFEST_LIMIT_BYTES = 4 * 1024 * 1024
CONFIG_LIMIT_BYTES = 8 * 1024 * 1024
LAYER_LIMIT = 500  # what the kernel's overlayfs can stack

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"
DOCKER_LAYER_ZSTD = DOCKER_LAYER + ".zstd"
DOCKER_FOREIGN_GZIP = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
DOCKER_SCHEMA1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)

MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)
ACCEPTED_TYPES = (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST)


class Descriptor:
    """What a document says about another blob: type, digest and size in bytes."""

    __slots__ = ("annotations", "artifact_type", "digest", "media_type", "platform", "size_bytes", "urls")

    def __init__(
        self,
        media_type: str,
        digest: Digest,
        size_bytes: int,
        *,
        annotations: Mapping[str, str] | None = None,
        platform: Platform | None = None,
        artifact_type: str = "",
        urls: Sequence[str] = (),
    ) -> None:
        self.media_type = media_type
        self.digest = digest
        self.size_bytes = size_bytes
        self.annotations = dict(annotations or {})
        self.platform = platform
        self.artifact_type = artifact_type
        self.urls = tuple(urls)

    def document(self) -> dict[str, Any]:
        """The descriptor as it is written in a manifest or index."""
        document: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size_bytes,
        }
        if self.annotations:
            document["annotations"] = self.annotations
        if self.urls:
            document["urls"] = list(self.urls)
        if self.platform:
            document["platform"] = platform_document(self.platform)
        return document

    def __repr__(self) -> str:
        return f"Descriptor({self.media_type!r}, {self.digest!r}, {self.size_bytes})"


class Document:
    """A manifest or index as it was sent, with the type it was sent as; its digest is verified."""

    __slots__ = ("digest", "media_type", "raw")

    def __init__(self, raw: bytes, media_type: str, digest: Digest) -> None:
        self.raw = raw
        self.media_type = media_type
        self.digest = digest


class Manifest:
    """One image for one platform. `raw` is the document itself, `digest` its identity."""

    __slots__ = ("annotations", "artifact_type", "config", "digest", "layers", "media_type", "raw", "subject")

    def __init__(self, raw: bytes, media_type: str, document: dict[str, Any]) -> None:
        self.raw = raw
        self.media_type = media_type
        self.digest = digests.of_bytes(raw)
        self.config = _descriptor(document.get("config"), "config")
        self.layers = tuple(
            _descriptor(entry, f"layers[{number}]") for number, entry in enumerate(_list(document, "layers"))
        )
        if len(self.layers) > LAYER_LIMIT:
            raise _bad("layers", f"{len(self.layers)} layers, more than {LAYER_LIMIT}")
        self.annotations = _strings(document, "annotations")
        self.artifact_type = _text(document, "artifactType")
        subject = document.get("subject")
        self.subject = _descriptor(subject, "subject") if subject is not None else None

    def descriptor(self) -> Descriptor:
        """What an index would say about this manifest."""
        return Descriptor(self.media_type, self.digest, len(self.raw))


class Index:
    """Several manifests, usually one per platform."""

    __slots__ = ("annotations", "digest", "manifests", "media_type", "raw")

    def __init__(self, raw: bytes, media_type: str, document: dict[str, Any]) -> None:
        self.raw = raw
        self.media_type = media_type
        self.digest = digests.of_bytes(raw)
        self.manifests = tuple(
            _descriptor(entry, f"manifests[{number}]") for number, entry in enumerate(_list(document, "manifests"))
        )
        self.annotations = _strings(document, "annotations")

    def descriptor(self) -> Descriptor:
        """What another index would say about this one."""
        return Descriptor(self.media_type, self.digest, len(self.raw))

    def select(self, wanted: Platform) -> Descriptor:
        """The entry that suits `wanted` best; NOT_FOUND lists what there is."""
        chosen = platforms.select(wanted, [entry.platform for entry in self.manifests])
        if chosen is not None:
            return self.manifests[chosen]
        unmarked = [entry for entry in self.manifests if entry.platform is None]
        if len(self.manifests) == 1 and unmarked:
            return unmarked[0]
        known = ", ".join(sorted({str(entry.platform) for entry in self.manifests if entry.platform}))
        raise WherryError(NOT_FOUND, f"no image for platform {wanted}", hint=f"there is: {known or 'none'}")


class ImageConfig:
    """An image's configuration: its layers' identities and what a container runs by default."""

    __slots__ = (
        "architecture", "cmd", "created", "diff_ids", "digest", "document", "entrypoint", "env",
        "exposed_ports", "healthcheck", "history", "labels", "os", "raw", "stop_signal", "user", "variant",
        "volumes", "working_dir",
    )  # fmt: skip

    def __init__(self, raw: bytes, document: dict[str, Any]) -> None:
        self.raw = raw
        self.digest = digests.of_bytes(raw)
        self.document = document
        self.architecture = _text(document, "architecture")
        self.os = _text(document, "os")
        self.variant = _text(document, "variant")
        self.created = _text(document, "created")
        rootfs = _object(document, "rootfs")
        if rootfs.get("type", "layers") != "layers":
            raise _bad("rootfs.type", f"{rootfs.get('type')!r} is not a kind of root filesystem known here")
        self.diff_ids = tuple(
            _digest(value, f"rootfs.diff_ids[{number}]")
            for number, value in enumerate(_list(rootfs, "diff_ids", "rootfs."))
        )
        self.history = tuple(entry for entry in _list(document, "history") if isinstance(entry, dict))
        self._read_defaults(_object(document, "config"))

    def _read_defaults(self, config: dict[str, Any]) -> None:
        self.env = _texts(config, "Env") or ()
        self.entrypoint = _texts(config, "Entrypoint")
        self.cmd = _texts(config, "Cmd")
        self.working_dir = _text(config, "WorkingDir", "config.")
        self.user = _text(config, "User", "config.")
        self.stop_signal = _text(config, "StopSignal", "config.")
        self.labels = _strings(config, "Labels", "config.")
        self.exposed_ports = tuple(_object(config, "ExposedPorts", "config."))
        self.volumes = tuple(_object(config, "Volumes", "config."))
        self.healthcheck = _object(config, "Healthcheck", "config.") or None

    @property
    def platform(self) -> Platform:
        """The platform the image is for."""
        return Platform(self.os, self.architecture, self.variant)


def parse_manifest(raw: bytes, media_type: str = "") -> Manifest | Index:
    """Read a manifest or index; `media_type` is what the sender called it ("" when unknown).

    A document over 4 MiB is RESOURCE_EXHAUSTED, docker's schema 1 NOT_IMPLEMENTED. A document that could be
    read as both kinds, or says another type than its sender, is refused (CVE-2021-41190).
    """
    if len(raw) > MANIFEST_LIMIT_BYTES:
        raise WherryError(RESOURCE_EXHAUSTED, f"manifest of {len(raw)} bytes is larger than {MANIFEST_LIMIT_BYTES}")
    document = parse_document(raw, "manifest")
    stated = _text(document, "mediaType")
    media_type = media_type.partition(";")[0].strip()
    if media_type not in ACCEPTED_TYPES and media_type not in DOCKER_SCHEMA1:
        media_type = ""
    if stated and media_type and stated != media_type:
        raise _bad("mediaType", f"the document says {stated}, but was sent as {media_type}")
    kind = stated or media_type or _guess(document)
    if kind in DOCKER_SCHEMA1 or document.get("schemaVersion") == 1:
        raise WherryError(NOT_IMPLEMENTED, "docker manifest schema 1 is not supported", hint="push the image again")
    if document.get("schemaVersion") != 2:
        raise _bad("schemaVersion", f"{document.get('schemaVersion')!r} is not 2")
    if "manifests" in document and ("layers" in document or "config" in document):
        raise _bad("", "the document is both a manifest and an index")
    if "fsLayers" in document:
        raise _bad("fsLayers", "does not belong in a schema 2 document")
    if kind in INDEX_TYPES:
        if "manifests" not in document:
            raise _bad("manifests", "missing in an index")
        return Index(raw, kind, document)
    if kind in MANIFEST_TYPES:
        return Manifest(raw, kind, document)
    raise WherryError(NOT_IMPLEMENTED, f"unknown kind of manifest: {kind!r}")


def parse_config(raw: bytes) -> ImageConfig:
    """Read an image configuration; only the fields that matter here are checked."""
    if len(raw) > CONFIG_LIMIT_BYTES:
        raise WherryError(RESOURCE_EXHAUSTED, f"image config of {len(raw)} bytes is larger than {CONFIG_LIMIT_BYTES}")
    return ImageConfig(raw, parse_document(raw, "image config"))


def parse_document(raw: bytes, what: str) -> dict[str, Any]:
    """JSON object with no key twice; INVALID_ARGUMENT names `what` otherwise."""
    try:
        document = json_text.loads(raw, unique=True)
    except WherryError as error:
        why = error.message.removeprefix("is not JSON: ")
        raise WherryError(INVALID_ARGUMENT, f"{what} is not valid JSON: {why}") from None
    if not isinstance(document, dict):
        raise WherryError(INVALID_ARGUMENT, f"{what} is not a JSON object")
    return document


def build_manifest(
    config: Descriptor, layers: Iterable[Descriptor], *, annotations: Mapping[str, str] | None = None
) -> Manifest:
    """A new OCI manifest over existing blobs."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.document(),
        "layers": [layer.document() for layer in layers],
    }
    if annotations:
        document["annotations"] = dict(annotations)
    return Manifest(encode(document), OCI_MANIFEST, document)


def encode(document: dict[str, Any]) -> bytes:
    """JSON as it is stored: compact, UTF-8, keys in the order given."""
    import json

    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def chain_ids(diff_ids: Sequence[Digest]) -> tuple[Digest, ...]:
    """The chain id of every layer, bottom first (image-spec, config.md, "Layer ChainID")."""
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(digests.of_bytes(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return tuple(chain)


def compression(media_type: str) -> str:
    """`gzip`, `zstd` or `` from a layer's media type; contents decide where it disagrees."""
    if media_type.endswith((".gzip", "+gzip")):
        return "gzip"
    return "zstd" if media_type.endswith(("+zstd", ".zstd")) else ""


def platform_document(platform: Platform) -> dict[str, str]:
    """A platform as it is written in an index."""
    document = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        document["variant"] = platform.variant
    if platform.os_version:
        document["os.version"] = platform.os_version
    return document


def _guess(document: dict[str, Any]) -> str:
    """The type of a document that does not say: OCI documents need not."""
    if "manifests" in document:
        return OCI_INDEX
    return OCI_MANIFEST if "layers" in document or "config" in document else ""


def _descriptor(value: object, path: str) -> Descriptor:
    if not isinstance(value, dict):
        raise _bad(path, "is not a descriptor")
    size = value.get("size")
    if type(size) is not int or not 0 <= size < 1 << 63:
        raise _bad(f"{path}.size", f"{size!r} is not a size")
    return Descriptor(
        _text(value, "mediaType", f"{path}."),
        _digest(value.get("digest"), f"{path}.digest"),
        size,
        annotations=_strings(value, "annotations", f"{path}."),
        platform=_platform(value.get("platform"), f"{path}.platform"),
        artifact_type=_text(value, "artifactType", f"{path}."),
        urls=_texts(value, "urls") or (),
    )


def _platform(value: object, path: str) -> Platform | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _bad(path, "is not a platform")
    prefix = f"{path}."
    return Platform(
        _text(value, "os", prefix),
        _text(value, "architecture", prefix),
        _text(value, "variant", prefix),
        _text(value, "os.version", prefix),
    )


def _digest(value: object, path: str) -> Digest:
    try:
        return digests.parse(value)
    except WherryError as error:
        raise _bad(path, error.message) from None


def _text(document: dict[str, Any], key: str, prefix: str = "") -> str:
    value = document.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _bad(prefix + key, "is not a string")
    return value


def _texts(document: dict[str, Any], key: str) -> tuple[str, ...] | None:
    value = document.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise _bad(key, "is not a list of strings")
    return tuple(value)


def _strings(document: dict[str, Any], key: str, prefix: str = "") -> dict[str, str]:
    value = _object(document, key, prefix)
    if not all(isinstance(entry, str) for entry in value.values()):
        raise _bad(prefix + key, "is not a map of strings")
    return value


def _object(document: dict[str, Any], key: str, prefix: str = "") -> dict[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _bad(prefix + key, "is not an object")
    return value


def _list(document: dict[str, Any], key: str, prefix: str = "") -> list[Any]:
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _bad(prefix + key, "is not a list")
    return value


def _bad(path: str, message: str) -> WherryError:
    return WherryError(INVALID_ARGUMENT, message, path=path)
