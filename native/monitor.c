/* The monitor of one container: starts it from its plan, waits for whatever happens, starts it again if wanted, and
 * leaves when it is over for good. All signals are blocked; SIGCHLD comes by a signalfd and the others not at all:
 * only the container's end ends its monitor. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "descriptor.h"
#include "monitor.h"
#include "report.h"
#include "seal.h"
#include "state.h"

static sigset_t original_mask;

/* The starter sees its child leave at once; we live on in a session of our own. */
static void daemonise(struct monitor *m)
{
	if (!m->options.foreground) {
		pid_t pid = fork();
		if (pid > 0)
			_exit(0);
	}
	setsid();
}

static void initialise(struct monitor *m)
{
	m->dir = m->state_dir = m->lock = m->signals = m->listener = m->null = m->input = m->master = m->log.fd = -1;
	m->fifo = m->watch = m->context.child_pidfd = m->health.pipe = m->health.plan_fd = -1;
	m->quiet_at = m->restart_at = NEVER;
	for (int i = 0; i < 2; i++)
		m->streams[i] = (struct stream){.fd = -1, .flush_at = NEVER, .retry_at = NEVER};
	for (int i = 0; i < MONITOR_CLIENTS; i++)
		m->clients[i].fd = -1;
}

static void remove_own_files(struct monitor *m)
{
	static const char *const names[] = {"attach.sock", "stdout", "stderr", "monitor.json", "monitor.lock"};

	for (size_t i = 0; m->dir >= 0 && i < sizeof names / sizeof *names; i++)
		unlinkat(m->dir, names[i], 0);
}

/* Nothing came to life: the starter is told, and nothing stays behind. */
static int never_born(struct monitor *m, struct failure *f)
{
	struct failure ignored = NO_FAILURE;

	if (m->owner) {
		remove_own_files(m);
		state_remove(m->options.root, m->options.id, &ignored);
	}
	report_failure(f);
	starter_tell_failure(m, f);
	return f->exit_status ? f->exit_status : 1;
}

static int stillborn(struct monitor *m, struct failure *f)
{
	run_undo(m);
	return never_born(m, f);
}

/* Signals that came while all were blocked (a SIGPIPE from a starter that left, somebody's SIGTERM) were not meant for
 * what we become: ignoring them for a moment drops them. */
static void forget_signals(void)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN}, standard = {.sa_handler = SIG_DFL};

	for (int number = 1; number < NSIG; number++) {
		sigaction(number, &ignore, NULL);
		sigaction(number, &standard, NULL);
	}
	sigprocmask(SIG_SETMASK, &original_mask, NULL);
}

/* Become the clean-up command. Everything else of ours is closed on its execve. */
static void become_on_exit(struct monitor *m)
{
	if (!m->options.on_exit_count || m->cleaned)
		return;
	restore_oom_score();
	forget_signals();
	execvp(m->options.on_exit[0], m->options.on_exit);
}

static void finish(struct monitor *m)
{
	struct failure f = NO_FAILURE;

	if (m->options.delete_at_end && run_tear_down(m))
		state_remove(m->options.root, m->options.id, &f);
	unlinkat(m->dir, "stdout", 0);
	unlinkat(m->dir, "stderr", 0);
	save_monitor(m);
	attach_close(m);
	close_descriptor(&m->lock); /* the folder is not touched any more */
	attach_exit(m);
	attach_finish(m);
	become_on_exit(m);
}

static void announce(struct monitor *m, bool *heard)
{
	char line[32];

	snprintf(line, sizeof line, "created %d\n", m->context.child);
	if (!m->options.detach_start) /* else it is written in a moment */
		save_monitor(m);
	*heard = starter_tell(m, line);
}

/* Created by us. Returns 0 when it is to be watched from now on. */
static int bring_up(struct monitor *m, struct failure *f)
{
	bool heard;

	if (monitor_prepare(m, f) < 0 || run_create(m, f) < 0)
		return never_born(m, f);
	if (attach_listen(m, f) < 0) /* after HOST: INIT must not inherit the socket and answer in our place */
		return stillborn(m, f);
	close_descriptor(&m->options.lock_fd);
	if (!m->options.detach_start)
		start_watch(m);
	announce(m, &heard);
	if (!heard) {
		fail(f, 0, "the starter is gone");
		return stillborn(m, f);
	}
	if (m->options.detach_start)
		monitor_let_go(m);
	return 0;
}

/* Created by a monitor that is dead. */
static int take_over(struct monitor *m, struct failure *f)
{
	bool heard;

	if (monitor_prepare(m, f) < 0 || adopt(m, f) < 0 || attach_listen(m, f) < 0) {
		report_failure(f);
		starter_tell_failure(m, f);
		return 1;
	}
	close_descriptor(&m->options.lock_fd);
	announce(m, &heard);
	lower_oom_score();
	if (m->phase == PHASE_CREATED)
		start_watch(m);
	else
		run_going_on(m);
	return 0;
}

static int live(struct monitor *m)
{
	struct failure f = NO_FAILURE;
	int status = m->options.adopt ? take_over(m, &f) : bring_up(m, &f);

	if (status != 0)
		return status;
	monitor_watch(m);
	finish(m);
	return 0;
}

int command_monitor(int argc, char **argv)
{
	static struct monitor monitor;
	struct monitor *m = &monitor;
	struct failure f = NO_FAILURE;
	sigset_t all;

	initialise(m);
	if (seal(argv - 1, &f) < 0 || monitor_parse(&m->options, argc, argv, &f) < 0) {
		report_failure(&f);
		return 1;
	}
	descriptors_prepare(m->options.preserve_fds);
	if (m->options.log_file && report_open(m->options.log_file, m->options.log_format, false, &f) < 0)
		return never_born(m, &f);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &original_mask);
	daemonise(m);
	return live(m);
}
