"""A plan as a numbered listing for people: what will happen, step by step, and which field asks for it."""

from __future__ import annotations

from wherry.oci.capability_names import CAPABILITIES

from .instructions import BY_NAME, FIRST_FREE, META, MOUNT_COPY_UP, MOUNT_MAY_BIND, NONE, PROGRAMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .encode import Argument, Plan

    Values = dict[str, Argument]

HEADINGS = {
    "META": "facts for the other verbs",
    "HOST": "create: the runtime, on the host",
    "STAGE": "create: an intermediate process",
    "INIT": "create and start: the container's process",
    "START": "start: the runtime, after the process was let go",
    "PAUSE": "pause",
    "RESUME": "resume",
    "DELETE": "delete, and after a failed create",
}
SLOT_NAMES = ("root", "procfs", "fifo", "console socket", "seccomp socket", "pidfd socket", "target", "cgroup")
NAMESPACES = (
    (0x10000000, "user"),
    (0x20000000, "pid"),
    (0x40000000, "network"),
    (0x8000000, "ipc"),
    (0x4000000, "uts"),
    (0x2000000, "cgroup"),
    (0x20000, "mount"),
    (0x80, "time"),
)
MOUNT_FLAGS = (
    (1, "ro"), (2, "nosuid"), (4, "nodev"), (8, "noexec"), (16, "sync"), (32, "remount"), (64, "mand"),
    (128, "dirsync"), (256, "nosymfollow"), (1024, "noatime"), (2048, "nodiratime"), (4096, "bind"),
    (1 << 15, "silent"), (1 << 16, "acl"), (1 << 17, "unbindable"), (1 << 18, "private"), (1 << 19, "slave"),
    (1 << 20, "shared"), (1 << 21, "relatime"), (1 << 23, "iversion"), (1 << 24, "strictatime"),
    (1 << 25, "lazytime"), (1 << 14, "recursively"),
)  # fmt: skip
MOUNT_NOTES = ((MOUNT_COPY_UP, "filled from below"), (MOUNT_MAY_BIND, "or the host's, bound"))
ATTRIBUTES = (
    (1, "ro"), (2, "nosuid"), (4, "nodev"), (8, "noexec"), (0x10, "noatime"), (0x20, "strictatime"),
    (0x80, "nodiratime"), (0x200000, "nosymfollow"),
)  # fmt: skip
RLIMITS = (
    "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING",
    "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
)  # fmt: skip
DEVICE_KINDS = {0o010000: "fifo", 0o020000: "character device", 0o060000: "block device"}


def explain(plan: Plan) -> str:
    """The listing. A line is number, what happens, and in brackets the place in the user's document."""
    parts = []
    for number in sorted(plan.programs, key=lambda number: (number == META, number)):  # facts are for the curious
        program = plan.programs[number]
        if not program.steps:
            continue
        name = PROGRAMS[number]
        lines = [f"{name}: {HEADINGS[name]}"]
        for index, (instruction, where, arguments) in enumerate(program.steps, 1):
            names = BY_NAME[instruction].names
            values: Values = dict(zip(names, arguments, strict=True))
            text = _one_line(describe(instruction, values))
            lines.append(f"{index:4}  {text}" + (f"  [{_one_line(where)}]" if where else ""))
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def describe(instruction: str, values: Values) -> str:
    """One step in words."""
    sentence = SENTENCES.get(instruction)
    if sentence is None:
        return f"{instruction} " + " ".join([f"{name}={_short(value)}" for name, value in values.items()])
    return sentence(values) if callable(sentence) else sentence.format_map(_Texts(values))


class _Texts(dict[str, "Argument"]):
    """Values as a sentence shows them."""

    def __getitem__(self, name: str) -> str:
        value = super().__getitem__(name)
        if name in ("slot", "base", "socket", "listener", "userns", "cgroup"):
            return slot_name(value)
        return _short(value)


def slot_name(value: Argument) -> str:
    """What a slot holds, or its number."""
    if not isinstance(value, int) or value == NONE:
        return "nothing"
    return SLOT_NAMES[value] if value < FIRST_FREE else f"#{value}"


