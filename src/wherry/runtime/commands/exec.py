"""`exec`: another process in a running container."""

from __future__ import annotations

import posix

from wherry.errors import INVALID_ARGUMENT, WherryError
from wherry.oci import config
from wherry.runtime.arguments import FLAG, MANY, TEXT, Arguments, parse
from wherry.runtime.commands.terminal import check_terminal
from wherry.runtime.compile.exec import compile_exec
from wherry.runtime.host import Host
from wherry.runtime.options import Options
from wherry.runtime.paths import absolute
from wherry.runtime.state_folder import check_id, default_root, open_target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.runtime.arguments import Table
    from wherry.runtime.command_line import Context

OPTIONS: Table = (
    ("process", "p", TEXT),
    ("console-socket", "", TEXT),
    ("cwd", "", TEXT),
    ("env", "e", MANY),
    ("tty", "t", FLAG),
    ("user", "u", TEXT),
    ("additional-gids", "g", MANY),
    ("detach", "d", FLAG),
    ("pid-file", "", TEXT),
    ("pidfd-socket", "", TEXT),
    ("process-label", "", TEXT),
    ("apparmor", "", TEXT),
    ("no-new-privs", "", FLAG),
    ("cap", "c", MANY),
    ("preserve-fds", "", TEXT),
    ("cgroup", "", MANY),
    ("ignore-paused", "", FLAG),
    ("no-subreaper", "", FLAG),
    ("no-new-keyring", "", FLAG),
)


def run(context: Context) -> int:
    """Never returns when all is well."""
    arguments = parse(OPTIONS, context.words, intermixed=False)
    if not arguments.operands:
        raise WherryError(INVALID_ARGUMENT, "requires at least 1 argument, the container's ID")
    container_id, command = arguments.operands[0], arguments.operands[1:]
    if command[:1] == ["--"]:
        command = command[1:]
    check_id(container_id)
    host = Host.probe()
    given = context.arguments.text("root")
    root = absolute(given) if given else default_root(host.euid, host.in_userns)
    target = open_target(root, container_id, ignore_paused=arguments.flag("ignore-paused"))
    document = config.load(f"{root}/{container_id}/config.json")
    process = make_process(arguments, command, document)
    options = _options(context, arguments, container_id, root)
    detached = arguments.flag("detach")
    check_terminal(process, options.console_socket, detached=detached)
    sub_cgroups = arguments.many("cgroup")
    plan = compile_exec(process, document, host, target, options, sub_cgroups=sub_cgroups)
    for line in options.warnings:
        context.report.warning(line)
    plan_fd = posix.memfd_create("plan", 0)
    posix.write(plan_fd, plan.encode())
    posix.lseek(plan_fd, 0, 0)
    words = ["@exec", *context.report.options()]
    if detached:
        words.append("--detach")
    if options.kept_fds:
        words += ["--preserve-fds", str(options.kept_fds)]
    context.become_native([*words, str(plan_fd)])


def _options(context: Context, arguments: Arguments, container_id: str, root: str) -> Options:
    pid_file, console, pidfd = (arguments.text(n) for n in ("pid-file", "console-socket", "pidfd-socket"))
    return Options(
        id=container_id,
        root=root,
        console_socket=absolute(console) if console else "",
        pid_file=absolute(pid_file) if pid_file else "",
        pidfd_socket=absolute(pidfd) if pidfd else "",
        preserve_fds=arguments.number("preserve-fds"),
        no_new_keyring=arguments.flag("no-new-keyring"),
        rootless=context.rootless,
        native_path=context.native,
    )


def make_process(arguments: Arguments, command: list[str], document: dict[str, Any]) -> dict[str, Any]:
    """The process to run: of `--process`, or the container's own with a command and what options change."""
    file = arguments.text("process")
    if file:
        process = config.load(file)
    else:
        own = document.get("process")
        process = dict(own) if isinstance(own, dict) else {}
        if not command:
            raise WherryError(INVALID_ARGUMENT, "a command, or --process, is required")
        process["args"] = command
        process["terminal"] = False
    if arguments.flag("tty"):
        process["terminal"] = True
    if arguments.text("cwd"):
        process["cwd"] = arguments.text("cwd")
    if arguments.many("env"):
        process["env"] = [*(process.get("env") or ()), *arguments.many("env")]
    if arguments.flag("no-new-privs"):
        process["noNewPrivileges"] = True
    for option, name in (("process-label", "selinuxLabel"), ("apparmor", "apparmorProfile")):
        if arguments.text(option):
            process[name] = arguments.text(option)
    _set_user(arguments, process)
    if arguments.many("cap"):
        _add_capabilities(arguments.many("cap"), process)
    return process


def _set_user(arguments: Arguments, process: dict[str, Any]) -> None:
    user = dict(process.get("user") or {})
    text = arguments.text("user")
    if text:
        uid, colon, gid = text.partition(":")
        for part in (uid, gid) if colon else (uid,):
            if not (part.isascii() and part.isdigit()):
                raise WherryError(INVALID_ARGUMENT, f"{text!r} is not UID or UID:GID in numbers", path="--user")
        user["uid"] = int(uid)
        if colon:
            user["gid"] = int(gid)
    groups = [group for value in arguments.many("additional-gids") for group in value.split(",")]
    for group in groups:
        if not (group.isascii() and group.isdigit()):
            raise WherryError(INVALID_ARGUMENT, f"{group!r} is not a number", path="--additional-gids")
    if groups:
        user["additionalGids"] = [*(user.get("additionalGids") or ()), *[int(group) for group in groups]]
    if user:
        process["user"] = user


def _add_capabilities(names: list[str], process: dict[str, Any]) -> None:
    """Into every set that holds capabilities of a process without inheritable ones (CVE-2022-29162)."""
    from wherry.runtime.capabilities import normalise

    added = [normalise(part) for name in names for part in name.split(",")]
    sets = {name: list(value or ()) for name, value in (process.get("capabilities") or {}).items()}
    for name in ("bounding", "effective", "permitted"):
        sets[name] = sets.get(name, []) + added
    process["capabilities"] = sets
