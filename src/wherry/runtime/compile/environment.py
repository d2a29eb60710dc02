"""The environment of a container's process: checked, without duplicates, HOME looked up when it is missing."""

from __future__ import annotations

import posix

from wherry.runtime.paths import join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.oci.check import Document
    from wherry.runtime.compile.draft import Draft

PASSWD_LIMIT_BYTES = 1 << 20
LINKS_LIMIT = 40


def complete_environment(draft: Draft, process: Document, uid: int) -> list[str]:
    """The variables to execute with; of a name given twice the last value counts, in the first's place."""
    values: dict[str, str] = {}
    for index, assignment in enumerate(process.texts("env")):
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise process.error(f"env[{index}]", f"{assignment!r} is not NAME=VALUE")
        values[name] = value
    if not values.get("HOME"):
        values["HOME"] = find_home(draft, uid)
    options = draft.options
    if options.listen_fds:
        values["LISTEN_FDS"] = str(options.listen_fds)
        values["LISTEN_PID"] = "1"
    if options.notify_socket[:1] == "/":
        values["NOTIFY_SOCKET"] = "/run/notify/notify.sock"
    return [f"{name}={value}" for name, value in values.items()]


def find_home(draft: Draft, uid: int) -> str:
    """The home directory of `uid` in the container's passwd file; "/" when nothing tells."""
    text = read_passwd(draft)
    wanted = str(uid).encode()
    for line in text.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == wanted:
            home = fields[5].decode("utf-8", "surrogateescape")
            return home if "\0" not in home and home else "/"
    return "/"


def read_passwd(draft: Draft) -> bytes:
    """The file the container will see as /etc/passwd: in its root directory or below a bind mount."""
    if draft.target is not None:
        return read_inside(f"/proc/{draft.target.pid}/root", "etc/passwd", PASSWD_LIMIT_BYTES)
    root = draft.document.document("root")
    path = root.text("path") if root else ""
    base = join(draft.options.bundle, path)
    inside = "etc/passwd"
    for mount in draft.document.documents("mounts"):
        target = mount.text("destination").strip("/")
        if target == inside or target == "etc":
            source = mount.text("source")
            bound = mount.text("type") == "bind" or {"bind", "rbind"} & set(mount.texts("options"))
            if not bound:
                return b""
            base = join(draft.options.bundle, source)
            inside = inside[len(target) :].strip("/")
            if not inside:
                return _read_file(base)
    return read_inside(base, inside, PASSWD_LIMIT_BYTES)


def _read_file(path: str) -> bytes:
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK | posix.O_NOFOLLOW)
    except OSError:
        return b""
    return _read_regular(fd, PASSWD_LIMIT_BYTES)


def read_inside(root: str, path: str, limit_bytes: int) -> bytes:
    """A regular file below `root`, links resolved as if `root` were `/`; empty when there is none."""
    try:
        root_fd = posix.open(root, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError:
        return b""
    stack = [root_fd]
    try:
        return _walk(stack, path, limit_bytes)
    except OSError:
        return b""
    finally:
        for fd in stack:
            posix.close(fd)


def _walk(stack: list[int], path: str, limit_bytes: int) -> bytes:
    """Open component after component without following links; `stack` holds the directories walked through."""
    parts = path.split("/")[::-1]
    links = 0
    while parts:
        part = parts.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if len(stack) > 1:
                posix.close(stack.pop())
            continue
        try:
            target = posix.readlink(part, dir_fd=stack[-1])
        except OSError:
            if not [rest for rest in parts if rest not in ("", ".")]:
                flags = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK | posix.O_NOFOLLOW
                return _read_regular(posix.open(part, flags, dir_fd=stack[-1]), limit_bytes)
            flags = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC | posix.O_NOFOLLOW
            stack.append(posix.open(part, flags, dir_fd=stack[-1]))
            continue
        links += 1
        if links > LINKS_LIMIT:
            return b""
        if target.startswith("/"):
            while len(stack) > 1:
                posix.close(stack.pop())
        parts += target.split("/")[::-1]
    return b""


def _read_regular(fd: int, limit_bytes: int) -> bytes:
    """At most `limit_bytes` of a regular file; the descriptor is closed."""
    try:
        if posix.fstat(fd).st_mode & 0o170000 != 0o100000:
            return b""
        data = b""
        while len(data) < limit_bytes and (more := posix.read(fd, min(65536, limit_bytes - len(data)))):
            data += more
        return data
    except OSError:
        return b""
    finally:
        posix.close(fd)
