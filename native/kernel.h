/* System calls and constants that the C library may not know, with our own names for the structures.
 * Numbers from 424 up are the same on every architecture. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	NR_PIDFD_SEND_SIGNAL = 424,
	NR_OPEN_TREE = 428,
	NR_MOVE_MOUNT = 429,
	NR_FSOPEN = 430,
	NR_FSCONFIG = 431,
	NR_FSMOUNT = 432,
	NR_PIDFD_OPEN = 434,
	NR_CLONE3 = 435,
	NR_CLOSE_RANGE = 436,
	NR_OPENAT2 = 437,
	NR_MOUNT_SETATTR = 442,
	NR_LANDLOCK_CREATE_RULESET = 444,
	NR_LANDLOCK_ADD_RULE = 445,
	NR_LANDLOCK_RESTRICT_SELF = 446,
	NR_FCHMODAT2 = 452,
};

/* openat2 */
struct open_how_words {
	uint64_t flags;
	uint64_t mode;
	uint64_t resolve;
};

enum {
	RESOLVE_XDEV_NOT = 0x01, /* RESOLVE_NO_XDEV */
	RESOLVE_MAGICLINKS_NOT = 0x02,
	RESOLVE_SYMLINKS_NOT = 0x04,
	RESOLVE_INSIDE = 0x08, /* RESOLVE_BENEATH */
	RESOLVE_ROOT = 0x10,   /* RESOLVE_IN_ROOT */
};

/* mount */
struct mount_attributes {
	uint64_t set;
	uint64_t clear;
	uint64_t propagation;
	uint64_t userns_fd;
};

enum {
	ATTRIBUTE_RDONLY = 0x01,
	ATTRIBUTE_NOSUID = 0x02,
	ATTRIBUTE_NODEV = 0x04,
	ATTRIBUTE_NOEXEC = 0x08,
	ATTRIBUTE_NOATIME = 0x10,
	ATTRIBUTE_STRICTATIME = 0x20,
	ATTRIBUTE_ATIME = 0x70,
	ATTRIBUTE_NODIRATIME = 0x80,
	ATTRIBUTE_IDMAP = 0x100000,
	ATTRIBUTE_NOSYMFOLLOW = 0x200000,

	TREE_CLONE = 1,
	TREE_CLOEXEC = O_CLOEXEC,
	WHOLE_TREE = 0x8000, /* AT_RECURSIVE */

	FROM_EMPTY_PATH = 0x04, /* move_mount */
	TO_EMPTY_PATH = 0x40,

	CONFIG_FLAG = 0, /* fsconfig */
	CONFIG_STRING = 1,
	CONFIG_CREATE = 6,

	MOUNT_NOSYMFOLLOW = 256, /* MS_NOSYMFOLLOW */
	MOUNT_LAZYTIME = 1 << 25,
};

#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif

/* clone */
struct clone_words {
	uint64_t flags;
	uint64_t pidfd;
	uint64_t child_tid;
	uint64_t parent_tid;
	uint64_t exit_signal;
	uint64_t stack;
	uint64_t stack_size;
	uint64_t tls;
	uint64_t set_tid;
	uint64_t set_tid_size;
	uint64_t cgroup;
};

#define NEW_TIME 0x00000080u /* CLONE_NEWTIME */
#define WITH_PIDFD 0x00001000u
#define INTO_CGROUP 0x200000000ull

#define CLOSE_ON_EXEC_RANGE 4u /* CLOSE_RANGE_CLOEXEC */

/* Magic numbers of file systems. */
enum {
	PROC_MAGIC = 0x9fa0,
	DEVPTS_MAGIC = 0x1cd1,
	CGROUP2_MAGIC = 0x63677270,
};

static inline int sys_openat2(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct open_how_words how = {.flags = flags, .mode = mode, .resolve = resolve};
	return (int)syscall(NR_OPENAT2, dir, path, &how, sizeof how);
}

static inline int sys_open_tree(int dir, const char *path, unsigned flags)
{
	return (int)syscall(NR_OPEN_TREE, dir, path, flags);
}

static inline int sys_move_mount(int from, int to)
{
	return (int)syscall(NR_MOVE_MOUNT, from, "", to, "", FROM_EMPTY_PATH | TO_EMPTY_PATH);
}

static inline int sys_mount_setattr(int fd, unsigned flags, const struct mount_attributes *attributes)
{
	return (int)syscall(NR_MOUNT_SETATTR, fd, "", flags | AT_EMPTY_PATH, attributes, sizeof *attributes);
}

static inline int sys_fsopen(const char *type)
{
	return (int)syscall(NR_FSOPEN, type, 1 /* FSOPEN_CLOEXEC */);
}

static inline int sys_fsconfig(int fd, unsigned command, const char *key, const char *value)
{
	return (int)syscall(NR_FSCONFIG, fd, command, key, value, 0);
}

static inline int sys_fsmount(int fd, unsigned attributes)
{
	return (int)syscall(NR_FSMOUNT, fd, 1 /* FSMOUNT_CLOEXEC */, attributes);
}

static inline int sys_pidfd_open(pid_t pid)
{
	return (int)syscall(NR_PIDFD_OPEN, pid, 0);
}

static inline int sys_pidfd_send_signal(int fd, int signal)
{
	return (int)syscall(NR_PIDFD_SEND_SIGNAL, fd, signal, NULL, 0);
}

static inline int sys_close_range(unsigned first, unsigned last, unsigned flags)
{
	return (int)syscall(NR_CLOSE_RANGE, first, last, flags);
}

/* A system call without the C library's code around it. Returns the negative errno on failure. */
static inline long bare_call(long number, long a, long b, long c)
{
#if defined(__x86_64__)
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	return x0;
#else
	long result = syscall(number, a, b, c);
	return result < 0 ? -errno : result;
#endif
}
