"""Mount option words of an OCI document, parsed to the flag words that mount(2) and mount_setattr(2) take.

runtime-spec config.md "Linux mount options", plus the extensions that engines pass to crun: `copy-symlink`,
`src-nofollow`, `dest-nofollow` and `idmap=uids=…;gids=…`. A later word overrides an earlier one. Words that
nothing here knows belong to the filesystem and are collected in `data`.
"""

from __future__ import annotations

from wherry.errors import INVALID_ARGUMENT, WherryError

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_MANDLOCK = 64
MS_DIRSYNC = 128
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_REC = 16384
MS_SILENT = 32768
MS_POSIXACL = 1 << 16
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_I_VERSION = 1 << 23
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x0
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

_ATIME_FLAGS = MS_NOATIME | MS_RELATIME | MS_STRICTATIME

# word: (sets, MS_* bit, MOUNT_ATTR_* bit); each of these also exists with a leading "r" for the whole tree
_ATTRIBUTES = {
    "ro": (True, MS_RDONLY, MOUNT_ATTR_RDONLY),
    "rw": (False, MS_RDONLY, MOUNT_ATTR_RDONLY),
    "nosuid": (True, MS_NOSUID, MOUNT_ATTR_NOSUID),
    "suid": (False, MS_NOSUID, MOUNT_ATTR_NOSUID),
    "nodev": (True, MS_NODEV, MOUNT_ATTR_NODEV),
    "dev": (False, MS_NODEV, MOUNT_ATTR_NODEV),
    "noexec": (True, MS_NOEXEC, MOUNT_ATTR_NOEXEC),
    "exec": (False, MS_NOEXEC, MOUNT_ATTR_NOEXEC),
    "nosymfollow": (True, MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW),
    "symfollow": (False, MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW),
    "nodiratime": (True, MS_NODIRATIME, MOUNT_ATTR_NODIRATIME),
    "diratime": (False, MS_NODIRATIME, MOUNT_ATTR_NODIRATIME),
}

# the three access-time classes exclude each other; relatime is what the kernel falls back to
_ATIMES = {
    "noatime": (True, MS_NOATIME, MOUNT_ATTR_NOATIME),
    "atime": (False, MS_NOATIME, MOUNT_ATTR_NOATIME),
    "relatime": (True, MS_RELATIME, MOUNT_ATTR_RELATIME),
    "norelatime": (False, MS_RELATIME, MOUNT_ATTR_RELATIME),
    "strictatime": (True, MS_STRICTATIME, MOUNT_ATTR_STRICTATIME),
    "nostrictatime": (False, MS_STRICTATIME, MOUNT_ATTR_STRICTATIME),
}

# superblock flags: they have no MOUNT_ATTR_* twin
_SUPERBLOCK = {
    "sync": (True, MS_SYNCHRONOUS),
    "async": (False, MS_SYNCHRONOUS),
    "dirsync": (True, MS_DIRSYNC),
    "mand": (True, MS_MANDLOCK),
    "nomand": (False, MS_MANDLOCK),
    "silent": (True, MS_SILENT),
    "loud": (False, MS_SILENT),
    "iversion": (True, MS_I_VERSION),
    "noiversion": (False, MS_I_VERSION),
    "lazytime": (True, MS_LAZYTIME),
    "nolazytime": (False, MS_LAZYTIME),
    "acl": (True, MS_POSIXACL),
    "noacl": (False, MS_POSIXACL),
    "remount": (True, MS_REMOUNT),
}

_PROPAGATION = {
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE | MS_REC,
    "shared": MS_SHARED,
    "rshared": MS_SHARED | MS_REC,
    "unbindable": MS_UNBINDABLE,
    "runbindable": MS_UNBINDABLE | MS_REC,
}

# word: (attribute of MountOptions, its value)
_SWITCHES = {
    "bind": (("bind", True),),
    "rbind": (("bind", True), ("recursive", True)),
    "idmap": (("idmap", "idmap"),),
    "ridmap": (("idmap", "ridmap"),),
    "tmpcopyup": (("tmpcopyup", True),),
    "copy-symlink": (("copy_symlink", True),),
    "src-nofollow": (("src_nofollow", True),),
    "dest-nofollow": (("dest_nofollow", True),),
    "defaults": (),
}

MOUNT_OPTIONS = tuple(
    sorted(
        [*_ATTRIBUTES, *_ATIMES, *_SUPERBLOCK, *_PROPAGATION, *_SWITCHES]
        + ["r" + word for word in (*_ATTRIBUTES, *_ATIMES)]
    )
)


class MountOptions:
    """One mount's options as flag words; see the module's constants.

    `attr_*` say for this mount what `flags` and `clear_flags` say, in the bits of mount_setattr(2);
    `rec_attr_*` are for the whole tree (AT_RECURSIVE). `propagation` keeps the document's order and is
    applied after the mount stands. `uid_map` and `gid_map` hold (id on the filesystem, id on the host, size)
    of an inline `idmap=`; with `map_relative` the host side counts inside the container's user namespace.
    """

    __slots__ = (
        "attr_clr",
        "attr_set",
        "bind",
        "clear_flags",
        "copy_symlink",
        "data",
        "dest_nofollow",
        "flags",
        "gid_map",
        "idmap",
        "map_relative",
        "propagation",
        "rec_attr_clr",
        "rec_attr_set",
        "recursive",
        "src_nofollow",
        "tmpcopyup",
        "uid_map",
    )

    def __init__(self) -> None:
        self.flags = 0
        self.clear_flags = 0
        self.attr_set = 0
        self.attr_clr = 0
        self.rec_attr_set = 0
        self.rec_attr_clr = 0
        self.propagation: list[int] = []
        self.data = ""
        self.idmap: str | None = None
        self.uid_map: list[tuple[int, int, int]] = []
        self.gid_map: list[tuple[int, int, int]] = []
        self.map_relative = False
        self.tmpcopyup = False
        self.copy_symlink = False
        self.src_nofollow = False
        self.dest_nofollow = False
        self.bind = False
        self.recursive = False


