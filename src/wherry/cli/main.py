"""Entry of the `wherry` command: global options, the table of commands, the error edge.

Only the chosen command's module is imported.
"""

from __future__ import annotations

import os
import sys

from wherry.start import keep_modules

from . import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# verb: (module in wherry.cli.commands, one line of help)
COMMANDS = {
    "container": ("container", "Manage containers"),
    "create": ("create", "Create a container without starting it"),
    "exec": ("exec", "Run a command in a running container"),
    "explain": ("explain", "Show what a run would do to the system"),
    "image": ("image", "Manage images"),
    "images": ("images", "List images"),
    "import": ("import_", "Make an image from a tarball of a root file system"),
    "inspect": ("inspect", "Show everything about containers or images"),
    "kill": ("kill", "Send a signal to containers"),
    "load": ("load", "Load images from an archive"),
    "logs": ("logs", "Show what a container wrote"),
    "ps": ("ps", "List containers"),
    "pull": ("pull", "Pull an image from a registry"),
    "push": ("push", "Push an image to a registry"),
    "rm": ("rm", "Remove containers"),
    "rmi": ("rmi", "Remove images"),
    "run": ("run", "Run a command in a new container"),
    "save": ("save", "Save images to an archive"),
    "start": ("start", "Start containers"),
    "stop": ("stop", "Stop containers"),
    "tag": ("tag", "Give an image another name"),
    "wait": ("wait", "Wait for containers to end and print their exit status"),
}
# Verbs that only read, or only talk to what runs: they need no user namespace of their own.
OUTSIDE = frozenset({"exec", "images", "inspect", "kill", "logs", "ps"})


class Globals:
    """Options before the verb."""

    __slots__ = ("root", "run_root")

    def __init__(self) -> None:
        self.root: str | None = None
        self.run_root = ""


def main(argv: Sequence[str]) -> int:
    """Run one command line (without the program's name); the exit status."""
    settings = Globals()
    if sys.stdout is None:  # closed by the caller
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    try:
        rest = _global_options(argv, settings)
        if not rest or rest[0] in ("help", "--help", "-h"):
            sys.stdout.write(usage())
            return 0 if rest else 1
        return _run_verb(rest[0], rest[1:], settings, argv)
    except BrokenPipeError:
        # The reader has gone (a pipe into head): end as any filter does, without a message.
        _discard_output()
        return 141
    except KeyboardInterrupt:
        return 130


def _run_verb(verb: str, arguments: list[str], settings: Globals, argv: Sequence[str]) -> int:
    command = COMMANDS.get(verb)
    if command is None:
        sys.stderr.write(f"Error: unknown command {verb!r}\n  → wherry --help lists the commands\n")
        return errors.ENGINE_STATUS
    if os.geteuid() != 0 and verb not in OUTSIDE and "WHERRY_ROOTLESS_UID" not in os.environ:
        return _enter_namespace(settings, argv)
    if "WHERRY_ROOTLESS_LOCK" in os.environ:
        os.set_inheritable(int(os.environ["WHERRY_ROOTLESS_LOCK"]), False)
    module = __import__(f"wherry.cli.commands.{command[0]}", fromlist=["run"])
    from wherry.errors import WherryError

    try:
        status: int = module.run(arguments, settings)
        sys.stdout.flush()
    except (WherryError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        errors.show(error)
        _flush_or_discard()
        return module.status(error) if hasattr(module, "status") else errors.status(error)
    keep_modules()
    return status


def _flush_or_discard() -> None:
    """Write what is left; when that fails (a full disk) the interpreter shall not try again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output()


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _enter_namespace(settings: Globals, argv: Sequence[str]) -> int:
    """Become root of a user namespace; returns only when that fails."""
    from wherry.engine import paths
    from wherry.errors import WherryError

    from .rootless import enter

    try:
        enter(argv, paths.make_private(settings.run_root or paths.run_root()))
    except (WherryError, OSError) as error:
        errors.show(error)
    return errors.ENGINE_STATUS


def _global_options(argv: Sequence[str], settings: Globals) -> list[str]:
    rest = list(argv)
    while rest and rest[0].startswith("-") and rest[0] not in ("-h", "--help"):
        option, equals, value = rest.pop(0).partition("=")
        if option in ("--version", "-v"):
            from wherry import __version__

            sys.stdout.write(f"wherry version {__version__}\n")
            raise SystemExit(0)
        if option not in ("--root", "--run-root"):
            sys.stderr.write(f"Error: unknown option {option}\n  → wherry --help lists the options\n")
            raise SystemExit(errors.ENGINE_STATUS)
        if not equals and rest:
            value = rest.pop(0)
        if not value:
            sys.stderr.write(f"Error: option {option} needs a folder\n")
            raise SystemExit(errors.ENGINE_STATUS)
        setattr(settings, option[2:].replace("-", "_"), os.path.abspath(value))
    return rest


def usage() -> str:
    """The help text."""
    verbs = "".join([f"  {verb:<10} {command[1]}\n" for verb, command in COMMANDS.items()])
    return (
        "Usage: wherry [--root DIR] [--run-root DIR] COMMAND …\n\nRun containers without a daemon.\n\n"
        f"Commands:\n{verbs}\nwherry COMMAND --help says more about a command.\n"
    )
