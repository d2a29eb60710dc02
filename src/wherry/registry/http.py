"""Requests to one registry host: scheme, authentication, retries, redirects; nothing of the API's paths."""

from __future__ import annotations

import email.utils
import json
import time
import warnings
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, InsecureRequestWarning, SSLError

from wherry import __version__
from wherry.errors import (
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    NOT_IMPLEMENTED,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
    WherryError,
)
from wherry.registry.challenge import Authenticator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from urllib3 import BaseHTTPResponse

    from wherry.registry.credentials import Credentials

REDIRECT_LIMIT = 10
ERROR_LIMIT_BYTES = 64 * 1024
TOKEN_LIMIT_BYTES = 1 << 20
RETRY_AFTER_LIMIT_S = 60.0
_RETRIED = (408, 429, 500, 502, 503, 504)
_CODES = {
    400: INVALID_ARGUMENT,
    401: UNAUTHENTICATED,
    403: PERMISSION_DENIED,
    404: NOT_FOUND,
    405: NOT_IMPLEMENTED,
    413: RESOURCE_EXHAUSTED,
    416: FAILED_PRECONDITION,
    429: RESOURCE_EXHAUSTED,
}
_HUB = "registry-1.docker.io"


class Settings:
    """How to talk to registries. `retries` are attempts after the first; `sleep` takes seconds."""

    __slots__ = ("connections", "retries", "sleep", "timeout_s", "tls_verify")

    def __init__(
        self,
        *,
        tls_verify: bool = True,
        timeout_s: float = 60.0,
        retries: int = 5,
        connections: int = 8,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.tls_verify = tls_verify
        self.timeout_s = timeout_s
        self.retries = retries
        self.connections = connections
        self.sleep = sleep


class Host:
    """One registry. Safe to use from several threads."""

    def __init__(self, domain: str, settings: Settings, credentials: Callable[[], Credentials | None]) -> None:
        self.domain = domain
        self._address = _HUB if domain == "docker.io" else domain
        self._settings = settings
        self._credentials = credentials
        self._pools: dict[bool, urllib3.PoolManager] = {}
        self._base = ""
        self._verified = True
        self._authenticator: Authenticator | None = None

    def request(
        self,
        method: str,
        path: str,
        *,
        scope: str,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Iterable[bytes]] | bytes | None = None,
        accept: tuple[int, ...] = (200,),
    ) -> BaseHTTPResponse:
        """Send until an answer is final; the answer's body is not read yet.

        `path` is relative to the registry, or a whole URL that it gave us. A `body` that is a function is
        called for each attempt. Statuses other than `accept` raise; so does a registry that cannot be reached.
        """
        self._connect()
        attempt = 0
        while True:
            try:
                response = self._send_authorised(method, urljoin(self._base, path), scope, dict(headers or {}), body)
            except HTTPError as error:
                failure = WherryError(UNAVAILABLE, f"registry {self.domain}: {_reason(error)}")
                wait = None
            except ValueError as error:  # of urllib.parse
                text = f"registry {self.domain} sends us to what is no address: {error}"
                raise WherryError(UNAVAILABLE, text) from None
            else:
                if response.status in accept:
                    return response
                wait = retry_after(response.headers.get("Retry-After"), time.time())
                retried = response.status in _RETRIED
                failure = self._failure(response)
                if not retried:
                    raise failure
            if attempt >= self._settings.retries:
                raise failure
            self._settings.sleep(wait if wait is not None else min(0.25 * 2**attempt, RETRY_AFTER_LIMIT_S))
            attempt += 1

    def close(self) -> None:
        """Close the connections; the object may still be used."""
        for pool in self._pools.values():
            pool.clear()

    def ping(self) -> None:
        """Find out how the registry is reached and what authentication it wants."""
        self._connect()

    def _send_authorised(
        self,
        method: str,
        url: str,
        scope: str,
        headers: dict[str, str],
        body: Callable[[], Iterable[bytes]] | bytes | None,
    ) -> BaseHTTPResponse:
        """Answer challenges and follow redirects; credentials go to the registry itself alone."""
        assert self._authenticator is not None
        challenges = redirects = 0
        while True:
            if _origin(url) == _origin(self._base) and (authorization := self._authenticator.header(scope)):
                headers["Authorization"] = authorization
            else:
                headers.pop("Authorization", None)
            response = self._send(method, url, headers, body() if callable(body) else body)
            location = response.headers.get("Location", "")
            if response.status == 401 and challenges < 2 and _origin(url) == _origin(self._base):
                challenges += 1
                if not self._authenticator.challenged(response.headers.get("WWW-Authenticate", ""), scope):
                    return response
                _discard(response)
            elif response.status in (301, 302, 303, 307, 308) and location and redirects < REDIRECT_LIMIT:
                redirects += 1
                _discard(response)
                url = self._redirected(url, location)
            else:
                return response

    def _redirected(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
        if scheme == "https" or (scheme == "http" and urlsplit(url).scheme == "http"):
            return target
        raise WherryError(PERMISSION_DENIED, f"registry {self.domain} redirects to {scheme or 'nowhere'}, refused")

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: Iterable[bytes] | bytes | None
    ) -> BaseHTTPResponse:
        return self._pool(verified=self._verified).request(
            method,
            url,
            headers={"User-Agent": f"wherry/{__version__}", "Accept-Encoding": "identity", **headers},
            body=body,
            preload_content=False,
            decode_content=False,
            redirect=False,
            retries=False,
        )

    def _pool(self, *, verified: bool) -> urllib3.PoolManager:
        pool = self._pools.get(verified)
        if pool is None:
            if not verified:
                warnings.filterwarnings("ignore", category=InsecureRequestWarning)
            pool = self._pools[verified] = urllib3.PoolManager(
                maxsize=self._settings.connections,
                timeout=urllib3.Timeout(connect=min(15.0, self._settings.timeout_s), read=self._settings.timeout_s),
                cert_reqs="CERT_REQUIRED" if verified else "CERT_NONE",
            )
        return pool

    def _candidates(self) -> list[tuple[str, bool]]:
        """Scheme and whether its certificate is checked. A registry on this machine needs no encryption."""
        if is_loopback(self._address):
            return [("http", False), ("https", False)]
        if not self._settings.tls_verify:
            return [("https", False), ("http", False)]
        return [("https", True)]

    def _connect(self) -> None:
        if self._base:
            return
        error: WherryError | None = None
        for scheme, verified in self._candidates():
            base = f"{scheme}://{self._address}/"
            self._verified = verified
            try:
                response = self._knock(base + "v2/")
            except HTTPError as failure:
                error = WherryError(UNAVAILABLE, f"registry {self.domain}: {_reason(failure)}")
                if isinstance(failure, SSLError) or "CERTIFICATE" in str(failure):
                    error.hint = "for a registry with its own certificate, turn verification off"
                continue
            status, header = response.status, response.headers.get("WWW-Authenticate", "")
            _discard(response)
            if scheme == "http" and status == 400:
                error = WherryError(UNAVAILABLE, f"registry {self.domain} does not speak http")
                continue
            self._authenticator = Authenticator(self._token_request, self._credentials, insecure=not verified)
            if status == 401:
                self._authenticator.challenged(header, "")
            self._base = base
            return
        assert error is not None
        raise error

    def _knock(self, url: str) -> BaseHTTPResponse:
        """Ask for the version, without credentials; as patient as any other request."""
        attempt = 0
        while True:
            try:
                response = self._send("GET", url, {}, None)
                if response.status not in _RETRIED or attempt >= self._settings.retries:
                    return response
                wait = retry_after(response.headers.get("Retry-After"), time.time())
                _discard(response)
            except HTTPError as error:
                final = isinstance(error, SSLError) or "refused" in str(error) or "Errno -" in str(error)
                if final or attempt >= self._settings.retries:
                    raise
                wait = None
            self._settings.sleep(wait if wait is not None else 0.25 * 2**attempt)
            attempt += 1

    def _token_request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, bytes]:
        response = self._send(method, url, headers, body)
        try:
            return response.status, response.read(TOKEN_LIMIT_BYTES)
        finally:
            response.close()

    def _failure(self, response: BaseHTTPResponse) -> WherryError:
        """A registry's refusal as an error; its own words are in the message."""
        words = _error_text(_read_some(response))
        code = _CODES.get(response.status, UNAVAILABLE if response.status >= 500 else FAILED_PRECONDITION)
        hint = "log in first, or check the name" if code == UNAUTHENTICATED else ""
        return WherryError(code, f"registry {self.domain}: {words or 'status'} ({response.status})", hint=hint)


