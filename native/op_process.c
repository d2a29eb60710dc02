/* Processes: CLONE, ADOPT, POST, AWAIT, SAVE_STATE, PID_FILE, PIDFD_SEND, PIDFD. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "message.h"
#include "operations.h"
#include "state.h"

static bool refused(int error)
{
	return error == ENOSYS || error == EPERM;
}

/* clone(2), for kernels without clone3 and filters that refuse it. Its first argument is the flags on every architecture
 * we build for. */
static long clone_old(uint64_t flags, int *pidfd)
{
	unsigned long words = (unsigned long)(flags & ~INTO_CGROUP);
	if (!(words & CLONE_PARENT))
		words |= SIGCHLD;
	long pid = syscall(SYS_clone, words | WITH_PIDFD, NULL, pidfd, NULL, 0);
	if (pid < 0 && errno == EINVAL) {
		*pidfd = -1;
		pid = syscall(SYS_clone, words, NULL, NULL, NULL, 0);
	}
	return pid;
}

static long clone_new(uint64_t flags, int cgroup, int *pidfd)
{
	struct clone_words words = {
		.flags = flags | WITH_PIDFD | (cgroup >= 0 ? INTO_CGROUP : 0),
		.pidfd = (uint64_t)(uintptr_t)pidfd,
		.exit_signal = flags & CLONE_PARENT ? 0 : SIGCHLD,
		.cgroup = cgroup >= 0 ? (uint64_t)cgroup : 0,
	};
	size_t size = cgroup >= 0 ? sizeof words : offsetof(struct clone_words, set_tid);
	return syscall(NR_CLONE3, &words, size);
}

/* A later CGROUP_ENTER moves the child then. */
static bool cannot_be_born_there(int error)
{
	return error == EINVAL || error == E2BIG || error == EOPNOTSUPP || error == EBUSY || error == EACCES ||
	       error == EPERM;
}

static long clone_process(struct context *c, uint64_t group, uint64_t flags, int *pidfd)
{
	int cgroup = slot(c, group);
	long pid = clone_new(flags, cgroup, pidfd);
	c->birth_group = pid >= 0 && cgroup >= 0 ? group : SLOT_NONE;
	if (pid >= 0)
		return pid;
	if (cgroup >= 0 && cannot_be_born_there(errno)) {
		if ((errno == EACCES || errno == EPERM) && c->slot_flags[group] & SLOT_GROUP_OPTIONAL)
			slot_set(c, group, -1, SLOT_GROUP_OPTIONAL);
		pid = clone_new(flags, -1, pidfd);
	}
	return pid < 0 && refused(errno) ? clone_old(flags, pidfd) : pid;
}

static void parent_after_clone(struct context *c, unsigned program, pid_t pid, int pidfd)
{
	close_descriptor(&c->child_pidfd);
	c->child = pid;
	c->child_pidfd = pidfd;
	c->stage = program == PROGRAM_STAGE ? pid : 0;
	c->ready = false;
}

static int clone_from_host(struct context *c, const uint64_t *a, struct failure *f)
{
	int pair[2], pidfd = -1;
	unsigned program = (unsigned)a[CLONE_PROGRAM];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return fail(f, errno, "make a socket pair");
	close_descriptor(&c->peer);
	long pid = clone_process(c, a[CLONE_CGROUP], a[CLONE_FLAGS], &pidfd);
	if (pid == 0) {
		close(pair[0]);
		c->peer = pair[1];
		child_main(c, program);
	}
	int error = errno;
	close(pair[1]);
	c->peer = pair[0];
	if (pid < 0)
		return fail(f, error, "create the container's process");
	parent_after_clone(c, program, (pid_t)pid, pidfd);
	return 0;
}

/* INIT is made HOST's child, talks to HOST over the socket that was ours, and is adopted by pid. */
static int clone_from_stage(struct context *c, const uint64_t *a, struct failure *f)
{
	int pidfd = -1;
	long pid = clone_process(c, a[CLONE_CGROUP], a[CLONE_FLAGS] | CLONE_PARENT, &pidfd);
	if (pid == 0)
		child_main(c, (unsigned)a[CLONE_PROGRAM]);
	if (pid < 0)
		return fail(f, errno, "create the container's process");
	close_descriptor(&pidfd);
	return message_send(c, MESSAGE_PID, 0, (pid_t)pid, f);
}

OPERATION(CLONE)
{
	if (a[CLONE_PROGRAM] != PROGRAM_STAGE && a[CLONE_PROGRAM] != PROGRAM_INIT)
		return fail(f, 0, "a process cannot run program %u", (unsigned)a[CLONE_PROGRAM]);
	return c->program == PROGRAM_HOST ? clone_from_host(c, a, f) : clone_from_stage(c, a, f);
}

OPERATION(ADOPT)
{
	UNUSED(a);
	pid_t init = 0, stage = c->stage;
	if (message_await(c, MESSAGE_PID, 0, &init, f) < 0)
		return -1;
	while (waitpid(stage, NULL, 0) < 0 && errno == EINTR)
		;
	close_descriptor(&c->child_pidfd);
	c->stage = 0;
	c->child = init;
	c->child_pidfd = sys_pidfd_open(init);
	return 0;
}

OPERATION(POST)
{
	pid_t pid = c->program == PROGRAM_HOST ? c->child : 0;
	return message_send(c, MESSAGE_TOKEN, (uint32_t)a[POST_TOKEN], pid, f);
}

OPERATION(AWAIT)
{
	pid_t pid = 0;
	if (message_await(c, MESSAGE_TOKEN, (uint32_t)a[AWAIT_TOKEN], &pid, f) < 0)
		return -1;
	if (c->program == PROGRAM_INIT)
		c->host_pid = pid;
	return 0;
}

OPERATION(SAVE_STATE)
{
	UNUSED(a);
	return await_ready(c, f) < 0 ? -1 : state_save(c->state_dir, c->child, f);
}

OPERATION(PID_FILE)
{
	const char *path = text(c, a[PID_FILE_PATH]);
	char temporary[4096], number[16];
	if (await_ready(c, f) < 0)
		return -1;
	int length = snprintf(temporary, sizeof temporary, "%s.%d.new", path, getpid());
	if (length >= (int)sizeof temporary)
		return fail(f, ENAMETOOLONG, "write %s", path);
	autoclose int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	length = snprintf(number, sizeof number, "%d", c->child);
	if (fd >= 0 && write_all(fd, number, (size_t)length) == 0 && rename(temporary, path) == 0)
		return 0;
	int error = errno;
	if (fd >= 0)
		unlink(temporary);
	return fail(f, error, "write the pid file %s", path);
}

OPERATION(PIDFD_SEND)
{
	char number[16];
	if (await_ready(c, f) < 0)
		return -1;
	size_t length = (size_t)snprintf(number, sizeof number, "%d", c->child);
	struct iovec part = {number, length};
	if (send_descriptor(slot(c, a[PIDFD_SEND_SLOT]), c->child_pidfd, &part, 1) < 0)
		return fail(f, errno, "send the container's pidfd");
	return 0;
}

OPERATION(PIDFD)
{
	pid_t pid = (pid_t)a[PIDFD_PID];
	int fd = sys_pidfd_open(pid);
	if (fd < 0 && errno != ESRCH)
		return fail(f, errno, "open a descriptor of process %d", pid);
	slot_set(c, a[PIDFD_SLOT], fd, 0);
	if (fd < 0 || process_start_time(pid) != a[PIDFD_START_TIME])
		return fail(f, 0, "container not running");
	return 0;
}
