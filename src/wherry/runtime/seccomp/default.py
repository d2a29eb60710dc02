"""The seccomp profile of a container that asks for none.

About as strict as the defaults of podman and docker: what reaches beyond the container's namespaces, what only
serves debugging the kernel and what is obsolete is refused; a call that a capability guards is open to containers
that have the capability. Mounts and namespaces are not refused, the kernel guards them well enough, so containers
nest. Calls that are not named here do not exist (ENOSYS), so a libc falls back; named and refused ones are not
permitted (EPERM). Every name that the tables of `syscalls` hold is either allowed, guarded or refused here.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FILES = (
    "open openat openat2 creat close close_range read readv pread64 preadv preadv2 write writev pwrite64 pwritev "
    "pwritev2 lseek _llseek dup dup2 dup3 fcntl fcntl64 flock ioctl pipe pipe2 splice tee copy_file_range sendfile "
    "sendfile64 readahead fadvise64 fadvise64_64 arm_fadvise64_64 fallocate truncate truncate64 ftruncate "
    "ftruncate64 sync syncfs fsync fdatasync sync_file_range sync_file_range2 arm_sync_file_range cachestat "
    "stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx statfs statfs64 fstatfs fstatfs64 access "
    "faccessat faccessat2 chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32 fchownat lchown lchown32 "
    "utime utimes utimensat utimensat_time64 futimesat umask file_getattr file_setattr name_to_handle_at "
    "getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr llistxattr "
    "flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat "
    "getcwd chdir fchdir mkdir mkdirat rmdir mknod mknodat link linkat symlink symlinkat readlink readlinkat unlink "
    "unlinkat rename renameat renameat2 readdir getdents getdents64"
)
_EVENTS = (
    "poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create epoll_create1 epoll_ctl "
    "epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 inotify_init inotify_init1 "
    "inotify_add_watch inotify_rm_watch fanotify_mark io_setup io_destroy io_submit io_cancel io_getevents "
    "io_pgetevents io_pgetevents_time64"
)
_SOCKETS = (
    "socketpair socketcall bind connect listen accept accept4 shutdown getsockname getpeername getsockopt setsockopt "
    "send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64"
)
_MOUNTS = (
    "mount umount umount2 pivot_root fsopen fspick fsconfig fsmount open_tree open_tree_attr move_mount "
    "mount_setattr statmount listmount unshare setns"
)
_MEMORY = (
    "brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock munlockall mseal "
    "remap_file_pages memfd_create memfd_secret map_shadow_stack pkey_alloc pkey_free pkey_mprotect mbind "
    "get_mempolicy set_mempolicy set_mempolicy_home_node process_mrelease membarrier"
)
_PROCESSES = (
    "fork vfork clone clone3 execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid "
    "set_tid_address getpgid getpgrp setpgid getsid setsid pidfd_open pidfd_getfd pidfd_send_signal ptrace "
    "process_vm_readv process_vm_writev prctl getrlimit setrlimit ugetrlimit prlimit64 getrusage times sysinfo uname "
    "getcpu getpriority setpriority ioprio_get ioprio_set sched_yield sched_getaffinity sched_setaffinity "
    "sched_getattr sched_setattr sched_getparam sched_setparam sched_getscheduler sched_setscheduler "
    "sched_get_priority_max sched_get_priority_min sched_rr_get_interval sched_rr_get_interval_time64 "
    "futex futex_time64 futex_wait futex_waitv futex_wake futex_requeue get_robust_list set_robust_list rseq "
    "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self keyctl getrandom"
)
_SIGNALS = (
    "kill tkill tgkill pause signal sigaction sigaltstack sigpending sigprocmask sigreturn sigsuspend signalfd "
    "signalfd4 rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait "
    "rt_sigtimedwait_time64 rt_tgsigqueueinfo restart_syscall"
)
_IDENTITY = (
    "getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 getresgid getresgid32 "
    "getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32 setresuid "
    "setresuid32 setresgid setresgid32 setfsuid setfsuid32 setfsgid setfsgid32 setgroups setgroups32 capget capset"
)
_TIME = (
    "time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep "
    "clock_nanosleep_time64 nanosleep alarm getitimer setitimer timer_create timer_delete timer_getoverrun "
    "timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd timerfd_create timerfd_gettime "
    "timerfd_gettime64 timerfd_settime timerfd_settime64 adjtimex clock_adjtime clock_adjtime64"
)
_IPC = (
    "ipc shmget shmat shmdt shmctl semget semop semtimedop semtimedop_time64 semctl msgget msgsnd msgrcv msgctl "
    "mq_open mq_unlink mq_notify mq_getsetattr mq_timedsend mq_timedsend_time64 mq_timedreceive mq_timedreceive_time64"
)
_OF_ONE_ARCHITECTURE = (
    "arch_prctl modify_ldt get_thread_area set_thread_area uretprobe uprobe breakpoint cacheflush set_tls get_tls "
    "usr26 usr32 riscv_hwprobe riscv_flush_icache s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr "
    "s390_guarded_storage switch_endian subpage_prot swapcontext"
)
ALLOWED = " ".join(
    (_FILES, _EVENTS, _SOCKETS, _MOUNTS, _MEMORY, _PROCESSES, _SIGNALS, _IDENTITY, _TIME, _IPC, _OF_ONE_ARCHITECTURE)
).split(" ")

# open to containers that have the capability; any one of several is enough
GUARDED = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_ADMIN": (
        "bpf fanotify_init lookup_dcookie lsm_get_self_attr lsm_list_modules lsm_set_self_attr perf_event_open "
        "quotactl quotactl_fd setdomainname sethostname syslog"
    ),
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "migrate_pages move_pages",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}

_REFUSED = (
    # keyrings are not namespaced
    "add_key request_key "
    # their attack surface is larger than their use
    "io_uring_setup io_uring_enter io_uring_register userfaultfd vmsplice "
    # the machine's, not the container's
    "kexec_load kexec_file_load swapon swapoff nfsservctl pciconfig_iobase pciconfig_read pciconfig_write rtas "
    "spu_create spu_run s390_sthyi sys_debug_setcontext "
    # obsolete
    "_sysctl afs_syscall bdflush break create_module ftime get_kernel_syms getpmsg gtty idle lock mpx multiplexer nice "
    "oldfstat oldlstat oldolduname oldstat olduname prof profil putpmsg query_module security sgetmask ssetmask stty "
    "sysfs tuxcall ulimit uselib ustat vm86 vm86old vserver"
)
REFUSED = _REFUSED.split(" ")

# by their arguments; see _personality and _socket
FILTERED = ("personality", "socket")

_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)  # LINUX, LINUX32, both with UNAME26, "only ask"

_EPERM, _EINVAL, _ENOSYS, _EAFNOSUPPORT = 1, 22, 38, 97
_U64 = (1 << 64) - 1

_NETLINK = 16  # AF_NETLINK
_NETLINK_AUDIT = 9
# AF_ALG opens the host's kernel crypto modules, AF_VSOCK the hypervisor: neither is bound to a network namespace
_REFUSED_FAMILIES = (38, 40)
# Blocks [first, first + size) of all others up to AF_MCTP, each an aligned power of two, so that one masked
# comparison of all 64 bits finds it. The kernel looks at 32 bits only: with NE or GT a caller could hide a refused
# value behind higher bits.
_FAMILIES_BELOW_NETLINK = 16
_FAMILIES = ((17, 1), (18, 2), (20, 4), (24, 8), (32, 4), (36, 2), (39, 1), (41, 1), (42, 2), (44, 2))
_PROTOCOLS = ((10, 2), (12, 4), (16, 16))

_SUBARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "i686": ["SCMP_ARCH_X86"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
    "armv7l": ["SCMP_ARCH_ARM"],
    "riscv64": ["SCMP_ARCH_RISCV64"],
    "s390x": ["SCMP_ARCH_S390X", "SCMP_ARCH_S390"],
    "ppc64le": ["SCMP_ARCH_PPC64LE"],
}


def default_profile(caps: frozenset[str], arch: str) -> dict[str, Any]:
    """linux.seccomp for a container with these capabilities (bounding set) on a host of `arch` (uname's machine).

    Rules of one system call never overlap, so every runtime reads the profile alike.
    """
    guarded = {name for names in GUARDED.values() for name in names.split(" ")}
    opened = {name for cap in GUARDED if cap in caps for name in GUARDED[cap].split(" ")}
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _ENOSYS,
        "architectures": list(_SUBARCHITECTURES.get(arch, [])),
        "syscalls": [
            {"names": [*ALLOWED, *sorted(opened)], "action": "SCMP_ACT_ALLOW"},
            _refuse(_EPERM, *REFUSED, *sorted(guarded - opened)),
            *_personality(),
            *_socket(caps),
        ],
    }


def _allow(name: str, *args: dict[str, Any]) -> dict[str, Any]:
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": list(args)}


def _refuse(errno: int, *names: str, args: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": errno}
    return {**rule, "args": list(args)} if args else rule


def _is(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


def _below(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "op": "SCMP_CMP_LT"}


def _within(index: int, first: int, size: int) -> dict[str, Any]:
    if size == 1:
        return _is(index, first)
    return {"index": index, "value": _U64 & -size, "valueTwo": first, "op": "SCMP_CMP_MASKED_EQ"}


def _personality() -> list[dict[str, Any]]:
    """Those that change no layout of the address space."""
    return [_allow("personality", _is(0, value)) for value in _PERSONALITIES]


def _socket(caps: frozenset[str]) -> list[dict[str, Any]]:
    """Every family but `_REFUSED_FAMILIES`; the audit protocol of netlink only with its capability."""
    rules = [_allow("socket", _below(0, _FAMILIES_BELOW_NETLINK))]
    rules += [_allow("socket", _within(0, first, size)) for first, size in _FAMILIES]
    rules += [_refuse(_EAFNOSUPPORT, "socket", args=(_is(0, family),)) for family in _REFUSED_FAMILIES]
    netlink = _is(0, _NETLINK)
    if "CAP_AUDIT_WRITE" in caps:
        return [*rules, _allow("socket", netlink)]
    rules.append(_allow("socket", netlink, _below(2, _NETLINK_AUDIT)))
    rules += [_allow("socket", netlink, _within(2, first, size)) for first, size in _PROTOCOLS]
    rules.append(_refuse(_EINVAL, "socket", args=(netlink, _is(2, _NETLINK_AUDIT))))
    return rules
