"""Where the engine keeps what does not outlive a boot."""

from __future__ import annotations

import os

from wherry.errors import FAILED_PRECONDITION, PERMISSION_DENIED, WherryError


def run_root() -> str:
    """`$WHERRY_RUN_ROOT`, else `/run/wherry`, rootless `$XDG_RUNTIME_DIR/wherry` (or a private folder in /tmp)."""
    given = os.environ.get("WHERRY_RUN_ROOT")
    if given:
        return given
    if real_uid() == 0:
        return "/run/wherry"
    base = os.environ.get("XDG_RUNTIME_DIR")
    return os.path.join(base, "wherry") if base else f"/tmp/wherry-run-{real_uid()}"


def real_uid() -> int:
    """The user on whose behalf this runs: inside the rootless user namespace uid 0 is not the host's root."""
    return int(os.environ.get("WHERRY_ROOTLESS_UID", "") or os.geteuid())


def in_user_namespace() -> bool:
    """Whether this process was started by the rootless re-execution."""
    return "WHERRY_ROOTLESS_UID" in os.environ


def may_act() -> bool:
    """Whether containers' files and processes can be removed: as root, of the host or of the user namespace."""
    return os.geteuid() == 0


def release_namespace_lock() -> None:
    """A monitor keeps the rootless user namespace from now on: let others join it (see wherry.cli.rootless)."""
    lock = os.environ.pop("WHERRY_ROOTLESS_LOCK", "")
    if lock:
        os.close(int(lock))


def make_private(directory: str) -> str:
    """Make a folder only its owner can enter. Raises WherryError when it cannot be made or belongs to someone else."""
    hint = "set XDG_RUNTIME_DIR or --run-root to a folder of your own"
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    except OSError as error:
        text = f"cannot make the folder for running containers: {error.strerror}"
        raise WherryError(FAILED_PRECONDITION, text, hint=hint, path=directory) from None
    if os.stat(directory, follow_symlinks=False).st_uid not in (os.geteuid(), 0) or not os.access(directory, os.W_OK):
        raise WherryError(PERMISSION_DENIED, "belongs to another user", hint=hint, path=directory)
    return directory
