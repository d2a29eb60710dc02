"""The launch plan's instruction set, defined once.

`native/instructions.h` is generated from this table (`python -m wherry.plan.header`), and a test fails when
the two differ. A plan is a set of *programs*; each is run by one process at one moment, step by step:

    META    nobody: facts about the container that the native verbs read
    HOST    the starter (`create`, `run`, `exec`, or the monitor), in the host's namespaces
    STAGE   an intermediate process, only where namespaces must be joined or offset before the last clone
    INIT    the container's process, from its birth to execve
    START   the host side of `start`, after INIT was let go (poststart hooks)
    PAUSE, RESUME   the two verbs
    DELETE  `delete`, and the undoing of a start that failed: idempotent, anything may be missing already

Descriptors live in numbered *slots*, inherited over CLONE. Slot `ROOT` is the container's root directory;
paths with base `ROOT` are resolved inside it and never outside (RESOLVE_IN_ROOT, no magic links). Base
`NONE` means the process's own view of the file system. `PROC` is a private, verified procfs.

An argument's kind is one letter:
    u  unsigned 64-bit     i  signed 64-bit     f  slot, or NONE
    s  text, no NUL inside     o  text or absent     b  bytes     l  list of texts
"""

from __future__ import annotations

VERSION = 1
MAGIC = 0x4E4C5057  # "WPLN", little endian

# Programs.
META, HOST, STAGE, INIT, START, PAUSE, RESUME, DELETE = range(8)
PROGRAMS = ("META", "HOST", "STAGE", "INIT", "START", "PAUSE", "RESUME", "DELETE")

# Slots with a fixed meaning; the compiler hands out the others from FIRST_FREE up.
SLOTS = 250
NONE = 255
ROOT, PROC, FIFO, CONSOLE_SOCKET, SECCOMP_SOCKET, PIDFD_SOCKET, TARGET, CGROUP = range(8)
FIRST_FREE = 8

# Flags, by the instruction that takes them.
WRITE_PID = 1  # the content is the decimal pid of the child, `data` is ignored
WRITE_IF_PRESENT = 2  # a missing file is no error
WRITE_CREATE = 4  # create or truncate, mode 0644
WRITE_BEST_EFFORT = 8  # any error is ignored; only where a peer runtime ignores it too
CGROUP_NEW = 1  # refuse a directory that holds processes or is frozen
CGROUP_CPUSET = 2  # v1 cpuset: fill empty cpuset.cpus and cpuset.mems from the parent, from the top down
CGROUP_OPTIONAL = 4  # no permission is no error (rootless without delegation): the slot stays empty
HOOK_WARN = 1  # a failure is reported and ignored (poststop)
KIND_DIRECTORY, KIND_FILE, KIND_LIKE_SOURCE = 0, 1, 2
MOUNT_COPY_UP = 1  # tmpfs: start with a copy of what the target directory holds
MOUNT_REAL_DIRECTORY = 2  # procfs, sysfs: no component of the target may be a symbolic link
MOUNT_KEEP_MODE = 8  # tmpfs: the mode of the target as it was, unless data has a mode=
MOUNT_MAY_BIND = 4  # EPERM: bind the host's `source` recursively instead (sysfs, procfs, cgroup2, mqueue)
ATTACH_NOFOLLOW = 1  # do not follow a symbolic link in the last component of the target
ATTACH_COPY_SYMLINK = 2  # when the source is a symbolic link, make the same link instead of a mount
TREE_RECURSIVE = 1
TREE_NOFOLLOW = 2
ATTR_RECURSIVE = 1
ROOT_BIND = 1  # make the root a mount of its own: private parent, bound onto itself
PIVOT_ROOT, PIVOT_MOVE, PIVOT_CHROOT = 0, 1, 2
CONSOLE_BIND = 1  # mount the terminal on /dev/console
CHDIR_CREATE = 1  # create a missing working directory
CHDIR_MAY_FAIL = 2  # EACCES is left to a later CHDIR, tried as the container's user
EXEC_INIT = 1  # stay as pid 1: reap, forward signals, run the command as a child


