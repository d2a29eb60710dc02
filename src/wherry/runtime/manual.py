"""wherry-runtime(1), from the tables of `--help`.

`python -m wherry.runtime.manual` writes `docs/man/wherry-runtime.1`; a test fails when it is not current.
"""

from __future__ import annotations

from pathlib import Path

from wherry.runtime.arguments import FLAG, MANY, Table
from wherry.runtime.command_line import GLOBAL
from wherry.runtime.commands.help import NATIVE, OPERANDS, SUMMARIES

# VALUE's name and the option's text; "verb --option" where a verb means something of its own
TEXTS: dict[str, tuple[str, str]] = {
    "root": ("DIR", "where the state folders of containers are; see FILES"),
    "log": ("FILE", "write messages there too; also journald:NAME and syslog:NAME"),
    "log-format": ("FORMAT", "text or json: one object with level, msg and time per line"),
    "log-level": ("LEVEL", "accepted for crun's sake"),
    "debug": ("", "accepted; there is nothing more to say"),
    "systemd-cgroup": ("", "the same as --cgroup-manager systemd"),
    "cgroup-manager": ("NAME", "cgroupfs (default), systemd, or disabled: no control group of its own"),
    "rootless": ("WHEN", "true, false or auto: whether to go on without control groups that may not be made"),
    "criu": ("PATH", "accepted for runc's sake; criu is looked for in PATH"),
    "version": ("", "show the version and leave"),
    "help": ("", "show the usage, after a verb its options, and leave"),
    "bundle": ("DIR", "the folder with config.json; default the current one"),
    "spec --bundle": ("DIR", "the folder to write config.json in; default the current one"),
    "config": ("FILE", "another file than the bundle's config.json"),
    "console-socket": ("PATH", "send the terminal's master over this unix socket; needs process.terminal"),
    "pid-file": ("FILE", "write the process id there"),
    "pidfd-socket": ("PATH", "send a pidfd of the process over this unix socket"),
    "no-pivot": ("", "move the root instead of pivot_root, for a root on an initial RAM disk"),
    "no-new-keyring": ("", "keep the session keyring"),
    "no-subreaper": ("", "accepted for runc's sake"),
    "preserve-fds": ("N", "leave the container N descriptors from 3 on (after those of LISTEN_FDS)"),
    "detach": ("", "leave the container running and come back"),
    "exec --detach": ("", "leave the process running and come back"),
    "keep": ("", "do not delete the container when it has ended"),
    "process": ("FILE", 'a JSON document for the process (config.md "Process") instead of the command'),
    "cwd": ("DIR", "the working directory; default the container's"),
    "env": ("NAME=VALUE", "add to the environment"),
    "tty": ("", "give it a terminal"),
    "user": ("UID[:GID]", "the user; default the container's"),
    "additional-gids": ("GID", "a further group"),
    "process-label": ("LABEL", "its SELinux label"),
    "apparmor": ("PROFILE", "its AppArmor profile"),
    "no-new-privs": ("", "no privileges by executing a file"),
    "cap": ("NAME", "add a capability"),
    "cgroup": ("[CONTROLLERS:]PATH", "a control group below the container's to join"),
    "ignore-paused": ("", "do not refuse a paused container; the process runs when it is resumed"),
    "all": ("", "every process of the container, also when the first has ended"),
    "regex": ("", "CONTAINER is a regular expression; applies to all that match"),
    "force": ("", "kill it first if need be; no error if there is none"),
    "list --format": ("FORMAT", "table or json"),
    "ps --format": ("FORMAT", "table (by ps, which gets the PS-OPTIONs) or json: process ids"),
    "quiet": ("", "only the names"),
    "stats": ("", "show one reading and leave"),
    "interval": ("TIME", "between readings, for example 500ms; default 5s"),
    "resources": ("FILE", "read JSON of linux.resources; - is standard input"),
    "blkio-weight": ("N", "share of block devices' time, 10 to 1000"),
    "cpu-period": ("N", "microseconds in which --cpu-quota applies"),
    "cpu-quota": ("N", "microseconds of processor time per period"),
    "cpu-burst": ("N", "microseconds saved up for a burst"),
    "cpu-share": ("N", "weight against other groups"),
    "cpu-rt-period": ("N", "microseconds in which --cpu-rt-runtime applies"),
    "cpu-rt-runtime": ("N", "microseconds of real-time scheduling per period"),
    "cpu-idle": ("N", "1: only run when nothing else wants to"),
    "cpuset-cpus": ("LIST", "processors, as in 0-2,5"),
    "cpuset-mems": ("LIST", "memory nodes"),
    "memory": ("BYTES", "limit; suffixes k, m, g; -1 for none"),
    "memory-reservation": ("BYTES", "what memory pressure leaves it"),
    "memory-swap": ("BYTES", "limit of memory and swap together"),
    "kernel-memory": ("BYTES", "ignored by today's kernels"),
    "kernel-memory-tcp": ("BYTES", "limit of network buffers (version 1 only)"),
    "pids-limit": ("N", "limit of processes"),
    "l3-cache-schema": ("SCHEMA", "Intel RDT: cache"),
    "mem-bw-schema": ("SCHEMA", "Intel RDT: memory bandwidth"),
    "spec --rootless": ("", "for a user without privileges"),
    "image-path": ("DIR", "the checkpoint"),
    "work-path": ("DIR", "criu's log and work files"),
    "parent-path": ("DIR", "an earlier --pre-dump, relative to the checkpoint"),
    "leave-running": ("", "let the container go on"),
    "tcp-established": ("", "with open TCP connections"),
    "tcp-skip-in-flight": ("", "without TCP connections that are being made"),
    "tcp-close": ("", "close TCP connections"),
    "link-remap": ("", "with open files that were deleted"),
    "ext-unix-sk": ("", "with unix sockets to the outside"),
    "shell-job": ("", "with an outer terminal"),
    "lazy-pages": ("", "send memory when it is asked for"),
    "status-fd": ("N", "a zero byte there when --lazy-pages can begin"),
    "page-server": ("ADDRESS:PORT", "send memory there"),
    "file-locks": ("", "with file locks"),
    "pre-dump": ("", "memory only, while the container runs"),
    "manage-cgroups-mode": ("MODE", "ignore, soft, full or strict"),
    "empty-ns": ("NAME", "network: make that namespace anew"),
    "auto-dedup": ("", "drop memory from a parent that was saved again"),
    "lsm-profile": ("TYPE:NAME", "another label for the processes"),
    "lsm-mount-context": ("CONTEXT", "another label for mounts"),
}

