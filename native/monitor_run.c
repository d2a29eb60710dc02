/* One run of the container, from its plan to its end, and the next one. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "descriptor.h"
#include "kernel.h"
#include "monitor.h"
#include "state.h"

enum { LOCK_TIMEOUT_MS = 10000 };

/* The plan's pages are ours only while a program runs. */
int run_map_plan(struct monitor *m, struct failure *f)
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

static void forget_child(struct monitor *m)
{
	m->context.child = 0;
	close_descriptor(&m->context.child_pidfd);
}

void run_undo(struct monitor *m)
{
	struct failure f = NO_FAILURE;

	if (run_map_plan(m, &f) == 0)
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

/* The user's descriptors are the container's alone: the other side of a pipe that we kept would never see its end. They
 * stay only where a restart will need them. */
static void drop_preserved(struct monitor *m)
{
	const struct monitor_options *o = &m->options;

	if (o->restart != RESTART_NO || o->on_unhealthy == UNHEALTHY_RESTART)
		return;
	for (int fd = 3; fd < 3 + o->preserve_fds; fd++)
		close(fd);
}

/* Run HOST: INIT waits for its start afterwards. On failure nothing is left of it. */
int run_create(struct monitor *m, struct failure *f)
{
	restore_oom_score();
	if (run_map_plan(m, f) < 0)
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
		run_undo(m);
		stdio_close(m);
		return -1;
	}
	drop_preserved(m);
	lower_oom_score();
	m->oom_before = oom_kills(m->options.memory_cgroup);
	m->phase = PHASE_CREATED;
	return 0;
}

/* From now on the command runs. */
void run_going_on(struct monitor *m)
{
	m->phase = PHASE_RUNNING;
	m->active = true;
	unmap_plan(m);
	save_monitor(m);
	health_begin(m);
	starter_tell(m, "started\n");
	close_descriptor(&m->options.report_fd);
	attach_started(m);
	attach_answer_start(m, NULL);
}

void run_started(struct monitor *m)
{
	timestamp(m->record.started);
	m->started_ms = now_ms();
	run_going_on(m);
}

/* The state folder is gone. Whoever deletes a container removes its control group first; while that is there, the
 * folder was only wiped by something that does not know it. */
static void tear_down_wiped(struct monitor *m)
{
	struct failure f = NO_FAILURE;

	if (run_map_plan(m, &f) == 0 && access(plan_meta(&m->plan, "cgroup"), F_OK) == 0)
		run_undo(m);
}

/* Between two runs, and at the end if asked: DELETE under the container's lock. False when somebody else deleted the
 * container meanwhile: there is nothing left that could be started. */
bool run_tear_down(struct monitor *m)
{
	struct state state;
	struct failure f = NO_FAILURE;

	if (state_open(&state, m->options.root, m->options.id, &f) < 0) {
		tear_down_wiped(m);
		return false;
	}
	bool locked = state_lock(&state, LOCK_TIMEOUT_MS, &f) >= 0;
	if (locked)
		run_undo(m);
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
	if (again && !run_tear_down(m)) {
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
void run_failed(struct monitor *m, struct failure *f)
{
	starter_tell_failure(m, f);
	attach_answer_start(m, f);
	run_undo(m);
	record_failure(m, f);
	over(m);
}

void run_ended(struct monitor *m)
{
	forget_child(m);
	if (m->phase == PHASE_CREATED)
		start_missed(m);
	if (m->phase == PHASE_CREATED || m->phase == PHASE_RUNNING)
		over(m);
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
	int status = run_create(m, f);
	m->options.lock_fd = -1;
	return status;
}

void run_again(struct monitor *m)
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
