"""`wherry exec`: run a command in a running container."""

from __future__ import annotations

import os

from wherry.cli.arguments import environment, open_engine
from wherry.cli.errors import ENGINE_STATUS
from wherry.cli.parser import Parser
from wherry.engine.execution import ExecRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.main import Globals


def parser() -> Parser:
    """The flags."""
    parser = Parser("exec", "Run a command in a running container.")
    parser.add_argument("-d", "--detach", action="store_true", help="do not wait for the command")
    parser.add_argument("-e", "--env", action="append", default=[], metavar="NAME[=VALUE]", help="set a variable")
    parser.add_argument("--env-file", action="append", default=[], metavar="FILE", help="read variables from a file")
    parser.add_argument("-i", "--interactive", action="store_true", help="keep standard input open")
    parser.add_argument("-t", "--tty", action="store_true", help="give the command a terminal")
    parser.add_argument("-u", "--user", default="", metavar="USER[:GROUP]", help="name or id of the user")
    parser.add_argument("-w", "--workdir", default="", metavar="DIR", help="working directory")
    parser.add_argument("--privileged", action="store_true", help="all capabilities")
    parser.add_argument("container", metavar="CONTAINER")
    parser.add_argument("command", nargs="...", metavar="COMMAND")
    return parser


def run(arguments: list[str], settings: Globals) -> int:
    """The command's exit status is the process's; this process becomes it."""
    arguments_parser = parser()
    parsed = arguments_parser.parse_args(arguments)
    if not parsed.command:
        arguments_parser.error("name a command")
    if parsed.tty and parsed.interactive and not parsed.detach:
        from wherry.cli.terminal import require_terminal

        require_terminal()
    request = ExecRequest(
        parsed.command,
        env=environment(parsed.env, parsed.env_file),
        user=parsed.user,
        working_dir=parsed.workdir,
        tty=parsed.tty,
        privileged=parsed.privileged,
    )
    engine = open_engine(settings)
    container = engine.get(parsed.container)
    if not parsed.interactive:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    request.replace_process(engine, container, detach=parsed.detach)
    raise AssertionError("the exec was not executed")


def status(error: BaseException) -> int:
    """Docker's statuses: 1 for a container that is not there or not running, else 125."""
    from wherry.cli.errors import status as general
    from wherry.errors import FAILED_PRECONDITION, NOT_FOUND

    return general(error) if getattr(error, "code", "") in (NOT_FOUND, FAILED_PRECONDITION) else ENGINE_STATUS