class Instruction:
    """One operation: its number, name, argument names and kinds, and what it does."""

    __slots__ = ("_arguments", "code", "doc", "kinds", "name")

    def __init__(self, code: int, name: str, arguments: str, doc: str) -> None:
        self.code = code
        self.name = name
        self._arguments = arguments
        self.kinds = "".join([argument[-1] for argument in arguments.split()])
        self.doc = doc

    @property
    def names(self) -> tuple[str, ...]:
        """The arguments' names."""
        return tuple([argument[:-2] for argument in self._arguments.split()])

    def __repr__(self) -> str:
        return self.name


_TABLE = (
    # code, name, arguments, meaning
    (1, "META", "key:s value:s", "A fact for the native verbs: see META_KEYS."),
    # Files and descriptors
    (10, "OPEN", "slot:f base:f path:s flags:u mode:u resolve:u", "openat2 into a slot."),
    (11, "CLOSE", "slot:f", "Close a slot."),
    (12, "MKDIR", "base:f path:s mode:u uid:i gid:i", "Make a directory and missing parents (0755); -1 keeps the owner."),
    (13, "SYMLINK", "base:f path:s target:s", "Make a symbolic link; one that exists stays."),
    (14, "MKNOD", "base:f path:s mode:u major:u minor:u uid:i gid:i", "Make a node whatever the umask, verify it by fstat; an existing one must match."),
    (15, "WRITE", "base:f path:s data:b flags:u", "Write a small file in one write(2)."),
    (16, "FIFO", "base:f path:s mode:u uid:i gid:i", "Make a fifo."),
    (17, "CHOWN", "base:f path:s uid:i gid:i", "Change the owner, not following a link."),
    (18, "CONNECT", "slot:f path:s", "Connect a unix stream socket."),
    (19, "PROCFS", "", "Open the private procfs into PROC: fsopen, else a verified /proc."),
    # Control groups (paths are host paths)
    (20, "CGROUP_DIR", "slot:f path:s flags:u", "Make a control group with its parents and open it."),
    (21, "CGROUP_ENTER", "slot:f", "HOST: move the child into the group, unless CLONE did; INIT, STAGE: move oneself. An empty slot is passed over."),
    (22, "CGROUP_KILL", "path:s signal:u", "Signal every process of the group and of those below (cgroup.kill where there)."),
    (23, "CGROUP_REMOVE", "path:s deadline_ms:u", "Kill what is left and remove the group and those below; busy ones are retried until the deadline."),
    (24, "FREEZE", "path:s version:u frozen:u deadline_ms:u", "Freeze or thaw (1: freezer.state, 2: cgroup.freeze) and wait for it."),
    (25, "DEVICE_FILTER", "slot:f program:b", "Load an eBPF device program and attach it to the v2 group, replacing an older one."),
    (26, "CGROUP_CONTROLLERS", "path:s names:s", "v2: enable these controllers for the children of a group, making it if missing; a refusal shows when a limit is written."),
    (27, "CGROUP_OWN", "slot:f uid:u files:l", "Give the group's directory and those of the files that it has to a user."),
    (28, "CGROUP_VANISH", "path:s deadline_ms:u", "Wait until systemd has removed the group, which it forgets to end if we do; remove it after the deadline."),
    # Processes
    (30, "CLONE", "program:u flags:u cgroup:f", "clone3 a child that runs the program; into the v2 group if a slot is given and the kernel can."),
    (31, "ADOPT", "", "HOST: take over the pid of INIT that STAGE cloned (CLONE_PARENT) and reap STAGE."),
    (32, "MAPS", "uid_map:s gid_map:s deny_setgroups:u newuidmap:o newgidmap:o", "Write the child's id maps, by the set-id helpers if named."),
    (33, "POST", "token:u", "Tell the peer; HOST's message carries the child's host pid."),
    (34, "AWAIT", "token:u", "Wait for exactly this token; end of file or a failure record ends the program."),
    (35, "HOOK", "path:s args:l env:l timeout_ms:u head:s tail:s flags:u", "Run a hook; its stdin is head + pid + tail. timeout 0: none."),
    (36, "SAVE_STATE", "", "HOST: write state.json (pid, start time, creation time) atomically."),
    (37, "PID_FILE", "path:s", "HOST: write the child's pid atomically."),
    (38, "PIDFD_SEND", "slot:f", "HOST: send the child's pidfd over the socket."),
    (39, "PIDFD", "slot:f pid:u start_time:u", "HOST: open a pidfd of a running process, checking its start time (/proc/PID/stat): gone or another is `container not running`."),
    # Namespaces
    (40, "SETNS", "slot:f flags:u", "Join a namespace (or, by a pidfd, several); flags are the CLONE_NEW* expected."),
    (41, "UNSHARE", "flags:u", "unshare."),
    (42, "TIME_OFFSETS", "data:s", "Write /proc/self/timens_offsets, before the clone that enters the namespace."),
    (43, "BECOME", "uid:u gid:u", "Take these ids and drop supplementary groups, inside a new user namespace."),
    (44, "KEYRING", "name:s", "Join a new session keyring; kernels without keyrings are passed over."),
    (45, "HOSTNAME", "name:s", "sethostname."),
    (46, "DOMAINNAME", "name:s", "setdomainname."),
    (47, "NETLINK", "messages:b", "Send each rtnetlink request in this namespace and check its acknowledgement; an all-ones interface index in ifi_index means loopback."),
    (48, "NETDEV", "name:s new_name:s", "HOST: move a network device with its permanent global addresses into the child's network namespace, rename and set it up."),
    (49, "SYSCTL", "path:s value:s", "Write PROC/sys/<path>, path with slashes."),
    (64, "USERNS", "slot:f uid_map:s gid_map:s", "HOST: a user namespace with these maps, for id-mapped mounts: of a short-lived child."),
    # Mounts
    (50, "PROPAGATION", "path:s flags:u", "mount(2) propagation on a host path, before the root is entered."),
    (51, "ROOTFS", "path:s flags:u", "Open the root directory into ROOT, following links once."),
    (52, "MOUNT", "type:s source:s target:s flags:u data:s kind:u mode:u how:u", "A new file system: fsopen, fsconfig, fsmount, move_mount, else mount(2) on the opened target. flags are MS_*; mode of a created target."),
    (53, "TREE", "slot:f base:f path:s flags:u", "open_tree clone of a mount; without open_tree an O_PATH descriptor bound by ATTACH."),
    (54, "TREE_ATTR", "slot:f set:u clear:u propagation:u userns:f flags:u", "mount_setattr on a tree not yet attached: MOUNT_ATTR_*; id-mapped if a user namespace slot is given."),
    (55, "ATTACH", "slot:f target:s kind:u flags:u", "Resolve the target in ROOT, creating it, and move_mount the tree there."),
    (56, "ATTR", "target:s set:u clear:u flags:u", "mount_setattr of what is mounted on the target; else a remount that keeps locked flags."),
    (57, "PROPAGATE", "target:s flags:u", "Propagation (MS_*) of what is mounted on the target."),
    (58, "MASK", "path:s", "Hide a file behind /dev/null or a directory behind an empty read-only one; a missing path is no error."),
    (59, "READONLY", "path:s", "Bind a path onto itself read-only; a missing path is no error."),
    (60, "PIVOT", "how:u", "Enter ROOT and drop the old root."),
    (61, "CONSOLE", "socket:f width:u height:u uid:i gid:i flags:u", "Open a terminal in the container's devpts, make it stdio and controlling, send the master."),
    (63, "ROOTFS_MOUNT", "type:s path:s options:l data:s base:s", "Mount the root file system (an engine's overlay) on a host path in this namespace, before ROOTFS: fsopen with each option in turn (lowerdir+=…), else mount(2) with data, relative to base."),
    # Process attributes; in HOST they apply to the child, elsewhere to the process itself
    (70, "RLIMIT", "resource:u soft:u hard:u", "prlimit."),
    (71, "OOM_SCORE", "value:i flags:u", "oom_score_adj; WRITE_BEST_EFFORT allowed."),
    (72, "SCHEDULER", "attr:b", "sched_setattr with these bytes (struct sched_attr)."),
    (73, "IO_PRIORITY", "value:u", "ioprio_set."),
    (74, "PERSONALITY", "value:u", "personality."),
    (75, "MEMORY_POLICY", "mode:u nodes:b", "set_mempolicy; nodes is a bit mask."),
    (76, "AFFINITY", "mask:b", "sched_setaffinity; an empty mask means every CPU the kernel allows."),
    (77, "UMASK", "mask:u", "umask."),
    (78, "SETSID", "", "setsid."),
    (79, "DUMPABLE", "value:u", "PR_SET_DUMPABLE."),
    (80, "GROUPS", "gids:b", "setgroups with 32-bit ids; EPERM where setgroups is denied and the list is empty is no error."),
    (81, "IDS", "uid:u gid:u", "setresgid, setresuid keeping capabilities."),
    (82, "BOUNDING", "mask:u", "Drop every capability outside the mask from the bounding set."),
    (83, "CAPABILITIES", "effective:u permitted:u inheritable:u ambient:u", "capset, then ambient."),
    (84, "NO_NEW_PRIVS", "", "PR_SET_NO_NEW_PRIVS."),
    (85, "SECCOMP", "program:b flags:u listener:f head:s tail:s", "Load the filter; with a listener send head + pid + tail and the descriptor."),
    (86, "LSM", "attribute:s label:s", "Write PROC/self/<attribute>, checking that it is procfs."),
    (87, "LANDLOCK", "fs:u net:u scoped:u paths:l path_access:b ports:b", "Restrict: path_access is a u64 a path, ports pairs of (u64 port, u64 access)."),
    (88, "CHDIR", "path:s flags:u", "Change into a directory of the container and check that it is inside."),
    (89, "STDIO", "uid:i gid:i", "Point stdio descriptors that are /dev/null of the host at the container's; chown pipes and terminals to the user."),
    (90, "CLOSE_RANGE", "first:u", "Mark every descriptor from first on close-on-exec."),
    (91, "FIND", "name:s path:o", "Find the command in the container's PATH, as its user, for EXEC; fails as execvp would."),
    (92, "WAIT_START", "", "INIT: report ready, then wait on FIFO for `start`."),
    (93, "EXEC", "args:l env:l flags:u keep_fds:u", "Close every descriptor from 3 + keep_fds on and execute what FIND found."),
    (94, "PDEATHSIG", "signal:u", "PR_SET_PDEATHSIG, and end at once if the parent is gone already."),
)  # fmt: skip

INSTRUCTIONS = tuple([Instruction(*row) for row in _TABLE])
BY_CODE = {instruction.code: instruction for instruction in INSTRUCTIONS}
BY_NAME = {instruction.name: instruction for instruction in INSTRUCTIONS}

# Keys of META. The *_json values are ready JSON texts, so that the native verbs print state without
# knowing JSON; the others are plain.
META_KEYS = (
    "id",
    "id_json",
    "oci_version_json",
    "bundle_json",
    "rootfs_json",
    "owner_json",
    "annotations_json",  # "" when there are none
    "cgroup",  # directory whose cgroup.procs (and those below) names the container's processes; "" if none
    "freezer",  # directory of the freezer; "" if none
    "freezer_version",  # 1 or 2
    "scope",  # the unit of the systemd driver, followed by " user" when it is the user's manager's; "" without
    "shares_pid_namespace",  # 1: killing init does not end the others; kill and delete walk the cgroup
)
