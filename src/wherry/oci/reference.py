"""Image references as docker writes them: `[domain/]path[:tag][@digest]`.

The grammar is the distribution project's: a first component is a domain only when it has a dot, a colon or
capitals, or is `localhost`; otherwise the domain is `docker.io`, and a single component gets `library/`.
"""

from __future__ import annotations

from wherry.errors import INVALID_ARGUMENT, WherryError
from wherry.oci import digest as digests
from wherry.oci.digest import Digest

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
NAME_LIMIT = 255
TAG_LIMIT = 128

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_ALNUM = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_WORD = _ALNUM | {"_"}
_TAG = _WORD | frozenset(".-")
_HEXCOLON = frozenset("0123456789abcdefABCDEF:.")
_LEGACY_DOMAIN = "index.docker.io"


class Reference:
    """A checked reference. `tag` is "" and `digest` None when the text had none."""

    __slots__ = ("digest", "domain", "repository", "tag")

    domain: str
    repository: str
    tag: str
    digest: Digest | None

    def __init__(self, domain: str, repository: str, tag: str = "", digest: Digest | None = None) -> None:
        for name, value in (("domain", domain), ("repository", repository), ("tag", tag), ("digest", digest)):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a reference cannot be changed: {name}")

    @property
    def name(self) -> str:
        """Domain and repository: `docker.io/library/busybox`."""
        return f"{self.domain}/{self.repository}"

    @property
    def target(self) -> str:
        """What a registry is asked for: the digest when there is one, else the tag."""
        return self.digest or self.tag or DEFAULT_TAG

    def __str__(self) -> str:
        return self.name + self._suffix()

    def familiar(self) -> str:
        """The short form that users type: `busybox:latest`."""
        name = self.repository
        if name.startswith("library/") and name.count("/") == 1:
            name = name[len("library/") :]
        if _split_domain(name) != (self.domain, self.repository):
            name = self.name
        return name + self._suffix()

    def with_tag(self, tag: str) -> Reference:
        """The same repository under another tag, without a digest."""
        _check_tag(tag, tag)
        return Reference(self.domain, self.repository, tag)

    def with_digest(self, digest: Digest) -> Reference:
        """The same repository by digest, without a tag."""
        return Reference(self.domain, self.repository, "", digest)

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __repr__(self) -> str:
        return f"Reference({str(self)!r})"


def parse(text: str) -> Reference:
    """Parse and normalise; the tag becomes `latest` when there is neither tag nor digest.

    INVALID_ARGUMENT names what is wrong with the text.
    """
    rest, at, digest_text = text.partition("@")
    digest = digests.parse(digest_text) if at else None
    name, tag = _split_tag(rest)
    if tag is not None:
        _check_tag(tag, text)
    domain, repository = _split_domain(name)
    _check_domain(domain, text)
    _check_repository(repository, text)
    if len(domain) + 1 + len(repository) > NAME_LIMIT:
        raise _bad(text, f"the name is longer than {NAME_LIMIT} characters")
    if digest is None and digests.is_digest(f"sha256:{name}"):
        raise _bad(text, "a name must not look like an image id")
    return Reference(domain, repository, tag if tag is not None else ("" if digest else DEFAULT_TAG), digest)


def _split_tag(text: str) -> tuple[str, str | None]:
    """A colon after the last slash starts the tag; one before it belongs to the domain's port."""
    head, colon, tag = text.rpartition(":")
    if not colon or "/" in tag:
        return text, None
    return head, tag


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and (first == "localhost" or first != first.lower() or not {".", ":", "["}.isdisjoint(first)):
        domain, repository = first, rest
    else:
        domain, repository = DEFAULT_DOMAIN, name
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in repository:
        repository = f"library/{repository}"
    return domain, repository


def _check_domain(domain: str, text: str) -> None:
    host, port = _split_port(domain)
    if port is not None and not (port.isascii() and port.isdigit()):
        raise _bad(text, f"{port!r} is not a port")
    if host.startswith("["):
        if not (host.endswith("]") and len(host) > 2 and _HEXCOLON.issuperset(host[1:-1])):
            raise _bad(text, f"{host!r} is not an IPv6 address")
        return
    for label in host.split("."):
        if not label or not (_ALNUM | {"-"}).issuperset(label) or label[0] == "-" or label[-1] == "-":
            raise _bad(text, f"{domain!r} is not a host name")


def _split_port(domain: str) -> tuple[str, str | None]:
    if domain.endswith("]"):
        return domain, None
    host, colon, port = domain.rpartition(":")
    return (host, port) if colon else (domain, None)


def _check_repository(repository: str, text: str) -> None:
    if repository.lower() != repository:
        raise _bad(text, "a repository name must be lower case")
    for component in repository.split("/"):
        if not _is_component(component):
            raise _bad(text, f"{component!r} is not a valid part of a repository name")


def _is_component(component: str) -> bool:
    """Lower-case letters and digits, joined by one dot, one or two underscores, or any number of dashes."""
    if not component or component[0] not in _LOWER or component[-1] not in _LOWER:
        return False
    separator = ""
    for character in component:
        if character in _LOWER:
            separator = ""
            continue
        separator += character
        if character not in "._-" or (separator not in (".", "_", "__") and separator.strip("-")):
            return False
    return True


def _check_tag(tag: str, text: str) -> None:
    if not tag or len(tag) > TAG_LIMIT or tag[0] not in _WORD or not _TAG.issuperset(tag):
        raise _bad(text, f"{tag[: TAG_LIMIT + 1]!r} is not a valid tag")


def _bad(text: str, why: str) -> WherryError:
    return WherryError(INVALID_ARGUMENT, f"invalid image reference {text[:300]!r}: {why}")