def flag_names(value: Argument, table: tuple[tuple[int, str], ...], separator: str = ",") -> str:
    """Names of the bits that are set."""
    bits = value if isinstance(value, int) else 0
    names = [name for bit, name in table if bits & bit]
    return separator.join(names)


def _short(value: Argument) -> str:
    if isinstance(value, bytes):
        printable = value.strip()
        if printable.isascii() and printable.decode("ascii", "replace").isprintable():
            return repr(printable.decode())
        return f"{len(value)} bytes"
    if isinstance(value, list | tuple):
        return " ".join([text if text and " " not in text else repr(text) for text in value])
    return str(value)


def _one_line(text: str) -> str:
    return "".join([c if c.isprintable() else f"\\x{ord(c):02x}" for c in text.rstrip("\n")])


def _number(value: Argument) -> int:
    return value if isinstance(value, int) else 0


def _path(values: Values, name: str = "path") -> str:
    base = values.get("base", NONE)
    path = _short(values[name])
    if base in (NONE, None):
        return path
    return f"{path} in the {slot_name(base)}" if base else f"{path} in the container"


def _open(values: Values) -> str:
    return f"open {_path(values)} as {slot_name(values['slot'])}"


def _mkdir(values: Values) -> str:
    return f"make the directory {_path(values)} (mode {_number(values['mode']):o})"


def _mknod(values: Values) -> str:
    mode = _number(values["mode"])
    kind = DEVICE_KINDS.get(mode & 0o170000, "node")
    owner = f"{_short(values['uid'])}:{_short(values['gid'])}"
    number = "" if kind == "fifo" else f" {_short(values['major'])}:{_short(values['minor'])}"
    return f"make the {kind}{number} {_path(values)} (mode {mode & 0o7777:o}, owner {owner})"


def _write(values: Values) -> str:
    data = "the child's pid" if _number(values["flags"]) & 1 else _short(values["data"])
    return f"write {data} to {_path(values)}"


def _clone(values: Values) -> str:
    names = flag_names(values["flags"], NAMESPACES, ", ")
    text = f"start {PROGRAMS[_number(values['program'])]}"
    text += f" with new namespaces: {names}" if names else ""
    return text + (f" in {slot_name(values['cgroup'])}" if values["cgroup"] != NONE else "")


def _maps(values: Values) -> str:
    uids = _short(values["uid_map"]).strip().replace("\n", ", ")
    gids = _short(values["gid_map"]).strip().replace("\n", ", ")
    how = f" by {_short(values['newuidmap'])} and {_short(values['newgidmap'])}" if values["newuidmap"] else ""
    denied = "; setgroups is denied" if values["deny_setgroups"] else ""
    return f"map user ids {uids} and group ids {gids}{how}{denied}"


def _hook(values: Values) -> str:
    timeout = _number(values["timeout_ms"])
    words = _short(values["args"])
    text = f"run the hook {_short(values['path'])} ({words}) with the state on its standard input"
    text += f", for at most {timeout} ms" if timeout else ""
    return text + (" (a failure is a warning)" if values["flags"] else "")


def _setns(values: Values) -> str:
    return f"join the namespaces {flag_names(values['flags'], NAMESPACES, ', ')} of {slot_name(values['slot'])}"


def _mount(values: Values) -> str:
    flags = flag_names(values["flags"], MOUNT_FLAGS)
    options = ",".join([word for word in (flags, _short(values["data"])) if word])
    how = _number(values["how"])
    notes = [note for bit, note in MOUNT_NOTES if how & bit]
    text = f"mount {_short(values['type'])} on {_short(values['target'])}" + (f" ({options})" if options else "")
    return text + (f", {', '.join(notes)}" if notes else "")


def _tree(values: Values) -> str:
    tree = "the mounts at" if _number(values["flags"]) & 1 else "the mount at"
    return f"take {tree} {_path(values)} as {slot_name(values['slot'])}"


