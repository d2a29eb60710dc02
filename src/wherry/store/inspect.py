"""The shape in which docker shows an image."""

from __future__ import annotations

from wherry.oci import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.oci.image import ImageConfig
    from wherry.store.images import Image


def describe(image: Image, config: ImageConfig) -> dict[str, Any]:
    """`docker image inspect`, one element."""
    return {
        "Id": image.id,
        "RepoTags": [references.parse(name).familiar() for name in image.names if "@" not in name],
        "RepoDigests": [references.parse(name).familiar() for name in image.repo_digests],
        "Digest": image.digest,
        "Parent": "",
        "Comment": str(config.history[-1].get("comment", "")) if config.history else "",
        "Created": image.created,
        "Author": config.document.get("author", ""),
        "Config": config.document.get("config") or {},
        "Architecture": image.architecture,
        "Variant": image.variant,
        "Os": image.os,
        "Size": image.size_bytes,
        "VirtualSize": image.size_bytes,
        "RootFS": {"Type": "layers", "Layers": list(config.diff_ids)},
        "History": list(config.history),
    }
