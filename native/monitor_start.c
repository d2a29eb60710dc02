/* The moment of the start: we let INIT go, or notice that somebody else did. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "descriptor.h"
#include "monitor.h"

/* Open exec.fifo as `start` does; the loop goes on, so that what startContainer hooks say is read meanwhile. */
void monitor_let_go(struct monitor *m)
{
	struct failure f = NO_FAILURE;

	m->fifo = openat(m->state_dir, "exec.fifo", O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (m->fifo < 0) {
		fail(&f, errno, "cannot start the container: open exec.fifo");
		run_failed(m, &f);
		return;
	}
	close_descriptor(&m->watch);
	unlinkat(m->state_dir, "exec.fifo", 0);
}

/* INIT's end of the fifo closes with its execve, or brings a failure before. */
void start_answered(struct monitor *m)
{
	struct failure f;
	ssize_t n = read(m->fifo, &f, sizeof f);

	if (n < 0)
		return;
	close_descriptor(&m->fifo);
	if (n == sizeof f) {
		run_failed(m, &f);
		return;
	}
	f = (struct failure)NO_FAILURE;
	if (run_map_plan(m, &f) < 0 || run_program(&m->context, PROGRAM_START, &f) < 0)
		run_failed(m, &f);
	else
		run_started(m);
}

static bool fifo_taken(const struct monitor *m)
{
	return faccessat(m->state_dir, "exec.fifo", F_OK, 0) < 0;
}

/* Tell when another process starts the container: it removes exec.fifo, and runs START itself. */
void start_watch(struct monitor *m)
{
	char path[40];

	m->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	snprintf(path, sizeof path, "/proc/self/fd/%d", m->state_dir);
	if (m->watch >= 0 && inotify_add_watch(m->watch, path, IN_DELETE) < 0)
		close_descriptor(&m->watch);
}

void start_noticed(struct monitor *m)
{
	char events[512];

	while (read(m->watch, events, sizeof events) > 0)
		;
	if (fifo_taken(m)) {
		close_descriptor(&m->watch);
		run_started(m);
	}
}

/* The child ended before we saw it start; perhaps it was let go, and ended before we looked. */
void start_missed(struct monitor *m)
{
	if (m->fifo >= 0)
		start_answered(m);
	else if (fifo_taken(m))
		run_started(m);
	close_descriptor(&m->watch);
}
