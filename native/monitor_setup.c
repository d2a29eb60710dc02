/* Where a monitor finds itself: its starter, its folders, its lock, its OOM score. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "descriptor.h"
#include "monitor.h"

static int original_oom_score;
static bool oom_score_lowered;

/* False when nobody can hear it any more. */
bool starter_tell(struct monitor *m, const char *line)
{
	int fd = m->options.report_fd;

	return fd < 0 || write(fd, line, strlen(line)) >= 0 || errno != EPIPE;
}

void starter_tell_failure(struct monitor *m, const struct failure *f)
{
	char text[700], line[760];

	failure_line(f, text, sizeof text);
	for (char *at = text; *at; at++)
		if (*at == '\n')
			*at = ' ';
	snprintf(line, sizeof line, "failed %d %s\n", f->exit_status ? f->exit_status : 1, text);
	starter_tell(m, line);
	close_descriptor(&m->options.report_fd);
}

static int set_oom_score(int value)
{
	char text[16];

	return write_small(AT_FDCWD, "/proc/self/oom_score_adj", text, (size_t)snprintf(text, sizeof text, "%d", value));
}

/* The kernel should take others first; but what we start must not inherit that. */
void lower_oom_score(void)
{
	oom_score_lowered = set_oom_score(-1000) == 0;
}

void restore_oom_score(void)
{
	if (oom_score_lowered)
		set_oom_score(original_oom_score);
	oom_score_lowered = false;
}

static void read_oom_score(void)
{
	char text[16];

	if (read_small(AT_FDCWD, "/proc/self/oom_score_adj", text, sizeof text) > 0)
		original_oom_score = atoi(text);
}

static int open_folders(struct monitor *m, struct failure *f)
{
	struct monitor_options *o = &m->options;
	char path[PATH_MAX];

	if (snprintf(path, sizeof path, "%s/%s", o->root, o->id) >= (int)sizeof path)
		return fail(f, ENAMETOOLONG, "state folder");
	m->state_dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (m->state_dir < 0)
		return fail(f, errno, "open state folder %s", path);
	m->dir = o->dir ? open(o->dir, O_PATH | O_DIRECTORY | O_CLOEXEC) : dup(m->state_dir);
	if (m->dir < 0)
		return fail(f, errno, "open %s", o->dir ? o->dir : path);
	fcntl(m->dir, F_SETFD, FD_CLOEXEC);
	return 0;
}

/* Held as long as we live: whoever can take it knows that we are gone. A record lock, because the container's
 * process inherits our descriptors until its execve, but no record lock. */
static int take_lock(struct monitor *m, struct failure *f)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char pid[16];

	m->lock = openat(m->dir, "monitor.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (m->lock < 0)
		return fail(f, errno, "open monitor.lock");
	if (fcntl(m->lock, F_SETLK, &whole) < 0)
		return fail(f, 0, "another monitor is at work for this container");
	m->owner = true;
	if (ftruncate(m->lock, 0) < 0 || write_all(m->lock, pid, (size_t)sprintf(pid, "%d\n", getpid())) < 0)
		return fail(f, errno, "write monitor.lock");
	if (!m->options.adopt)
		unlinkat(m->dir, "stopped", 0);
	return 0;
}

int monitor_prepare(struct monitor *m, struct failure *f)
{
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	m->signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	m->null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (m->signals < 0 || m->null < 0)
		return fail(f, errno, "open signalfd and /dev/null");
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	read_oom_score();
	if (open_folders(m, f) < 0 || take_lock(m, f) < 0 || chdir("/") < 0)
		return f->text[0] ? -1 : fail(f, errno, "enter /");
	m->log = (struct log){.driver = m->options.log_driver, .path = m->options.log_path,
	                      .max_size = m->options.log_max_size, .max_files = m->options.log_max_files};
	if (log_start(&m->log, f) < 0)
		return -1;
	health_open(m);
	return 0;
}