def _attributes(values: Values) -> str:
    words = []
    added = flag_names(values["set"], ATTRIBUTES)
    removed = flag_names(_number(values["clear"]) & ~0x70, ATTRIBUTES)
    if added:
        words.append(f"set {added}")
    if removed:
        words.append(f"clear {removed}")
    if values.get("propagation"):
        words.append(f"make {flag_names(values['propagation'], MOUNT_FLAGS)}")
    if values.get("userns", NONE) != NONE:
        words.append(f"map ids by {slot_name(values['userns'])}")
    recursively = ", recursively" if _number(values["flags"]) & 1 else ""
    place = values["target"] if "target" in values else slot_name(values["slot"])
    return f"on {_short(place)} {' and '.join(words) or 'change nothing'}{recursively}"


def _propagation(values: Values) -> str:
    place = values["target"] if "target" in values else values["path"]
    return f"make the mount at {_short(place)} {flag_names(values['flags'], MOUNT_FLAGS, ' ')}"


def _rlimit(values: Values) -> str:
    soft, hard = ("unlimited" if n == (1 << 64) - 1 else _short(n) for n in (values["soft"], values["hard"]))
    return f"limit {RLIMITS[_number(values['resource'])]} to {soft} (hard {hard})"


def _capabilities(values: Values) -> str:
    parts = [f"{kind}: {_capability_names(bits)}" for kind, bits in values.items()]
    return "keep capabilities " + "; ".join(parts)


def _bounding(values: Values) -> str:
    return f"bound capabilities to {_capability_names(values['mask'])}"


def _capability_names(bits: Argument) -> str:
    mask = _number(bits)
    names = [name[4:].lower() for number, name in enumerate(CAPABILITIES) if mask >> number & 1]
    return ",".join(names) or "none"


def _groups(values: Values) -> str:
    data = values["gids"]
    assert isinstance(data, bytes)
    gids = [str(int.from_bytes(data[i : i + 4], "little")) for i in range(0, len(data), 4)]
    return f"take the supplementary groups {', '.join(gids)}" if gids else "drop all supplementary groups"


def _seccomp(values: Values) -> str:
    data = values["program"]
    assert isinstance(data, bytes)
    text = f"filter system calls ({len(data) // 8} instructions, flags {_short(values['flags'])})"
    return text + ("" if values["listener"] == NONE else ", giving the listener to the seccomp socket")


def _pivot(values: Values) -> str:
    how = ("pivot_root", "a moved mount and chroot", "chroot")[_number(values["how"])]
    return f"enter the root directory by {how} and leave the host's"


def _affinity(values: Values) -> str:
    data = values["mask"]
    assert isinstance(data, bytes)
    mask = int.from_bytes(data, "little")
    cpus = [str(cpu) for cpu in range(mask.bit_length()) if mask >> cpu & 1]
    return f"run on CPUs {','.join(cpus)}" if cpus else "run on all CPUs"


def _find(values: Values) -> str:
    path = values["path"]
    return f"find {_short(values['name'])}" + (f" in {_short(path)}" if path is not None else "")


def _console(values: Values) -> str:
    target = "" if values["socket"] == NONE else f", its other end to the {slot_name(values['socket'])}"
    bound = ", mounted on /dev/console" if values["flags"] else ""
    return f"open a terminal as standard input and output{target}{bound}"


def _device_filter(values: Values) -> str:
    data = values["program"]
    assert isinstance(data, bytes)
    return f"attach a device filter of {len(data) // 8} instructions to {slot_name(values['slot'])}"


def _netlink(values: Values) -> str:
    data = values["messages"]
    assert isinstance(data, bytes)
    return f"configure the network ({len(data)} bytes of netlink requests): bring up loopback"


def _freeze(values: Values) -> str:
    return f"{'freeze' if values['frozen'] else 'thaw'} {_short(values['path'])}"


def _unshare(values: Values) -> str:
    return f"make new namespaces: {flag_names(values['flags'], NAMESPACES, ', ')}"


