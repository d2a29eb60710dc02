"""The distribution-spec's pull and push, as one client for any number of registries."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from urllib3.exceptions import HTTPError

from wherry.errors import DATA_LOSS, FAILED_PRECONDITION, INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE, WherryError
from wherry.oci import digest as digests
from wherry.oci import image as documents
from wherry.oci.image import Descriptor, Document
from wherry.registry import credentials as credential_files
from wherry.registry.credentials import Credentials
from wherry.registry.http import Host, Settings, read_limited

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from urllib3 import BaseHTTPResponse

    from wherry.oci.digest import Digest
    from wherry.oci.reference import Reference

CHUNK_BYTES = 1 << 20
TAGS_LIMIT_BYTES = 8 << 20
TAGS_PAGES = 1000
MAXIMUM_STALLS = 5  # attempts in a row that bring nothing


class Client:
    """Safe to use from several threads; keeps connections and tokens between calls."""

    def __init__(
        self,
        *,
        tls_verify: bool = True,
        credentials: Credentials | tuple[str, str] | None = None,
        auth_file: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._settings = settings or Settings(tls_verify=tls_verify)
        self._credentials = Credentials(*credentials) if isinstance(credentials, tuple) else credentials
        self._auth_file = auth_file
        self._hosts: dict[tuple[str, str], Host] = {}

    def close(self) -> None:
        """Close the connections; the object may still be used."""
        for host in list(self._hosts.values()):
            host.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def manifest(self, reference: Reference, digest: Digest | None = None) -> Document:
        """The manifest or index that `reference` (or `digest` in its repository) names."""
        wanted = digest or reference.digest
        response = self._host(reference).request(
            "GET",
            f"v2/{reference.repository}/manifests/{wanted or reference.target}",
            scope=_scope(reference, "pull"),
            headers={"Accept": ", ".join(documents.ACCEPTED_TYPES)},
        )
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        raw = read_limited(response, documents.MANIFEST_LIMIT_BYTES, f"the manifest of {reference}")
        actual = digests.of_bytes(raw, wanted.algorithm if wanted else "sha256")
        if wanted is not None and actual != wanted:
            raise WherryError(DATA_LOSS, f"the manifest of {reference} does not match its digest: got {actual}")
        return Document(raw, media_type, actual)

    def resolve(self, reference: Reference) -> Descriptor:
        """What `reference` names now, in one small request; the digest is the registry's word."""
        response = self._host(reference).request(
            "HEAD",
            f"v2/{reference.repository}/manifests/{reference.target}",
            scope=_scope(reference, "pull"),
            headers={"Accept": ", ".join(documents.ACCEPTED_TYPES)},
        )
        response.close()
        stated = response.headers.get("Docker-Content-Digest", "")
        if not digests.is_digest(stated):
            document = self.manifest(reference)
            return Descriptor(document.media_type, document.digest, len(document.raw))
        size = response.headers.get("Content-Length", "0")
        media_type = response.headers.get("Content-Type", "")
        return Descriptor(media_type, digests.parse(stated), int(size) if size.isdigit() else 0)

    def has_blob(self, reference: Reference, digest: Digest) -> bool:
        """Whether the repository has the blob."""
        response = self._host(reference).request(
            "HEAD",
            f"v2/{reference.repository}/blobs/{digest}",
            scope=_scope(reference, "pull"),
            accept=(200, 404),
        )
        response.close()
        return response.status == 200

    def blob(self, reference: Reference, descriptor: Descriptor, offset: int = 0) -> Iterator[bytes]:
        """The blob from `offset` on, not yet verified.

        A transfer that breaks off goes on where it stopped, as long as each attempt brings something.
        """
        position = offset
        stalls = 0
        while position < descriptor.size_bytes:
            before = position
            response = self._open_blob(reference, descriptor, position)
            try:
                for chunk in _body(response, descriptor.size_bytes - position):
                    position += len(chunk)
                    yield chunk
            except HTTPError as error:
                stalls = 0 if position > before else stalls + 1
                if stalls > MAXIMUM_STALLS:
                    raise WherryError(UNAVAILABLE, f"blob {descriptor.digest} breaks off: {error}") from None
                self._settings.sleep(0.25 * 2**stalls)
            finally:
                response.close()
            if position == before and stalls == 0:
                raise WherryError(DATA_LOSS, f"blob {descriptor.digest} is shorter than its descriptor says")

    def _open_blob(self, reference: Reference, descriptor: Descriptor, position: int) -> BaseHTTPResponse:
        response = self._host(reference).request(
            "GET",
            f"v2/{reference.repository}/blobs/{descriptor.digest}",
            scope=_scope(reference, "pull"),
            headers={"Range": f"bytes={position}-"} if position else {},
            accept=(200, 206),
        )
        if position and response.status == 206:
            stated = response.headers.get("Content-Range", "").removeprefix("bytes").strip()
            if stated.partition("-")[0] != str(position):
                response.close()
                raise WherryError(DATA_LOSS, f"the registry sent {stated!r} of blob {descriptor.digest}")
        elif position:
            _skip(response, position)  # it does not know Range
        return response

    def push_blob(
        self,
        reference: Reference,
        descriptor: Descriptor,
        read: Callable[[int], Iterable[bytes]],
        *,
        mount_from: Sequence[str] = (),
        chunk_bytes: int = 0,
    ) -> bool:
        """Upload a blob unless it is there, or can be mounted from another repository; whether it was sent.

        `read` gives the contents from an offset on, as often as needed. With `chunk_bytes` the upload goes in
        pieces, and goes on after a break where the registry left off; else in one request.
        """
        if self.has_blob(reference, descriptor.digest):
            return False
        for other in mount_from:
            location = self._mount(reference, descriptor.digest, other)
            if not location:
                return False
        location = self._start_upload(reference)
        if chunk_bytes:
            location = self._push_pieces(reference, descriptor, read, location, chunk_bytes)
            self._finish(reference, location, descriptor.digest, b"")
        else:
            self._push_whole(reference, descriptor, read, location)
        return True

    def _mount(self, reference: Reference, digest: Digest, other: str) -> str:
        """Nothing when it worked, else the upload that the registry opened in its place."""
        response = self._host(reference).request(
            "POST",
            f"v2/{reference.repository}/blobs/uploads/?{urlencode({'mount': digest, 'from': other})}",
            scope=f"{_scope(reference, 'pull,push')} repository:{other}:pull",
            headers={"Content-Length": "0"},
            accept=(201, 202),
        )
        response.close()
        return "" if response.status == 201 else _location(response)

    def _start_upload(self, reference: Reference) -> str:
        response = self._host(reference).request(
            "POST",
            f"v2/{reference.repository}/blobs/uploads/",
            scope=_scope(reference, "pull,push"),
            headers={"Content-Length": "0"},
            accept=(202,),
        )
        response.close()
        return _location(response)

    def _push_whole(
        self,
        reference: Reference,
        descriptor: Descriptor,
        read: Callable[[int], Iterable[bytes]],
        location: str,
    ) -> None:
        response = self._host(reference).request(
            "PUT",
            _with_query(location, "digest", descriptor.digest),
            scope=_scope(reference, "pull,push"),
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(descriptor.size_bytes)},
            body=lambda: read(0),
            accept=(201,),
        )
        response.close()

    def _push_pieces(
        self,
        reference: Reference,
        descriptor: Descriptor,
        read: Callable[[int], Iterable[bytes]],
        location: str,
        chunk_bytes: int,
    ) -> str:
        """PATCH piece by piece; after a refusal ask where the upload stands."""
        position = stalls = 0
        while position < descriptor.size_bytes:
            piece = _take(read(position), min(chunk_bytes, descriptor.size_bytes - position))
            try:
                response = self._host(reference).request(
                    "PATCH",
                    location,
                    scope=_scope(reference, "pull,push"),
                    headers={
                        "Content-Type": "application/octet-stream",
                        "Content-Range": f"{position}-{position + len(piece) - 1}",
                        "Content-Length": str(len(piece)),
                    },
                    body=piece,
                    accept=(202,),
                )
            except WherryError as error:
                stalls += 1
                if error.code not in (UNAVAILABLE, FAILED_PRECONDITION) or stalls > MAXIMUM_STALLS:
                    raise
                position, location = self._upload_status(reference, location)
                continue
            response.close()
            position, location, stalls = position + len(piece), _location(response), 0
        return location

    def _upload_status(self, reference: Reference, location: str) -> tuple[int, str]:
        response = self._host(reference).request("GET", location, scope=_scope(reference, "pull,push"), accept=(204,))
        response.close()
        end = response.headers.get("Range", "").rpartition("-")[2]
        if not end.isdigit():
            raise WherryError(DATA_LOSS, "the registry does not say where the upload stands")
        # An empty upload is reported as 0-0, which is also what one byte would be.
        return (int(end) + 1 if int(end) else 0), _location(response) or location

    def _finish(self, reference: Reference, location: str, digest: Digest, body: bytes) -> None:
        response = self._host(reference).request(
            "PUT",
            _with_query(location, "digest", digest),
            scope=_scope(reference, "pull,push"),
            headers={"Content-Type": "application/octet-stream", "Content-Length": str(len(body))},
            body=body,
            accept=(201,),
        )
        response.close()

    def push_manifest(self, reference: Reference, document: Document) -> Digest:
        """Store a manifest under the reference's tag, or else under its digest."""
        response = self._host(reference).request(
            "PUT",
            f"v2/{reference.repository}/manifests/{reference.tag or document.digest}",
            scope=_scope(reference, "pull,push"),
            headers={"Content-Type": document.media_type, "Content-Length": str(len(document.raw))},
            body=document.raw,
            accept=(201,),
        )
        response.close()
        stated = response.headers.get("Docker-Content-Digest", "")
        if digests.is_digest(stated) and stated != document.digest:
            raise WherryError(DATA_LOSS, f"the registry changed the manifest of {reference}: {stated}")
        return document.digest

    def tags(self, reference: Reference) -> list[str]:
        """All tags of the repository."""
        tags: list[str] = []
        path = f"v2/{reference.repository}/tags/list"
        for _ in range(TAGS_PAGES):
            response = self._host(reference).request("GET", path, scope=_scope(reference, "pull"))
            raw = read_limited(response, TAGS_LIMIT_BYTES, f"the tags of {reference.name}")
            try:
                page = json.loads(raw).get("tags") or []
            except (ValueError, AttributeError):
                raise WherryError(INVALID_ARGUMENT, f"the registry's tags of {reference.name} are not JSON") from None
            tags += [tag for tag in page if isinstance(tag, str)]
            link = response.headers.get("Link", "")
            if 'rel="next"' not in link or not page:
                return tags
            path = link.partition("<")[2].partition(">")[0]
        raise WherryError(NOT_FOUND, f"the tags of {reference.name} have no end")

    def delete_manifest(self, reference: Reference, digest: Digest) -> None:
        """Remove a manifest, and with it its tags; NOT_IMPLEMENTED where the registry does not allow it."""
        response = self._host(reference).request(
            "DELETE",
            f"v2/{reference.repository}/manifests/{digest}",
            scope=_scope(reference, "pull,push,delete"),
            accept=(202,),
        )
        response.close()

    def _host(self, reference: Reference) -> Host:
        # One per repository, because credentials can be; connections are few anyway.
        key = (reference.domain, reference.repository)
        host = self._hosts.get(key)
        if host is None:
            host = Host(reference.domain, self._settings, lambda: self._find_credentials(reference))
            host = self._hosts.setdefault(key, host)
        return host

    def _find_credentials(self, reference: Reference) -> Credentials | None:
        if self._credentials is not None:
            return self._credentials
        return credential_files.find(reference.domain, reference.repository, auth_file=self._auth_file)


