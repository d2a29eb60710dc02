#include "launch.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "descriptor.h"
#include "kernel.h"
#include "options.h"
#include "report.h"
#include "seal.h"
#include "state.h"

static int number(const char *value, const char *name, int *out, struct failure *f)
{
	char *end;
	if (!value)
		return 0;
	long n = strtol(value, &end, 10);
	if (*end || end == value || n < 0 || n > 100000)
		return fail(f, 0, "%s: a number is expected, not \"%s\"", name, value);
	*out = (int)n;
	return 0;
}

static int read_options(struct launch *l, int argc, char **argv, int *plan_fd, struct failure *f)
{
	const char *log = NULL, *format = NULL, *preserve = NULL, *lock = NULL;
	bool debug = false;
	const struct option table[] = {
		{"root", 0, NULL, &l->root},
		{"id", 0, NULL, &l->id},
		{"log", 0, NULL, &log},
		{"log-format", 0, NULL, &format},
		{"debug", 0, &debug, NULL},
		{"preserve-fds", 0, NULL, &preserve},
		{"lock-fd", 0, NULL, &lock},
		{"detach", 0, &l->detach, NULL},
		{"keep", 0, &l->keep, NULL},
		{0},
	};
	int first = options_take(table, argc, argv, f);
	if (first < 0 || report_open(log, format, debug, f) < 0)
		return -1;
	if (first + 1 != argc)
		return fail(f, 0, "%s: the number of the plan's descriptor is expected", argv[0]);
	if (number(preserve, "--preserve-fds", &l->preserved_fds, f) < 0 ||
	    number(lock, "--lock-fd", &l->lock_fd, f) < 0)
		return -1;
	return number(argv[first], "the plan's descriptor", plan_fd, f);
}

static int open_plan(struct launch *l, int fd, struct failure *f)
{
	const char *why;
	int result = plan_open(&l->plan, fd, &why);
	close_descriptor(&fd);
	return result < 0 ? fail(f, 0, "damaged launch plan: %s", why) : 0;
}

/* The lock goes out of the way of the user's descriptors. */
static int move_high(int fd, int first)
{
	int moved = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, first);
	close_descriptor(&fd);
	return moved;
}

/* What the caller left open by mistake: waiting, INIT would show it to who may trace it in the container. */
static void close_strangers(const struct launch *l)
{
	int low = l->lock_fd, high = report.log_fd;
	if (low > high)
		low = report.log_fd, high = l->lock_fd;
	unsigned first = 3 + (unsigned)l->preserved_fds;
	for (int i = 0; i < 2; i++) {
		int kept = i ? high : low;
		if (kept < (int)first)
			continue;
		if (kept > (int)first)
			sys_close_range(first, (unsigned)kept - 1, 0);
		first = (unsigned)kept + 1;
	}
	sys_close_range(first, ~0u, 0);
}

static int open_state(const struct launch *l, struct failure *f)
{
	char path[PATH_MAX];
	if (!l->root || !l->id)
		return -1;
	if (snprintf(path, sizeof path, "%s/%s", l->root, l->id) >= (int)sizeof path)
		return fail(f, ENAMETOOLONG, "open the state folder");
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? fail(f, errno, "open the state folder %s", path) : fd;
}

int launch_begin(struct launch *l, int argc, char **argv, struct failure *f)
{
	int plan_fd = -1;
	*l = (struct launch){.lock_fd = -1};
	context_init(&l->context, &l->plan, -1);
	if (read_options(l, argc, argv, &plan_fd, f) < 0 || seal(argv - 1, f) < 0 || open_plan(l, plan_fd, f) < 0)
		return -1;
	signal(SIGCHLD, SIG_DFL); /* one that ignores it would lose its children's statuses */
	l->lock_fd = move_high(l->lock_fd, 3 + l->preserved_fds);
	if (report.log_fd >= 0)
		report.log_fd = move_high(report.log_fd, 3 + l->preserved_fds);
	close_strangers(l);
	descriptors_prepare(l->preserved_fds);
	int state_dir = open_state(l, f);
	if (state_dir < 0 && l->id)
		return -1;
	context_init(&l->context, &l->plan, state_dir);
	l->context.lock_fd = l->lock_fd;
	l->context.preserved_fds = l->preserved_fds;
	return 0;
}

static void remove_state(const struct launch *l)
{
	struct failure f = {0};
	if (l->root && l->id && state_remove(l->root, l->id, &f) < 0)
		report_failure(&f);
}

int launch_failed(struct launch *l, const struct failure *f)
{
	struct failure ignored = {0};
	report_failure(f);
	if (l->plan.data)
		undo(&l->context, &ignored);
	remove_state(l);
	return f->exit_status > 0 ? f->exit_status : 1;
}

void launch_over(struct launch *l)
{
	struct failure ignored = {0};
	l->context.child = 0; /* reaped */
	undo(&l->context, &ignored);
	if (!l->keep)
		remove_state(l);
}
