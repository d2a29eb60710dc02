/* Process attributes: RLIMIT … PDEATHSIG without the privileges (op_security.c). */
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "operations.h"
#include "procfs.h"

static const char *limit_name(uint64_t resource)
{
	static const char names[][11] = {"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE",
					 "MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"};
	return resource < sizeof names / sizeof *names ? names[resource] : "?";
}

OPERATION(RLIMIT)
{
	const uint64_t limit[] = {a[RLIMIT_SOFT], a[RLIMIT_HARD]};
	if (syscall(SYS_prlimit64, subject(c), (int)a[RLIMIT_RESOURCE], limit, NULL) < 0)
		return fail(f, errno, "set RLIMIT_%s to %llu:%llu", limit_name(a[RLIMIT_RESOURCE]),
			    (unsigned long long)limit[0], (unsigned long long)limit[1]);
	return 0;
}

OPERATION(OOM_SCORE)
{
	char path[48], value[24];
	int length = snprintf(value, sizeof value, "%lld", (long long)a[OOM_SCORE_VALUE]);
	int result;
	if (subject(c)) {
		snprintf(path, sizeof path, "/proc/%d/oom_score_adj", subject(c));
		result = write_small(AT_FDCWD, path, value, (size_t)length);
	} else {
		result = procfs_write_self(c, "oom_score_adj", value, (size_t)length);
	}
	if (result < 0 && !(a[OOM_SCORE_FLAGS] & PLAN_WRITE_BEST_EFFORT))
		return fail(f, errno, "set oom_score_adj to %s", value);
	return 0;
}

OPERATION(SCHEDULER)
{
	size_t size;
	const uint8_t *attributes = plan_bytes(c->plan, a[SCHEDULER_ATTR], &size);
	if (syscall(SYS_sched_setattr, subject(c), attributes, 0) < 0)
		return fail(f, errno, "set the scheduler");
	return 0;
}

OPERATION(IO_PRIORITY)
{
	if (syscall(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, subject(c), (int)a[IO_PRIORITY_VALUE]) < 0)
		return fail(f, errno, "set the I/O priority");
	return 0;
}

OPERATION(PERSONALITY)
{
	UNUSED(c);
	return personality((unsigned long)a[PERSONALITY_VALUE]) < 0 ? fail(f, errno, "set the personality") : 0;
}

OPERATION(MEMORY_POLICY)
{
	size_t size;
	const uint8_t *nodes = plan_bytes(c->plan, a[MEMORY_POLICY_NODES], &size);
	/* The kernel reads one bit less than it is told. */
	unsigned long bits = size ? size * 8 + 1 : 0;
	if (syscall(SYS_set_mempolicy, (int)a[MEMORY_POLICY_MODE], size ? nodes : NULL, bits) < 0)
		return fail(f, errno, "set the memory policy");
	return 0;
}

OPERATION(AFFINITY)
{
	size_t size;
	const void *mask = plan_bytes(c->plan, a[AFFINITY_MASK], &size);
	uint8_t every[1024];
	if (size == 0) {
		memset(every, 0xff, sizeof every);
		mask = every;
		size = sizeof every;
	}
	if (syscall(SYS_sched_setaffinity, subject(c), size, mask) < 0)
		return fail(f, errno, "set the CPU affinity");
	return 0;
}

OPERATION(UMASK)
{
	UNUSED(c), UNUSED(f);
	umask((mode_t)a[UMASK_MASK]);
	return 0;
}

OPERATION(SETSID)
{
	UNUSED(c), UNUSED(a);
	if (setsid() < 0 && errno != EPERM) /* EPERM: it leads a session already */
		return fail(f, errno, "create a session");
	return 0;
}

OPERATION(DUMPABLE)
{
	c->dumpable = (int)a[DUMPABLE_VALUE];
	return prctl(PR_SET_DUMPABLE, c->dumpable, 0, 0, 0) < 0 ? fail(f, errno, "protect the process") : 0;
}

OPERATION(PDEATHSIG)
{
	UNUSED(f);
	c->death_signal = (int)a[PDEATHSIG_SIGNAL];
	prctl(PR_SET_PDEATHSIG, c->death_signal, 0, 0, 0);
	rearm(c);
	return 0;
}

OPERATION(GROUPS)
{
	size_t size;
	const void *gids = plan_bytes(c->plan, a[GROUPS_GIDS], &size);
	if (setgroups(size / 4, gids) < 0 && (size > 0 || errno != EPERM))
		return fail(f, errno, "set the supplementary groups");
	return 0;
}

/* What is /dev/null of the host becomes the container's; pipes and terminals become the user's. */
static int settle_stdio(const struct context *c, int fd, uid_t uid, gid_t gid)
{
	struct stat status;
	if (fstat(fd, &status) < 0)
		return 0;
	if (S_ISCHR(status.st_mode) && status.st_rdev == 0x103) {
		autoclose int null = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		struct stat found;
		if (null >= 0 && fstat(null, &found) == 0 && S_ISCHR(found.st_mode) && found.st_rdev == 0x103)
			return dup2(null, fd) < 0 ? -1 : 0;
		return 0;
	}
	UNUSED(c);
	if (!S_ISFIFO(status.st_mode) && !S_ISCHR(status.st_mode) && !S_ISSOCK(status.st_mode))
		return 0;
	if (status.st_uid == uid)
		return 0;
	if (fchown(fd, uid, gid) == 0 || errno == EPERM || errno == EINVAL || errno == EROFS)
		return 0;
	return -1;
}

OPERATION(STDIO)
{
	for (int fd = 0; fd < 3; fd++)
		if (settle_stdio(c, fd, (uid_t)a[STDIO_UID], (gid_t)a[STDIO_GID]) < 0)
			return fail(f, errno, "hand standard stream %d to the container's user", fd);
	return 0;
}

OPERATION(CLOSE_RANGE)
{
	UNUSED(c);
	if (sys_close_range((unsigned)a[CLOSE_RANGE_FIRST], ~0u, CLOSE_ON_EXEC_RANGE) == 0)
		return 0;
	if (errno != ENOSYS && errno != EINVAL && errno != EPERM)
		return fail(f, errno, "close inherited descriptors");
	for (int fd = (int)a[CLOSE_RANGE_FIRST]; fd < 1024; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	return 0;
}