def is_loopback(address: str) -> bool:
    """`localhost`, 127.0.0.0/8 and [::1], with or without a port."""
    if address.startswith("[::1]"):
        return True
    host = address.partition(":")[0]
    parts = host.split(".")
    return host == "localhost" or (len(parts) == 4 and parts[0] == "127" and all(part.isdigit() for part in parts))


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait, from either form of the header, at most a minute; None when it says nothing."""
    if not value:
        return None
    if value.strip().isdigit():
        wait = float(value)
    else:
        try:
            wait = email.utils.parsedate_to_datetime(value).timestamp() - now
        except (TypeError, ValueError):
            return None
    return min(max(wait, 0.0), RETRY_AFTER_LIMIT_S)


def read_limited(response: BaseHTTPResponse, limit_bytes: int, what: str) -> bytes:
    """The whole body; RESOURCE_EXHAUSTED when it is larger than the limit, UNAVAILABLE when it breaks off."""
    parts: list[bytes] = []
    size = 0
    try:
        while part := response.read(min(1 << 16, limit_bytes + 1 - size)):
            parts.append(part)
            size += len(part)
            if size > limit_bytes:
                raise WherryError(RESOURCE_EXHAUSTED, f"{what} is larger than {limit_bytes} bytes")
    except HTTPError as error:
        raise WherryError(UNAVAILABLE, f"{what}: {_reason(error)}") from None
    finally:
        response.close()
    return b"".join(parts)


def _read_some(response: BaseHTTPResponse) -> bytes:
    try:
        return response.read(ERROR_LIMIT_BYTES)
    except HTTPError:
        return b""
    finally:
        response.close()


def _discard(response: BaseHTTPResponse) -> None:
    """Make the connection usable again, if that costs little."""
    try:
        if len(response.read(ERROR_LIMIT_BYTES)) < ERROR_LIMIT_BYTES:
            response.release_conn()
            return
    except HTTPError:
        pass
    response.close()


def _error_text(body: bytes) -> str:
    """`CODE: message` of the distribution specification's error documents, made safe to print."""
    try:
        errors = json.loads(body)["errors"]
        texts = [f"{error.get('code', '')}: {error.get('message', '')}".strip(": ") for error in errors]
    except (ValueError, KeyError, TypeError, AttributeError):
        texts = []
    text = "; ".join(texts)[:500]
    return "".join(character if character.isprintable() else "?" for character in text)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port


def _reason(error: HTTPError) -> str:
    reason = getattr(error, "reason", None) or error
    text = str(reason)
    for end_of_object in (">: ", "): "):
        text = text.rpartition(end_of_object)[2] or text
    return text
