"""Transports: `docker://NAME`, `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME]`, `dir:DIR`."""

from __future__ import annotations

from wherry.errors import INVALID_ARGUMENT, WherryError
from wherry.oci import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.registry.client import Client
    from wherry.transfer.base import ImageSink, ImageSource

TRANSPORTS = ("docker", "oci", "oci-archive", "docker-archive", "dir")


def split(name: str) -> tuple[str, str]:
    """Transport and the rest; a bare name is one of a registry."""
    transport, colon, rest = name.partition(":")
    if transport == "docker" and colon and rest.startswith("//"):
        return "docker", rest[2:]
    if colon and transport in TRANSPORTS and transport != "docker":
        if not rest:
            raise WherryError(INVALID_ARGUMENT, f"{transport}: needs a path")
        return transport, rest
    return "docker", name


def source(name: str, *, client: Client | None = None) -> ImageSource:
    """The image that `name` says; nothing is read yet."""
    transport, rest = split(name)
    if transport == "oci":
        from wherry.transfer.ocilayout import LayoutSource

        return LayoutSource(*split_tag(rest))
    if transport == "dir":
        from wherry.transfer.directory import DirectorySource

        return DirectorySource(rest)
    if transport == "docker-archive":
        from wherry.transfer.dockerarchive import ArchiveSource

        return ArchiveSource(*split_tag(rest))
    if transport == "oci-archive":
        from wherry.transfer import layoutarchive

        return layoutarchive.open_source(*split_tag(rest))
    from wherry.transfer.registry import RegistrySource

    return RegistrySource(client or _client(), references.parse(rest))


def sink(name: str, *, client: Client | None = None) -> ImageSink:
    """The place that `name` says; nothing is made yet."""
    transport, rest = split(name)
    if transport == "oci":
        from wherry.transfer.ocilayout import LayoutSink

        return LayoutSink(*split_tag(rest))
    if transport == "dir":
        from wherry.transfer.directory import DirectorySink

        return DirectorySink(rest)
    if transport == "docker-archive":
        from wherry.transfer.dockerarchive import ArchiveSink

        return ArchiveSink(*split_tag(rest))
    if transport == "oci-archive":
        from wherry.transfer.layoutarchive import LayoutArchiveSink

        return LayoutArchiveSink(*split_tag(rest))
    from wherry.transfer.registry import RegistrySink

    return RegistrySink(client or _client(), references.parse(rest))


def split_tag(rest: str) -> tuple[str, str]:
    """`PATH[:NAME]`; the path ends at the first colon, as in skopeo."""
    path, _, tag = rest.partition(":")
    if not path:
        raise WherryError(INVALID_ARGUMENT, f"no path in {rest!r}")
    return path, tag


def _client() -> Client:
    from wherry.registry.client import Client

    return Client()
