"""Identifiers and readable names for containers nobody named."""

from __future__ import annotations

import os

_FIRST = (
    "amber", "brisk", "calm", "clear", "deft", "eager", "fair", "gentle", "hardy", "keen", "light", "lively",
    "merry", "nimble", "placid", "quick", "quiet", "ready", "sharp", "smooth", "steady", "sunny", "swift", "tidy",
    "trim", "vivid", "warm", "wide", "windy", "young", "zesty", "bold",
)  # fmt: skip
_SECOND = (
    "anchor", "barge", "beacon", "bollard", "bow", "buoy", "cutter", "dinghy", "estuary", "ferry", "gunwale",
    "harbour", "jetty", "keel", "lantern", "lighter", "mooring", "oar", "pier", "punt", "quay", "rudder", "sail",
    "shoal", "skiff", "slipway", "sloop", "strait", "tender", "tide", "tiller", "wake",
)  # fmt: skip


def new_id() -> str:
    """64 hexadecimal digits."""
    return os.urandom(32).hex()


def new_name() -> str:
    """Two words and a number: unlikely to collide, easy to type."""
    a, b, c, d = os.urandom(4)
    return f"{_FIRST[a % len(_FIRST)]}_{_SECOND[b % len(_SECOND)]}_{c * 256 + d}"
