"""The container's process: command, environment, user, capabilities, limits, labels and filters.

config.md "Process"; used for `create` and, with the container's document, for `exec`.
"""

from __future__ import annotations

from wherry.oci.check import UINT32_MAX, UINT64_MAX
from wherry.plan.instructions import (
    CHDIR_CREATE,
    CHDIR_MAY_FAIL,
    CONSOLE_BIND,
    CONSOLE_SOCKET,
    EXEC_INIT,
    NONE,
    SECCOMP_SOCKET,
    WRITE_BEST_EFFORT,
)
from wherry.runtime.capabilities import mask, names
from wherry.runtime.compile.environment import complete_environment
from wherry.runtime.compile.namespaces import NEWUSER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.oci.check import Document
    from wherry.plan.encode import Program
    from wherry.runtime.compile.draft import Draft
    from wherry.runtime.seccomp.filter import Filter

ALL_CAPABILITIES = (1 << 64) - 1
RLIMITS = (
    "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE",
    "MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
)  # fmt: skip
RLIMIT_NUMBERS = {f"RLIMIT_{name}": number for number, name in enumerate(RLIMITS)}


class Process:
    """A checked process and the steps it needs; `program` is the one that becomes it (INIT)."""

    __slots__ = (
        "_annotations",
        "_at_exec",
        "_document",
        "_draft",
        "_filter",
        "_groups",
        "_labels",
        "_landlock",
        "_masks",
        "_program",
        "_rlimits",
        "_seccomp",
        "_where",
        "args",
        "cwd",
        "env",
        "gid",
        "no_new_privs",
        "terminal",
        "uid",
        "umask",
    )

    def __init__(self, draft: Draft, document: Document, program: Program) -> None:
        self._draft = draft
        self._document = document
        self._program = program
        self._where = document.path
        self.args = document.texts("args")
        if not self.args:
            raise document.error("args", "is required" if not document.has("args") else "must not be empty")
        self.cwd = document.required_text("cwd")
        if self.cwd[0] != "/":
            raise document.error("cwd", "must be absolute")
        self.terminal = document.flag("terminal")
        self.no_new_privs = document.flag("noNewPrivileges")
        self._read_user(document)
        self.env = complete_environment(draft, document, self.uid)
        self._masks = self._capabilities()
        self._rlimits = self._read_rlimits()
        self._labels = self._read_labels()
        self._seccomp = draft.linux.document("seccomp")
        self._filter = self._compile_filter()
        self._landlock = draft.annotations.get("io.wherry.landlock", "")
        self._at_exec: list[str] = []

    @classmethod
    def of_container(cls, draft: Draft) -> Process:
        """The process of a config.json."""
        document = draft.document.document("process")
        if document is None:
            raise draft.document.error("process", "is required")
        return cls(draft, document, draft.init)

    def _read_user(self, document: Document) -> None:
        user = document.document("user")
        if user is None:
            raise document.error("user", "is required")
        self.uid = user.number("uid", 0, UINT32_MAX - 1)
        self.gid = user.number("gid", 0, UINT32_MAX - 1)
        self.umask = user.number("umask", 0, 0o777, 0o22)
        self._groups = []
        for index, gid in enumerate(user.list("additionalGids")):
            name = f"additionalGids[{index}]"
            self._groups.append(type(user)({name: gid}, user.path).required_number(name, 0, UINT32_MAX - 1))

    def _capabilities(self) -> tuple[int, int, int, int, int]:
        """Bounding, effective, permitted, inheritable, ambient; none at all when the document has none."""
        document = self._document.document("capabilities")
        if document is None:
            return 0, 0, 0, 0, 0
        warnings = self._draft.options.warnings
        known: dict[str, int] = {}
        bits = []
        for name in ("bounding", "effective", "permitted", "inheritable", "ambient"):
            value = document.value.get(name)
            key = repr(value)  # the sets are mostly the same list
            if key not in known:
                known[key] = mask(value, document.at(name), warnings)
            bits.append(known[key])
        bounding, effective, permitted, inheritable, ambient = bits
        if effective & ~permitted:
            self._draft.warn(f"{document.at('effective')}: what is not in permitted is ignored")
        permitted, inheritable = self._ours_to_give(document, permitted, inheritable)
        # The kernel refuses ambient capabilities that are not both permitted and inheritable.
        return bounding, effective & permitted, permitted, inheritable, ambient & permitted & inheritable

    def _ours_to_give(self, document: Document, *sets: int) -> tuple[int, ...]:
        """The sets without what a container of ours cannot get; in a user namespace it can get everything."""
        target = self._draft.target
        if target.user_namespace if target else self._draft.namespaces.has(NEWUSER):
            return sets
        ours = self._draft.host.capabilities
        missing = (sets[0] | sets[1]) & ~ours
        if missing:
            self._draft.warn(f"{document.path}: ignored, this process has not got {', '.join(names(missing))}")
        return tuple([each & ours for each in sets])

    def _read_rlimits(self) -> list[tuple[int, int, int, str]]:
        limits: list[tuple[int, int, int, str]] = []
        for entry in self._document.documents("rlimits"):
            name = entry.required_text("type")
            number = RLIMIT_NUMBERS.get(name)
            if number is None:
                raise entry.error("type", f"{name!r} is not a resource limit", "for example RLIMIT_NOFILE")
            if [limit for limit in limits if limit[0] == number]:
                raise entry.error("type", f"{name} is given twice")
            hard = entry.number("hard", -1, UINT64_MAX) & UINT64_MAX
            soft = entry.number("soft", -1, UINT64_MAX) & UINT64_MAX
            if soft > hard:
                raise entry.error("soft", f"must not be more than hard ({hard})")
            limits.append((number, soft, hard, entry.path))
        return limits

    def _read_labels(self) -> list[tuple[str, str, str]]:
        """(attribute, label, place) of the security modules' labels."""
        document, host = self._document, self._draft.host
        labels = []
        selinux = document.text("selinuxLabel")
        if selinux:
            if not host.selinux:
                raise document.error("selinuxLabel", "is given, but SELinux is disabled or not supported")
            labels.append(("attr/exec", selinux, document.at("selinuxLabel")))
        profile = document.text("apparmorProfile")
        if profile:
            if not host.apparmor:
                raise document.error("apparmorProfile", "is given, but AppArmor is disabled or not supported")
            own = host.exists("/proc/self/attr/apparmor/exec")
            attribute = "attr/apparmor/exec" if own else "attr/exec"
            labels.append((attribute, f"exec {profile}", document.at("apparmorProfile")))
        return labels

    def _compile_filter(self) -> Filter | None:
        if self._seccomp is None:
            return None
        from wherry.runtime.compile.seccomp import compile_profile

        return compile_profile(self._draft, self._seccomp)

    # Steps of HOST

    def connect(self, draft: Draft) -> None:
        """Connect the sockets of the terminal and of the filter's listener."""
        options, setup = draft.options, draft.setup
        if self.terminal and options.console_socket and not options.monitor:
            setup.emit("CONNECT", CONSOLE_SOCKET, options.console_socket, where="--console-socket")
        if self._filter is not None and self._filter.listener_path:
            where = "linux.seccomp.listenerPath"
            setup.emit("CONNECT", SECCOMP_SOCKET, self._filter.listener_path, where=where)

    def limit(self, draft: Draft) -> None:
        """Resource limits, set by HOST with its rights."""
        for number, soft, hard, where in self._rlimits:
            draft.setup.emit("RLIMIT", number, soft, hard, where=where)

    def score(self, draft: Draft) -> None:
        """What the out-of-memory killer is told."""
        if self._document.has("oomScoreAdj"):
            score = self._document.number("oomScoreAdj", -1000, 1000)
            flags = 0 if draft.host.privileged else WRITE_BEST_EFFORT
            draft.setup.emit("OOM_SCORE", score, flags, where=self._document.at("oomScoreAdj"))

    def schedule(self, draft: Draft) -> None:
        """What the scheduler is told, after the control group is entered."""
        document, setup = self._document, draft.setup
        if document.has("scheduler") or document.has("ioPriority"):
            from wherry.runtime.compile.attributes import set_priorities

            set_priorities(document, setup)

    # Steps of INIT

    def become(self, draft: Draft) -> None:
        """From a complete root directory to the container's user, ready to execute."""
        init, where = self._program, self._where
        init.emit("SETSID")
        self._open_terminal(draft)
        for target, place in draft.deferred_readonly:
            init.emit("ATTR", target, 1, 0, 0, where=place)
        if self._document.has("memoryPolicy") or draft.linux.has("memoryPolicy") or draft.linux.has("personality"):
            from wherry.runtime.compile.attributes import set_memory_policy, set_personality

            set_personality(draft.linux, init)
            set_memory_policy(draft.linux, init)
        for attribute, label, place in self._labels:
            init.emit("LSM", attribute, label, where=place)
        init.emit("UMASK", self.umask)
        self._change_user(draft)
        init.emit("CLOSE_RANGE", 3 + draft.options.kept_fds)
        path = None
        for assignment in self.env:
            if assignment.startswith("PATH="):
                path = assignment[5:]
        init.emit("FIND", self.args[0], path, where=f"{where}.args[0]")
        init.emit("PDEATHSIG", 0)

    def _open_terminal(self, draft: Draft) -> None:
        init = self._program
        if self.terminal:
            size = self._document.document("consoleSize")
            width = size.number("width", 0, 65535) if size else 0
            height = size.number("height", 0, 65535) if size else 0
            where = f"{self._where}.terminal"
            flags = CONSOLE_BIND if draft.target is None else 0
            init.emit("CONSOLE", CONSOLE_SOCKET, width, height, self.uid, -1, flags, where=where)
        else:
            init.emit("STDIO", self.uid, self.gid, where=f"{self._where}.user")

    def _change_user(self, draft: Draft) -> None:
        init, where = self._program, self._where
        bounding, effective, permitted, inheritable, ambient = self._masks
        create = CHDIR_CREATE if draft.target is None else 0
        init.emit("CHDIR", self.cwd, create | CHDIR_MAY_FAIL, where=f"{where}.cwd")
        if not self.no_new_privs:
            self._load_filter(draft)
        self._set_groups(draft)
        init.emit("BOUNDING", bounding, where=f"{where}.capabilities.bounding")
        init.emit("IDS", self.uid, self.gid, where=f"{where}.user")
        init.emit("CAPABILITIES", effective, permitted, inheritable, ambient, where=f"{where}.capabilities")
        if self.no_new_privs:
            init.emit("NO_NEW_PRIVS", where=f"{where}.noNewPrivileges")
        init.emit("CHDIR", self.cwd, 0, where=f"{where}.cwd")

    def _set_groups(self, draft: Draft) -> None:
        from wherry.runtime.compile.namespaces import setgroups_denied

        if draft.annotations.get("run.oci.keep_original_groups") in ("1", "true"):
            return
        if setgroups_denied(draft):
            if self._groups:
                draft.warn(f"{self._where}.user.additionalGids: ignored, the user namespace maps one group only")
            return
        gids = b"".join([gid.to_bytes(4, "little") for gid in self._groups])
        self._program.emit("GROUPS", gids, where=f"{self._where}.user.additionalGids")

    def execute(self, draft: Draft) -> None:
        """The last steps, after `start`."""
        init = self._program
        if self._landlock:
            from wherry.runtime.compile.seccomp import restrict_files

            restrict_files(draft, init, self._landlock, self._document, self.no_new_privs)
        if self.no_new_privs:
            self._load_filter(draft)
        flags = EXEC_INIT if draft.options.init else 0
        init.emit("EXEC", self.args, self.env, flags, draft.options.kept_fds, where=f"{self._where}.args")

    def _load_filter(self, draft: Draft) -> None:
        compiled = self._filter
        if compiled is None:
            return
        listener = SECCOMP_SOCKET if compiled.listener_path else NONE
        head = tail = ""
        if compiled.listener_path:
            from wherry.runtime.compile.seccomp import listener_message

            head, tail = listener_message(draft, compiled)
        arguments = (compiled.program, compiled.flags, listener, head, tail)
        self._program.emit("SECCOMP", *arguments, where="linux.seccomp")
