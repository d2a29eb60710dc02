/* The monitor of one container: starts it from its plan, waits for whatever happens, starts it again if wanted, and
 * leaves when it is over for good. All signals are blocked; SIGCHLD comes by a signalfd and the others not at all:
 * only the container's end ends its monitor. */
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commands.h"
#include "descriptor.h"
#include "kernel.h"
#include "report.h"
#include "seal.h"
#include "state.h"

enum { LOCK_TIMEOUT_MS = 10000 };

static sigset_t original_mask;
static int original_oom_score;

/* ---- report to the starter ---- */

/* False when nobody can hear it any more. */
static bool tell(struct monitor *m, const char *line)
{
	int fd = m->options.report_fd;

	return fd < 0 || write(fd, line, strlen(line)) >= 0 || errno != EPIPE;
}

static void tell_failure(struct monitor *m, const struct failure *f)
{
	char text[700], line[760];

	failure_line(f, text, sizeof text);
	for (char *at = text; *at; at++)
		if (*at == '\n')
			*at = ' ';
	snprintf(line, sizeof line, "failed %d %s\n", f->exit_status ? f->exit_status : 1, text);
	tell(m, line);
	close_descriptor(&m->options.report_fd);
}

/* ---- our own surroundings ---- */

static int set_oom_score(int value)
{
	char text[16];

	return write_small(AT_FDCWD, "/proc/self/oom_score_adj", text, (size_t)snprintf(text, sizeof text, "%d", value));
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

static int prepare(struct monitor *m, struct failure *f)
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

/* The plan's pages are ours only while a program runs. */
static int map_plan(struct monitor *m, struct failure *f)
{
	const char *why;

	if (m->plan_mapped)
		return 0;
	if (plan_open(&m->plan, m->options.plan_fd, &why) < 0)
		return fail(f, 0, "damaged launch plan: %s", why);
	m->plan_mapped = true;
	return 0;
}

static void unmap_plan(struct monitor *m)
{
	if (m->plan_mapped)
		plan_close(&m->plan);
	m->plan_mapped = false;
}

/* ---- one run of the container ---- */

static void forget_child(struct monitor *m)
{
	m->context.child = 0;
	close_descriptor(&m->context.child_pidfd);
}

static void undo_run(struct monitor *m)
{
	struct failure f = NO_FAILURE;

	if (map_plan(m, &f) == 0)
		undo(&m->context, &f);
	unmap_plan(m);
}

/* INIT keeps what it inherits until its execve, which may be never: a report that it holds open would keep the starter
 * waiting after our death. */
static void keep_to_ourselves(struct monitor *m)
{
	const int list[MONITOR_OWN] = {
		m->options.report_fd, m->options.plan_fd, m->lock, m->signals, m->listener, m->log.fd, m->health.plan_fd,
		m->input,
	};

	memcpy(m->own, list, sizeof list);
	m->context.host_only = m->own;
	m->context.host_only_count = MONITOR_OWN;
}

/* Run HOST: INIT waits for its start afterwards. On failure nothing is left of it. */
static int create(struct monitor *m, struct failure *f)
{
	set_oom_score(original_oom_score);
	if (map_plan(m, f) < 0)
		return -1;
	context_init(&m->context, &m->plan, m->state_dir);
	m->context.preserved_fds = m->options.preserve_fds;
	m->context.lock_fd = m->options.lock_fd;
	int status = stdio_prepare(m, f);
	keep_to_ourselves(m);
	if (status == 0)
		status = run_program(&m->context, PROGRAM_HOST, f);
	stdio_hide(m);
	if (status == 0)
		status = stdio_receive(m, f);
	if (status < 0) {
		undo_run(m);
		stdio_close(m);
		return -1;
	}
	set_oom_score(-1000);
	m->oom_before = oom_kills(m->options.memory_cgroup);
	m->phase = PHASE_CREATED;
	return 0;
}

/* From now on the command runs. */
static void running(struct monitor *m)
{
	m->phase = PHASE_RUNNING;
	m->active = true;
	unmap_plan(m);
	save_monitor(m);
	health_begin(m);
	tell(m, "started\n");
	close_descriptor(&m->options.report_fd);
	attach_started(m);
	attach_answer_start(m, NULL);
}

static void started(struct monitor *m)
{
	timestamp(m->record.started);
	m->started_ms = now_ms();
	running(m);
}

/* Between two runs, and at the end if asked: DELETE under the container's lock. False when somebody else deleted the
 * container meanwhile: there is nothing left that could be started. */
static bool tear_down(struct monitor *m)
{
	struct state state;
	struct failure f = NO_FAILURE;

	if (state_open(&state, m->options.root, m->options.id, &f) < 0)
		return false;
	bool locked = state_lock(&state, LOCK_TIMEOUT_MS, &f) >= 0;
	if (locked)
		undo_run(m);
	state_close(&state);
	return locked;
}

static bool was_started(const struct monitor *m)
{
	return m->record.started[0] != '\0';
}

/* The record tells how a run ended; act on it. */
static void over(struct monitor *m)
{
	bool again = was_started(m) && restart_wanted(m);

	health_end(m);
	stdio_drain(m);
	m->record.final = !again;
	save_exit(m);
	if (again && !tear_down(m)) {
		m->record.final = true;
		save_exit(m);
	}
	stdio_close(m);
	m->phase = m->record.final ? PHASE_OVER : PHASE_WAITING;
	unmap_plan(m);
	if (m->phase == PHASE_WAITING) {
		save_monitor(m);
		attach_exit(m);
	}
}

/* INIT could not become the command. */
static void start_failed(struct monitor *m, struct failure *f)
{
	tell_failure(m, f);
	attach_answer_start(m, f);
	undo_run(m);
	record_failure(m, f);
	over(m);
}

/* Open exec.fifo as `start` does; the loop goes on, so that what startContainer hooks say is read meanwhile. */
void monitor_let_go(struct monitor *m)
{
	struct failure f = NO_FAILURE;

	m->fifo = openat(m->state_dir, "exec.fifo", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (m->fifo < 0) {
		fail(&f, errno, "cannot start the container: open exec.fifo");
		start_failed(m, &f);
		return;
	}
	close_descriptor(&m->watch);
	unlinkat(m->state_dir, "exec.fifo", 0);
}

/* INIT's end of the fifo closes with its execve, or brings a failure before. */
static void fifo_spoke(struct monitor *m)
{
	struct failure f;
	ssize_t n = read(m->fifo, &f, sizeof f);

	if (n < 0)
		return;
	close_descriptor(&m->fifo);
	if (n == sizeof f) {
		start_failed(m, &f);
		return;
	}
	f = (struct failure)NO_FAILURE;
	if (map_plan(m, &f) < 0 || run_program(&m->context, PROGRAM_START, &f) < 0)
		start_failed(m, &f);
	else
		started(m);
}

static bool fifo_taken(const struct monitor *m)
{
	return faccessat(m->state_dir, "exec.fifo", F_OK, 0) < 0;
}

/* Tell when another process starts the container: it removes exec.fifo, and runs START itself. */
static void watch_fifo(struct monitor *m)
{
	char path[40];

	m->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	snprintf(path, sizeof path, "/proc/self/fd/%d", m->state_dir);
	if (m->watch >= 0 && inotify_add_watch(m->watch, path, IN_DELETE) < 0)
		close_descriptor(&m->watch);
}

static void folder_changed(struct monitor *m)
{
	char events[512];

	while (read(m->watch, events, sizeof events) > 0)
		;
	if (fifo_taken(m)) {
		close_descriptor(&m->watch);
		started(m);
	}
}

/* The child ended before we saw it start; perhaps it was let go, and ended before we looked. */
static void ended_early(struct monitor *m)
{
	if (m->fifo >= 0)
		fifo_spoke(m);
	else if (fifo_taken(m))
		started(m);
	close_descriptor(&m->watch);
}

static void give_up(struct monitor *m)
{
	m->record.final = true;
	save_exit(m);
	m->phase = PHASE_OVER;
}

/* HOST once more, under the container's lock: what `delete` found must not come to life behind its back. */
static int create_again(struct monitor *m, struct state *state, struct failure *f)
{
	m->options.lock_fd = state->lock;
	int status = create(m, f);
	m->options.lock_fd = -1;
	return status;
}

static void run_again(struct monitor *m)
{
	struct failure f = NO_FAILURE;
	struct state state;

	m->restart_at = NEVER;
	if (restart_forbidden(m) || state_open(&state, m->options.root, m->options.id, &f) < 0) {
		give_up(m);
		return;
	}
	if (state_lock(&state, LOCK_TIMEOUT_MS, &f) < 0) {
		state_close(&state);
		give_up(m);
		return;
	}
	m->restarts++;
	int status = create_again(m, &state, &f);
	state_close(&state);
	if (status < 0) {
		record_failure(m, &f);
		over(m);
	} else {
		monitor_let_go(m);
	}
}

int monitor_signal(const struct monitor *m, int number)
{
	if (m->context.child <= 0)
		return -1;
	if (m->context.child_pidfd >= 0)
		return sys_pidfd_send_signal(m->context.child_pidfd, number);
	return m->adopted ? -1 : kill(m->context.child, number); /* our child: not reaped, so still its number */
}

void monitor_forbid_restart(struct monitor *m)
{
	m->no_restart = true;
	if (m->phase == PHASE_WAITING)
		m->restart_at = now_ms();
}

/* ---- events ---- */

static void ended(struct monitor *m)
{
	forget_child(m);
	if (m->phase == PHASE_CREATED)
		ended_early(m);
	if (m->phase == PHASE_CREATED || m->phase == PHASE_RUNNING)
		over(m);
}

static void reap(struct monitor *m)
{
	struct signalfd_siginfo info;
	bool child = false;
	int status;

	while (read(m->signals, &info, sizeof info) > 0)
		;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		if (pid == m->context.child && !m->adopted) {
			record_exit(m, status);
			child = true;
		} else {
			health_reaped(m, pid, status);
		}
	}
	if (child)
		ended(m);
}

static void adopted_ended(struct monitor *m)
{
	int status;

	if (adopted_status(m, &status))
		record_exit(m, status);
	else
		record_unknown(m);
	m->adopted = false; /* a restart makes a child of ours */
	ended(m);
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t next_deadline(const struct monitor *m)
{
	int64_t at = least(m->quiet_at, health_deadline(&m->health));

	if (m->phase == PHASE_WAITING)
		at = least(at, m->restart_at);
	for (int i = 0; i < 2; i++)
		at = least(at, least(m->streams[i].flush_at, m->streams[i].retry_at));
	return at;
}

static void release_buffers(struct monitor *m)
{
	for (int i = 0; i < 2; i++)
		if (!m->streams[i].held)
			release_buffer(m->streams[i].buffer, MONITOR_READ + MONITOR_LINE);
	if (m->pending_at == m->pending_end)
		release_buffer(m->pending, MONITOR_FRAME);
	release_buffer(m->frame, MONITOR_FRAME + 1);
	log_release(&m->log);
	m->quiet_at = NEVER;
}

static void tick(struct monitor *m)
{
	int64_t now = now_ms();

	for (int i = 0; i < 2; i++) {
		struct stream *s = &m->streams[i];
		if (now >= s->flush_at)
			log_partial(&m->log, s, false);
		if (now >= s->retry_at)
			s->retry_at = NEVER;
	}
	health_tick(m, now);
	if (m->active) {
		m->active = false;
		m->quiet_at = now + MONITOR_QUIET_MS;
	} else if (now >= m->quiet_at) {
		release_buffers(m);
	}
	if (m->phase == PHASE_WAITING && now >= m->restart_at)
		run_again(m);
}

enum { SIGNALS, LISTENER, ADOPTED, FIFO, WATCH, INPUT, HEALTH_PIPE, STREAM, FIRST_CLIENT = STREAM + 2,
       WATCHED = FIRST_CLIENT + MONITOR_CLIENTS };

static struct pollfd client_interest(const struct monitor *m, const struct client *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	bool full = m->stalled && (c->follow & FOLLOW_LOSSLESS);

	if (c->stdin_waits && m->pending_at < m->pending_end)
		p.events = 0;
	if (c->dropped || c->wants_exit || full)
		p.events |= POLLOUT;
	if (!p.events)
		p.fd = -1; /* a hang-up would be reported again and again */
	return p;
}

static void collect(const struct monitor *m, struct pollfd *list)
{
	bool input = m->pending_at < m->pending_end;

	list[SIGNALS] = (struct pollfd){.fd = m->signals, .events = POLLIN};
	list[LISTENER] = (struct pollfd){.fd = m->listener, .events = POLLIN};
	list[ADOPTED] = (struct pollfd){.fd = m->adopted ? m->context.child_pidfd : -1, .events = POLLIN};
	list[FIFO] = (struct pollfd){.fd = m->fifo, .events = POLLIN};
	list[WATCH] = (struct pollfd){.fd = m->watch, .events = POLLIN};
	list[INPUT] = (struct pollfd){.fd = input ? m->input : -1, .events = POLLOUT};
	list[HEALTH_PIPE] = (struct pollfd){.fd = m->health.pipe, .events = POLLIN};
	for (int i = 0; i < 2; i++) {
		const struct stream *s = &m->streams[i];
		bool paused = m->stalled || s->retry_at != NEVER;
		list[STREAM + i] = (struct pollfd){.fd = paused ? -1 : s->fd, .events = POLLIN};
	}
	for (int i = 0; i < MONITOR_CLIENTS; i++)
		list[FIRST_CLIENT + i] = client_interest(m, &m->clients[i]);
}

static void serve_client(struct monitor *m, struct client *c, const struct pollfd *p)
{
	if (p->fd < 0 || p->fd != c->fd || !p->revents)
		return;
	if (p->revents & POLLOUT) {
		m->stalled = false;
		attach_writable(m, c);
	}
	if (c->fd >= 0 && (p->revents & (POLLIN | POLLHUP | POLLERR)))
		attach_read(m, c);
}

/* SIGCHLD last: what the container said and what its clients want comes before its end. */
static void dispatch(struct monitor *m, const struct pollfd *list)
{
	for (int i = 0; i < 2; i++)
		if (list[STREAM + i].revents && m->streams[i].fd >= 0)
			stdio_read(m, &m->streams[i]);
	if (list[INPUT].revents)
		stdin_push(m);
	if (list[HEALTH_PIPE].revents)
		health_read(m);
	for (int i = 0; i < MONITOR_CLIENTS; i++)
		serve_client(m, &m->clients[i], &list[FIRST_CLIENT + i]);
	if (list[LISTENER].revents)
		attach_accept(m);
	if (list[FIFO].revents && m->fifo >= 0)
		fifo_spoke(m);
	if (list[WATCH].revents && m->watch >= 0)
		folder_changed(m);
	if (list[SIGNALS].revents)
		reap(m);
	if (list[ADOPTED].revents && m->adopted)
		adopted_ended(m);
}

static void watch(struct monitor *m)
{
	struct pollfd list[WATCHED];

	while (m->phase != PHASE_OVER) {
		int64_t at = next_deadline(m), wait = at == NEVER ? -1 : at - now_ms();
		if (at != NEVER && wait < 0)
			wait = 0;
		collect(m, list);
		if (poll(list, WATCHED, wait > INT_MAX ? INT_MAX : (int)wait) > 0) {
			m->active = true;
			dispatch(m, list);
		}
		tick(m);
	}
}

/* ---- beginning and end ---- */

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
	tell_failure(m, f);
	return f->exit_status ? f->exit_status : 1;
}

static int stillborn(struct monitor *m, struct failure *f)
{
	undo_run(m);
	return never_born(m, f);
}

/* Become the clean-up command. Everything else of ours is closed on its execve. */
static void become_on_exit(struct monitor *m)
{
	if (!m->options.on_exit_count)
		return;
	set_oom_score(original_oom_score);
	sigprocmask(SIG_SETMASK, &original_mask, NULL);
	execvp(m->options.on_exit[0], m->options.on_exit);
}

static void finish(struct monitor *m)
{
	struct failure f = NO_FAILURE;

	if (m->options.delete_at_end && tear_down(m))
		state_remove(m->options.root, m->options.id, &f);
	unlinkat(m->dir, "stdout", 0);
	unlinkat(m->dir, "stderr", 0);
	save_monitor(m);
	attach_exit(m);
	attach_finish(m);
	become_on_exit(m);
}

static void announce(struct monitor *m, bool *heard)
{
	char line[32];

	snprintf(line, sizeof line, "created %d\n", m->context.child);
	save_monitor(m);
	*heard = tell(m, line);
}

/* Created by us. Returns 0 when it is to be watched from now on. */
static int bring_up(struct monitor *m, struct failure *f)
{
	bool heard;

	if (prepare(m, f) < 0 || create(m, f) < 0)
		return never_born(m, f);
	if (attach_listen(m, f) < 0) /* after HOST: INIT must not inherit the socket and answer in our place */
		return stillborn(m, f);
	close_descriptor(&m->options.lock_fd);
	if (!m->options.detach_start)
		watch_fifo(m);
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

	if (prepare(m, f) < 0 || adopt(m, f) < 0 || attach_listen(m, f) < 0) {
		report_failure(f);
		tell_failure(m, f);
		return 1;
	}
	close_descriptor(&m->options.lock_fd);
	announce(m, &heard);
	set_oom_score(-1000);
	if (m->phase == PHASE_CREATED)
		watch_fifo(m);
	else
		running(m);
	return 0;
}

static int live(struct monitor *m)
{
	struct failure f = NO_FAILURE;
	int status = m->options.adopt ? take_over(m, &f) : bring_up(m, &f);

	if (status != 0)
		return status;
	watch(m);
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