def _scope(reference: Reference, actions: str) -> str:
    return f"repository:{reference.repository}:{actions}"


def _location(response: BaseHTTPResponse) -> str:
    return response.headers.get("Location", "")


def _with_query(location: str, name: str, value: str) -> str:
    """Add to a query that may hold the upload's state, which must stay as it is."""
    try:
        parts = urlsplit(location)
    except ValueError as error:
        raise WherryError(UNAVAILABLE, f"the registry sends us to what is no address: {error}") from None
    pair = f"{name}={quote(value, safe='')}"
    if any(key == name for key, _ in parse_qsl(parts.query)):
        return location
    return urlunsplit(parts._replace(query=f"{parts.query}&{pair}" if parts.query else pair))


def _body(response: BaseHTTPResponse, limit_bytes: int) -> Iterator[bytes]:
    while limit_bytes > 0:
        chunk = response.read(min(CHUNK_BYTES, limit_bytes))
        if not chunk:
            return
        limit_bytes -= len(chunk)
        yield chunk
    response.release_conn()


def _skip(response: BaseHTTPResponse, size_bytes: int) -> None:
    while size_bytes:
        try:
            chunk = response.read(min(CHUNK_BYTES, size_bytes))
        except HTTPError as error:
            raise WherryError(UNAVAILABLE, f"a blob breaks off: {error}") from None
        if not chunk:
            raise WherryError(DATA_LOSS, "a blob became shorter while it was read")
        size_bytes -= len(chunk)


def _take(chunks: Iterable[bytes], size_bytes: int) -> bytes:
    parts: list[bytes] = []
    left = size_bytes
    for chunk in chunks:
        parts.append(chunk[:left])
        left -= len(parts[-1])
        if not left:
            break
    return b"".join(parts)
