/* Events: what a monitor waits for, and what it does then. */
#include <limits.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "monitor.h"

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
		run_ended(m);
}

static void adopted_ended(struct monitor *m)
{
	int status;

	if (adopted_status(m, &status))
		record_exit(m, status);
	else
		record_unknown(m);
	m->adopted = false; /* a restart makes a child of ours */
	run_ended(m);
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
		start_answered(m);
	if (list[WATCH].revents && m->watch >= 0)
		start_noticed(m);
	if (list[SIGNALS].revents)
		reap(m);
	if (list[ADOPTED].revents && m->adopted)
		adopted_ended(m);
}

void monitor_watch(struct monitor *m)
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