BEGINNING = """\
.TH "WHERRY-RUNTIME" 1 "" "Wherry" "Wherry commands"
.SH NAME
wherry\\-runtime \\- run OCI containers
.SH SYNOPSIS
.B wherry\\-runtime
.RI [ OPTION "...] " VERB " [" ARGUMENT ...]
.SH DESCRIPTION
Runs containers as the OCI runtime specification describes them: a bundle is a folder with a config.json and a root
file system. Understands the command lines of runc and crun, and can be used below containerd, CRI\\-O, podman, buildah
and dockerd.
"""
END = """\
.SH EXIT STATUS
0, or 1 for an error; 3 for an unknown verb. run and exec in the foreground: the status of the process, 128 + n when
signal n ended it, 126 when the command cannot be executed, 127 when it is not found. exec: 255 for other errors.
.SH FILES
.TP
.I /run/wherry/runtime/CONTAINER
the state folder; for a user without privileges in $XDG_RUNTIME_DIR/wherry/runtime; elsewhere with \\-\\-root
.TP
.I /run/wherry/cache
compiled code and system call filters, remade when missing ($XDG_RUNTIME_DIR/wherry/cache)
.SH ENVIRONMENT
.TP
.B XDG_RUNTIME_DIR
see FILES
.TP
.B NOTIFY_SOCKET
a socket for readiness messages, passed into the container
.TP
.B LISTEN_FDS
sockets passed into the container (sd_listen_fds(3))
.TP
.B WHERRY_NO_CACHE
if set, the compiled code in /run/wherry/cache is not used
.SH SEE ALSO
.BR wherry (1),
.BR runc (8),
.BR crun (1)
"""


def options(verb: str) -> Table:
    """A verb's table."""
    table = NATIVE.get(verb)
    if table is None:
        table = __import__(f"wherry.runtime.commands.{verb}", fromlist=["OPTIONS"]).OPTIONS
    return table


def text(verb: str, name: str) -> tuple[str, str]:
    """VALUE's name and the description. Raises KeyError when there is none."""
    return TEXTS.get(f"{verb} --{name}") or TEXTS[name]


def page() -> str:
    """The page in roff."""
    parts = [BEGINNING, ".SH OPTIONS\n", *_list("", GLOBAL), ".SH VERBS\n"]
    for verb, summary in SUMMARIES.items():
        operands = OPERANDS.get(verb, "CONTAINER")
        words = " ".join([word for word in ("[OPTION...]" if options(verb) else "", operands) if word])
        parts += [f".SS {verb} {_roff(words)}".rstrip() + "\n", f"{_roff(summary)}\n"]
        parts += _list(verb, options(verb))
    return "".join([*parts, END])


def _list(verb: str, table: Table) -> list[str]:
    parts = []
    for name, letter, kind in table:
        value, description = text(verb, name)
        assert bool(value) == (kind != FLAG), name
        names = f"\\-{letter}, " if letter else ""
        names += f"\\-\\-{_roff(name)}" + (f" {_roff(value)}" if value else "")
        more = "; can be repeated" if kind == MANY else ""
        parts.append(f".TP\n.B {names}\n{_roff(description)}{more}\n")
    return parts


def _roff(words: str) -> str:
    return words.replace("\\", "\\e").replace("-", "\\-")


def main() -> None:
    """Write the page below the current folder."""
    Path("docs/man/wherry-runtime.1").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
