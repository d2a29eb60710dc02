"""Containers over the store, the runtime and the network: `Engine`, `CreateOptions`, `Container`.

The names are loaded on first use, so that importing a part of the engine costs only that part.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .container import Container
    from .engine import Engine
    from .execution import ExecRequest, ExecResult
    from .launch import StartFailed
    from .options import BindMount, CreateOptions, HealthCheck

_HOMES = {
    "BindMount": "options",
    "Container": "container",
    "CreateOptions": "options",
    "Engine": "engine",
    "ExecRequest": "execution",
    "ExecResult": "execution",
    "HealthCheck": "options",
    "StartFailed": "launch",
}
__all__ = [
    "BindMount", "Container", "CreateOptions", "Engine", "ExecRequest", "ExecResult", "HealthCheck", "StartFailed",
]  # fmt: skip


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(__import__(f"{__name__}.{home}", fromlist=[name]), name)