SENTENCES: dict[str, str | Callable[[Values], str]] = {
    "META": "{key} = {value}",
    "OPEN": _open,
    "CLOSE": "close {slot}",
    "MKDIR": _mkdir,
    "SYMLINK": lambda values: f"make the link {_path(values)} to {_short(values['target'])}",
    "MKNOD": _mknod,
    "WRITE": _write,
    "FIFO": "make the fifo {path}",
    "CHOWN": "give {path} to {uid}:{gid}",
    "CONNECT": "connect to {path} as {slot}",
    "PROCFS": "open a private procfs",
    "CGROUP_DIR": "make the control group {path} as {slot}",
    "CGROUP_ENTER": "enter {slot}",
    "CGROUP_KILL": "send signal {signal} to all processes of {path}",
    "CGROUP_REMOVE": "remove the control group {path}",
    "CGROUP_VANISH": "wait until systemd has removed the control group {path}",
    "CGROUP_CONTROLLERS": "enable the controllers {names} below {path}",
    "CGROUP_OWN": "give {slot} to user {uid}",
    "FREEZE": _freeze,
    "DEVICE_FILTER": _device_filter,
    "CLONE": _clone,
    "ADOPT": "take over INIT from STAGE",
    "MAPS": _maps,
    "POST": "tell the other side: {token}",
    "AWAIT": "wait for the other side: {token}",
    "HOOK": _hook,
    "SAVE_STATE": "write state.json",
    "PID_FILE": "write the pid to {path}",
    "PIDFD_SEND": "send the pidfd to {slot}",
    "PIDFD": "open process {pid} as {slot}",
    "SETNS": _setns,
    "UNSHARE": _unshare,
    "TIME_OFFSETS": "shift the clocks: {data}",
    "BECOME": "become {uid}:{gid} of the user namespace",
    "KEYRING": "join the session keyring {name}",
    "HOSTNAME": "set the host name {name}",
    "DOMAINNAME": "set the domain name {name}",
    "NETLINK": _netlink,
    "NETDEV": "move the network device {name} into the container as {new_name}",
    "SYSCTL": "set the kernel parameter {path} to {value}",
    "USERNS": "make a user namespace for id mappings as {slot}",
    "PROPAGATION": _propagation,
    "ROOTFS": "take {path} as the root directory",
    "ROOTFS_MOUNT": "mount {type} on {path} ({options})",
    "MOUNT": _mount,
    "TREE": _tree,
    "TREE_ATTR": _attributes,
    "ATTACH": "mount {slot} on {target}",
    "ATTR": _attributes,
    "PROPAGATE": _propagation,
    "MASK": "hide {path}",
    "READONLY": "make {path} read-only",
    "PIVOT": _pivot,
    "CONSOLE": _console,
    "RLIMIT": _rlimit,
    "OOM_SCORE": "set the out-of-memory score to {value}",
    "SCHEDULER": "set the scheduler ({attr})",
    "IO_PRIORITY": "set the I/O priority to {value}",
    "PERSONALITY": "set the personality to {value}",
    "MEMORY_POLICY": "set the memory policy {mode} ({nodes})",
    "AFFINITY": _affinity,
    "UMASK": lambda values: f"set the umask to {_number(values['mask']):03o}",
    "SETSID": "start a session",
    "DUMPABLE": lambda values: f"{'allow' if values['value'] else 'refuse'} to be traced",
    "GROUPS": _groups,
    "IDS": "become user {uid}, group {gid}",
    "BOUNDING": _bounding,
    "CAPABILITIES": _capabilities,
    "NO_NEW_PRIVS": "give up ever gaining privileges",
    "SECCOMP": _seccomp,
    "LSM": "write the label {label} to {attribute}",
    "LANDLOCK": "restrict files to {paths}",
    "CHDIR": "change into {path}",
    "STDIO": "give standard input and output to {uid}:{gid}",
    "CLOSE_RANGE": "let no descriptor from {first} on survive",
    "FIND": _find,
    "WAIT_START": "report ready and wait for start",
    "EXEC": "execute {args}",
    "PDEATHSIG": lambda values: (
        f"get signal {_short(values['signal'])} when the parent ends"
        if values["signal"]
        else "live on without the parent"
    ),
}
