"""Registries (OCI distribution-spec): a client with authentication, retries and resumption."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.registry.client import Client
    from wherry.registry.credentials import Credentials
    from wherry.registry.http import Settings

__all__ = ["Client", "Credentials", "Settings"]

_HOMES = {"Client": "client", "Credentials": "credentials", "Settings": "http"}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{home}"), name)
