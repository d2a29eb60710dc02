"""The command line of the `wherry-runtime` verbs that need Python; the native program does the others alone."""

from __future__ import annotations

import posix
import sys

from wherry.errors import INVALID_ARGUMENT, WherryError
from wherry.runtime.arguments import FLAG, TEXT, Arguments, parse
from wherry.runtime.paths import absolute
from wherry.runtime.report import Report
from wherry.start import keep_modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from wherry.runtime.arguments import Table

GLOBAL: Table = (
    ("root", "", TEXT),
    ("log", "", TEXT),
    ("log-format", "", TEXT),
    ("log-level", "", TEXT),
    ("debug", "", FLAG),
    ("systemd-cgroup", "", FLAG),
    ("cgroup-manager", "", TEXT),
    ("rootless", "", TEXT),
    ("criu", "", TEXT),
    ("version", "v", FLAG),
    ("help", "h", FLAG),
)
VERBS = ("checkpoint", "create", "events", "exec", "features", "restore", "run", "spec", "update")
NATIVE_VERBS = ("delete", "kill", "list", "pause", "ps", "resume", "start", "state")
CGROUP_MANAGERS = ("cgroupfs", "systemd", "disabled")


class Context:
    """The global options, interpreted."""

    __slots__ = ("arguments", "cgroup_manager", "native", "report", "rootless", "words")

    def __init__(self, arguments: Arguments, report: Report, words: list[str]) -> None:
        self.arguments = arguments
        self.report = report
        self.words = words
        self.native = sys.argv[0]
        self.cgroup_manager = arguments.text("cgroup-manager") or "cgroupfs"
        if arguments.flag("systemd-cgroup"):
            self.cgroup_manager = "systemd"
        if self.cgroup_manager not in CGROUP_MANAGERS:
            text = f"{self.cgroup_manager!r} is not known"
            raise WherryError(
                INVALID_ARGUMENT, text, hint=f"one of {', '.join(CGROUP_MANAGERS)}", path="--cgroup-manager"
            )
        self.rootless = _rootless(arguments.text("rootless"))

    def become_native(self, words: list[str]) -> NoReturn:
        """Replace this process by the native program."""
        keep_modules()
        posix.execv(self.native, [self.native, *words])

    def root(self) -> str:
        """The absolute directory of the state folders."""
        given = self.arguments.text("root")
        if given:
            return absolute(given)
        from wherry.runtime.host import Host
        from wherry.runtime.state_folder import default_root

        host = Host.probe()
        return default_root(host.euid, host.in_userns)


def _rootless(word: str) -> bool | None:
    if word in ("", "auto"):
        return None
    if word not in ("true", "false"):
        raise WherryError(INVALID_ARGUMENT, "must be true, false or auto", path="--rootless")
    return word == "true"


def main(argv: Sequence[str]) -> int:
    """Run a command line (without the program's name); returns the exit status."""
    report = Report("", "text")
    status = 1
    try:
        arguments = parse(GLOBAL, argv, intermixed=False)
        report = _open_report(arguments)
        verb, words = (arguments.operands[0], arguments.operands[1:]) if arguments.operands else ("", [])
        if verb == "exec":
            status = 255
        if not verb or arguments.flag("help") or _asks_help(verb, words):
            from wherry.runtime.commands.help import show_help

            return show_help(verb)
        if verb not in VERBS:
            status = 3
            raise WherryError(INVALID_ARGUMENT, f"no such command: {verb}", hint="see --help")
        context = Context(arguments, report, words)
        return _run(verb, context)
    except WherryError as error:
        report.error(str(error))
    except OSError as error:
        report.error(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror))
    except KeyboardInterrupt:
        status = 130
    except Exception as error:  # a mistake of this program: engines read its log, people the trace
        import traceback

        traceback.print_exc()
        report.error(f"internal error: {error!r}")
    return status


def _open_report(arguments: Arguments) -> Report:
    format = arguments.text("log-format") or "text"
    if format not in ("text", "json"):
        raise WherryError(INVALID_ARGUMENT, f"invalid log-format: {format}", hint="text or json")
    return Report(arguments.text("log"), format)


def _asks_help(verb: str, words: list[str]) -> bool:
    """`--help` among the options; not among the words of a command to execute."""
    for word in words:
        if word in ("--help", "-h"):
            return True
        if word == "--" or (verb == "exec" and word[:1] != "-"):
            return False
    return False


def _run(verb: str, context: Context) -> int:
    if verb == "create":
        from wherry.runtime.commands import create

        return create.run(context)
    if verb == "run":
        from wherry.runtime.commands import run

        return run.run(context)
    if verb == "exec":
        from wherry.runtime.commands import exec

        return exec.run(context)
    module = __import__(f"wherry.runtime.commands.{verb}", fromlist=["run"])
    return int(module.run(context))
