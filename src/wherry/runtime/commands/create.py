"""`create`: compile the bundle's document, then become the native program that executes the plan."""

from __future__ import annotations

import posix

from wherry.errors import INVALID_ARGUMENT, WherryError
from wherry.oci import config
from wherry.runtime.arguments import FLAG, TEXT, Arguments, parse
from wherry.runtime.commands.terminal import check_terminal
from wherry.runtime.compile.container import compile_container
from wherry.runtime.host import Host, variable
from wherry.runtime.options import Options
from wherry.runtime.paths import absolute
from wherry.runtime.state_folder import check_free, check_id, default_root
from wherry.runtime.state_folder import create as create_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.runtime.arguments import Table
    from wherry.runtime.command_line import Context

OPTIONS: Table = (
    ("bundle", "b", TEXT),
    ("config", "f", TEXT),
    ("console-socket", "", TEXT),
    ("pid-file", "", TEXT),
    ("pidfd-socket", "", TEXT),
    ("no-pivot", "", FLAG),
    ("no-new-keyring", "", FLAG),
    ("no-subreaper", "", FLAG),
    ("preserve-fds", "", TEXT),
)


def run(context: Context) -> int:
    """Never returns when all is well."""
    arguments = parse(OPTIONS, context.words, intermixed=True)
    return launch(context, arguments, "@create", [])


def launch(context: Context, arguments: Arguments, command: str, words: list[str]) -> int:
    """Compile, make the state folder, execute `command` with these options besides the common ones."""
    if len(arguments.operands) != 1:
        count = len(arguments.operands)
        raise WherryError(INVALID_ARGUMENT, f"requires exactly 1 argument, the container's ID; {count} given")
    container_id = arguments.operands[0]
    check_id(container_id)
    host = Host.probe()
    given = context.arguments.text("root")
    root = absolute(given) if given else default_root(host.euid, host.in_userns)
    options = make_options(context, arguments, container_id, root)
    check_free(root, container_id, context.native)
    path = arguments.text("config") or f"{options.bundle}/config.json"
    data = config.read(path)
    document = config.parse(data, path)
    detached = command == "@create" or "--detach" in words
    check_terminal(document.get("process"), options.console_socket, detached=detached)
    plan = compile_container(document, host, options)
    for line in options.warnings:
        context.report.warning(line)
    folder = create_folder(root, container_id, plan.encode(), data)
    posix.set_inheritable(folder.lock_fd, True)
    posix.set_inheritable(folder.plan_fd, True)
    native = [command, "--root", root, "--id", container_id, "--lock-fd", str(folder.lock_fd)]
    native += context.report.options() + words
    if options.kept_fds:
        native += ["--preserve-fds", str(options.kept_fds)]
    try:
        context.become_native([*native, str(folder.plan_fd)])
    except OSError:
        folder.discard()
        raise


def make_options(context: Context, arguments: Arguments, container_id: str, root: str) -> Options:
    """What the command line says, with absolute paths."""
    bundle = absolute(arguments.text("bundle") or ".")
    listen_fds = variable("LISTEN_FDS")
    return Options(
        id=container_id,
        bundle=bundle,
        root=root,
        console_socket=_absolute(arguments.text("console-socket")),
        pid_file=_absolute(arguments.text("pid-file")),
        pidfd_socket=_absolute(arguments.text("pidfd-socket")),
        preserve_fds=arguments.number("preserve-fds"),
        listen_fds=int(listen_fds) if listen_fds.isdigit() else 0,
        no_pivot=arguments.flag("no-pivot"),
        no_new_keyring=arguments.flag("no-new-keyring"),
        cgroup_manager=context.cgroup_manager,
        rootless=context.rootless,
        notify_socket=variable("NOTIFY_SOCKET"),
        native_path=context.native,
    )


def _absolute(path: str) -> str:
    return absolute(path) if path else ""
