"""WWW-Authenticate (RFC 9110, 11.6.1) and the tokens that a Bearer challenge is answered with."""

from __future__ import annotations

import json
import time
from urllib.parse import urlencode, urlsplit

from wherry.errors import PERMISSION_DENIED, UNAUTHENTICATED, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wherry.registry.credentials import Credentials

    #: method, url, headers, body -> status, body
    Send = Callable[[str, str, Mapping[str, str], bytes | None], tuple[int, bytes]]

_MINIMUM_LIFE_S = 60
_SAFETY_S = 5


class Challenge:
    """What a registry asks for: `bearer` or `basic`, with parameters."""

    __slots__ = ("parameters", "scheme")

    def __init__(self, scheme: str, parameters: Mapping[str, str]) -> None:
        self.scheme = scheme
        self.parameters = dict(parameters)


def parse(header: str) -> list[Challenge]:
    """All challenges of a header; what cannot be understood is left out."""
    challenges: list[Challenge] = []
    position = 0
    while position < len(header):
        word, position = _token(header, position)
        if not word:
            position += 1
            continue
        if position < len(header) and header[position] == "=" and challenges:
            value, position = _value(header, position + 1)
            challenges[-1].parameters[word.lower()] = value
        else:
            challenges.append(Challenge(word.lower(), {}))
    return challenges


def _token(text: str, position: int) -> tuple[str, int]:
    start = position
    while position < len(text) and text[position] not in ' \t,="':
        position += 1
    return text[start:position], position


def _value(text: str, position: int) -> tuple[str, int]:
    if not text.startswith('"', position):
        return _token(text, position)
    value = ""
    position += 1
    while position < len(text) and text[position] != '"':
        if text[position] == "\\" and position + 1 < len(text):
            position += 1
        value += text[position]
        position += 1
    return value, position + 1


class Authenticator:
    """Answers one registry's challenges and remembers its tokens by scope."""

    def __init__(self, send: Send, credentials: Callable[[], Credentials | None], *, insecure: bool) -> None:
        self._send = send
        self._find = credentials
        self._insecure = insecure
        self._challenge: Challenge | None = None
        self._tokens: dict[str, tuple[str, float]] = {}

    def header(self, scope: str) -> str:
        """The Authorization header for a request, or "" before the registry has asked for any."""
        if self._challenge is None:
            return ""
        if self._challenge.scheme == "basic":
            credentials = self._find()
            return credentials.basic() if credentials is not None else ""
        known = self._tokens.get(scope)
        if known is None or known[1] < time.monotonic():
            known = self._tokens[scope] = self._fetch(self._challenge, scope)
        return f"Bearer {known[0]}"

    def challenged(self, header: str, scope: str) -> bool:
        """Take note of a 401; False when there is nothing new to try."""
        for challenge in parse(header):
            if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                fresh = self._challenge is None or self._tokens.pop(scope, None) is not None
                self._challenge = challenge
                return fresh
        for challenge in parse(header):
            if challenge.scheme == "basic":
                fresh = self._challenge is None and self._find() is not None
                self._challenge = challenge
                return fresh
        return False

    def _fetch(self, challenge: Challenge, scope: str) -> tuple[str, float]:
        """A token from the realm (distribution's token specification); UNAUTHENTICATED when refused."""
        realm = challenge.parameters["realm"]
        credentials = self._find()
        self._check_realm(realm, credentials)
        fields = {"service": challenge.parameters.get("service", "")}
        scopes = scope.split(" ") if scope else []
        if credentials is not None and credentials.identity_token:
            form = {
                **fields,
                "grant_type": "refresh_token",
                "refresh_token": credentials.identity_token,
                "client_id": "wherry",
                "scope": scope,
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            status, body = self._send("POST", realm, headers, urlencode(form).encode())
        else:
            query = urlencode([*fields.items(), *(("scope", part) for part in scopes)])
            headers = {"Authorization": credentials.basic()} if credentials is not None else {}
            status, body = self._send("GET", f"{realm}{'&' if '?' in realm else '?'}{query}", headers, None)
        return _read_token(status, body, realm)

    def _check_realm(self, realm: str, credentials: Credentials | None) -> None:
        scheme = urlsplit(realm).scheme
        if scheme == "https" or (scheme == "http" and (self._insecure or credentials is None)):
            return
        raise WherryError(PERMISSION_DENIED, f"refusing to send a password to {realm}", hint="it is not encrypted")


def _read_token(status: int, body: bytes, realm: str) -> tuple[str, float]:
    if status != 200:
        raise WherryError(UNAUTHENTICATED, f"{realm} refuses a token (status {status})", hint="log in first")
    try:
        document = json.loads(body)
        token = document.get("token") or document.get("access_token")
        life = float(document.get("expires_in") or _MINIMUM_LIFE_S)
    except (ValueError, AttributeError, TypeError):
        token, life = None, 0.0
    if not isinstance(token, str) or not token or not token.isascii() or "\n" in token or "\r" in token:
        raise WherryError(UNAUTHENTICATED, f"{realm} sent no usable token")
    return token, time.monotonic() + max(life, _MINIMUM_LIFE_S) - _SAFETY_S