def parse_options(options: list[str] | None, path: str = "mounts[].options") -> MountOptions:
    """The options of one mount; `path` is their place in the document.

    Raises WherryError(INVALID_ARGUMENT) for an entry that is no string and for a malformed inline id map; an
    unknown word is no error, it is passed to the filesystem.
    """
    parsed = MountOptions()
    data = []
    for index, word in enumerate(options or ()):
        if not isinstance(word, str):
            raise WherryError(INVALID_ARGUMENT, "a mount option must be a string", path=f"{path}[{index}]")
        if word in _ATTRIBUTES:
            _set_attribute(parsed, *_ATTRIBUTES[word])
        elif word in _ATIMES:
            _set_atime(parsed, *_ATIMES[word])
        elif word in _SUPERBLOCK:
            _set_flag(parsed, *_SUPERBLOCK[word])
        elif word in _PROPAGATION:
            parsed.propagation.append(_PROPAGATION[word])
        elif word in _SWITCHES:
            for name, value in _SWITCHES[word]:
                setattr(parsed, name, value)
        elif word[:1] == "r" and word[1:] in _ATTRIBUTES:
            _set_tree_attribute(parsed, *_ATTRIBUTES[word[1:]])
        elif word[:1] == "r" and word[1:] in _ATIMES:
            _set_tree_atime(parsed, *_ATIMES[word[1:]])
        elif word[:6] == "idmap=" or word[:7] == "ridmap=":
            _set_inline_map(parsed, word, f"{path}[{index}]")
        elif word:
            data.append(word)
    parsed.data = ",".join(data)
    return parsed


def _set_flag(parsed: MountOptions, sets: bool, flag: int) -> None:
    if sets:
        parsed.flags |= flag
        parsed.clear_flags &= ~flag
    else:
        parsed.flags &= ~flag
        parsed.clear_flags |= flag


def _set_attribute(parsed: MountOptions, sets: bool, flag: int, attr: int) -> None:
    _set_flag(parsed, sets, flag)
    if sets:
        parsed.attr_set |= attr
        parsed.attr_clr &= ~attr
    else:
        parsed.attr_set &= ~attr
        parsed.attr_clr |= attr


def _set_atime(parsed: MountOptions, sets: bool, flag: int, attr: int) -> None:
    if sets:
        parsed.flags &= ~_ATIME_FLAGS
    _set_flag(parsed, sets, flag)
    if sets:
        parsed.attr_set = parsed.attr_set & ~MOUNT_ATTR__ATIME | attr
    else:
        parsed.attr_set &= ~attr
    parsed.attr_clr |= MOUNT_ATTR__ATIME  # the class is one field: the kernel wants it cleared as a whole


def _set_tree_attribute(parsed: MountOptions, sets: bool, _flag: int, attr: int) -> None:
    if sets:
        parsed.rec_attr_set |= attr
        parsed.rec_attr_clr &= ~attr
    else:
        parsed.rec_attr_set &= ~attr
        parsed.rec_attr_clr |= attr


def _set_tree_atime(parsed: MountOptions, sets: bool, _flag: int, attr: int) -> None:
    if sets:
        parsed.rec_attr_set = parsed.rec_attr_set & ~MOUNT_ATTR__ATIME | attr
    else:
        parsed.rec_attr_set &= ~attr
    parsed.rec_attr_clr |= MOUNT_ATTR__ATIME


def _set_inline_map(parsed: MountOptions, word: str, path: str) -> None:
    """`idmap=uids=0-1000-10#10-2000-5;gids=@0-0-1`: filesystem id, host id, size; "@" makes it relative."""
    kind, _, text = word.partition("=")
    parsed.idmap = kind
    relative = set()
    for part in text.split(";"):
        name, _, entries = part.partition("=")
        if name not in ("uids", "gids"):
            raise WherryError(INVALID_ARGUMENT, f"{kind}= knows uids= and gids=, not {name!r}", path=path)
        ids = []
        for entry in entries.split("#"):
            relative.add(entry[:1] == "@")
            numbers = entry.removeprefix("@").split("-")
            if len(numbers) != 3 or not all(n.isascii() and n.isdigit() for n in numbers):
                raise WherryError(
                    INVALID_ARGUMENT,
                    f"cannot read the id mapping {entry!r}",
                    hint="write ID-HOSTID-SIZE",
                    path=path,
                )
            first, host, size = int(numbers[0]), int(numbers[1]), int(numbers[2])
            if not size or max(first, host) + size > 1 << 32:
                raise WherryError(INVALID_ARGUMENT, f"the id mapping {entry!r} is out of range", path=path)
            ids.append((first, host, size))
        setattr(parsed, name[:3] + "_map", ids)
    if len(relative) > 1:
        raise WherryError(INVALID_ARGUMENT, "an id mapping is relative as a whole or not at all", path=path)
    parsed.map_relative = True in relative
