"""User names and passwords for registries, from the files that podman and docker keep."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path

from wherry.errors import INVALID_ARGUMENT, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

FILE_LIMIT_BYTES = 1 << 20
HELPER_TIMEOUT_S = 60
_DOCKER_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")


class Credentials:
    """A user's name and password, or an identity token (OAuth2 refresh token) in place of the password."""

    __slots__ = ("identity_token", "password", "username")

    def __init__(self, username: str, password: str, identity_token: str = "") -> None:
        self.username = username
        self.password = password
        self.identity_token = identity_token

    def basic(self) -> str:
        """Value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, …)"


def find(
    domain: str, repository: str, *, auth_file: str | None = None, environment: Mapping[str, str] | None = None
) -> Credentials | None:
    """Credentials for a repository: the most specific entry of the first file that has one.

    With `auth_file` (or $REGISTRY_AUTH_FILE) only that file is read; INVALID_ARGUMENT when it cannot be.
    """
    environment = os.environ if environment is None else environment
    explicit = auth_file or environment.get("REGISTRY_AUTH_FILE")
    if explicit:
        return _find_in(_read(Path(explicit), required=True), domain, repository)
    for path in _default_files(environment):
        found = _find_in(_read(path, required=False), domain, repository)
        if found is not None:
            return found
    return None


def _default_files(environment: Mapping[str, str]) -> Iterator[Path]:
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, "containers/auth.json")
    else:
        yield Path(f"/run/containers/{os.getuid()}/auth.json")
    home = environment.get("HOME", "")
    config = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    if config:
        yield Path(config, "containers/auth.json")
    docker = environment.get("DOCKER_CONFIG") or (f"{home}/.docker" if home else "")
    if docker:
        yield Path(docker, "config.json")
    if home:
        yield Path(home, ".dockercfg")


def _read(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_LIMIT_BYTES + 1)
        document = json.loads(raw) if len(raw) <= FILE_LIMIT_BYTES else None
    except OSError as error:
        if not required:
            return {}
        raise WherryError(INVALID_ARGUMENT, f"cannot read: {error.strerror}", path=str(path)) from None
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise WherryError(INVALID_ARGUMENT, "not a file of registry credentials", path=str(path))
    if path.name == ".dockercfg":
        return {"auths": document}
    return document


def _find_in(document: dict[str, Any], domain: str, repository: str) -> Credentials | None:
    helpers = document.get("credHelpers")
    if isinstance(helpers, dict) and isinstance(helpers.get(domain), str):
        return _ask_helper(helpers[domain], domain)
    auths = document.get("auths")
    entries = {_normal(key): value for key, value in auths.items()} if isinstance(auths, dict) else {}
    for key in _keys(domain, repository):
        found = _decode(entries.get(key))
        if found is not None:
            return found
    store = document.get("credsStore")
    if isinstance(store, str) and store:
        return _ask_helper(store, _DOCKER_HUB_KEYS[0] if domain == "docker.io" else domain)
    return None


def _keys(domain: str, repository: str) -> Iterator[str]:
    """`host/a/b`, `host/a`, `host`."""
    path = f"{domain}/{repository}"
    while path:
        yield path
        path = path.rpartition("/")[0]
    if domain == "docker.io":
        yield from (_normal(key) for key in _DOCKER_HUB_KEYS)


def _normal(key: str) -> str:
    """Without scheme, and without the /v1/ or /v2/ that docker's old keys end in."""
    key = key.partition("://")[2] or key
    for suffix in ("/v1", "/v2"):
        key = key.removesuffix("/").removesuffix(suffix)
    return key


def _decode(entry: object) -> Credentials | None:
    if not isinstance(entry, dict):
        return None
    token = entry.get("identitytoken")
    token = token if isinstance(token, str) else ""
    auth = entry.get("auth")
    if isinstance(auth, str) and auth:
        try:
            username, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
        except ValueError:
            return None
        if not colon:
            return None
        return Credentials(username, password.rstrip("\0"), token)
    name, secret = entry.get("username"), entry.get("password")
    if isinstance(name, str) and isinstance(secret, str):
        return Credentials(name, secret, token)
    return Credentials("", "", token) if token else None


def _ask_helper(helper: str, domain: str) -> Credentials | None:
    """docker-credential-HELPER get, as docker's protocol has it."""
    if not helper.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise WherryError(INVALID_ARGUMENT, f"not a credential helper: {helper!r}")
    try:
        answer = subprocess.run(
            [f"docker-credential-{helper}", "get"],
            input=domain.encode(),
            capture_output=True,
            timeout=HELPER_TIMEOUT_S,
            check=True,
        )
        document = json.loads(answer.stdout)
        username, secret = str(document["Username"]), str(document["Secret"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return None
    return Credentials("", "", secret) if username == "<token>" else Credentials(username, secret)
