/* Health checks: an exec plan, executed by our own `@exec` at intervals. One check at a time; its output's last
 * MONITOR_HEALTH_OUTPUT bytes are kept with the last MONITOR_HEALTH_RESULTS results in health.json. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "monitor.h"
#include "state.h"

enum { SCRATCH = MONITOR_HEALTH_RESULTS, MAP = (MONITOR_HEALTH_RESULTS + 1) * MONITOR_HEALTH_OUTPUT };

extern char **environ;

static uint8_t *output_of(const struct health *h, unsigned slot)
{
	return h->outputs + (size_t)slot * MONITOR_HEALTH_OUTPUT;
}

void health_open(struct monitor *m)
{
	struct health *h = &m->health;

	h->plan_fd = h->pipe = -1;
	h->next_at = h->kill_at = NEVER;
}

static size_t print_result(const struct health *h, unsigned slot, char *out, size_t size)
{
	const struct health_result *r = &h->results[slot];
	size_t taken;
	int head = snprintf(out, size, "{\"start\":\"%s\",\"end\":\"%s\",\"exitCode\":%d,\"output\":\"", r->start,
	                    r->end, r->exit_code);
	char *at = json_escape(out + head, out + size - 8, output_of(h, slot), r->size, &taken);

	*at++ = '"';
	*at++ = '}';
	return (size_t)(at - out);
}

static void save(const struct monitor *m)
{
	static const char *const names[] = {"starting", "healthy", "unhealthy"};
	enum { ENTRY = 6 * MONITOR_HEALTH_OUTPUT + 256, SIZE = MONITOR_HEALTH_RESULTS * ENTRY + 256 };
	const struct health *h = &m->health;
	char *text = (char *)map_buffer(SIZE);
	struct failure f = NO_FAILURE;

	if (!text)
		return;
	size_t at = (size_t)snprintf(text, SIZE, "{\"version\":1,\"status\":\"%s\",\"failingStreak\":%u,\"log\":[",
	                             names[h->status], h->streak);
	for (unsigned i = 0; i < h->count; i++) {
		if (i)
			text[at++] = ',';
		at += print_result(h, (h->first + i) % MONITOR_HEALTH_RESULTS, text + at, ENTRY);
	}
	memcpy(text + at, "]}\n", 3);
	write_atomically(m->dir, "health.json", text, at + 3, false, &f);
	unmap_buffer((uint8_t *)text, SIZE);
}

/* The container was started: everything begins anew, but earlier results stay readable. */
void health_begin(struct monitor *m)
{
	struct health *h = &m->health;
	int64_t now = now_ms();

	if (!m->options.health_plan || (!h->outputs && !(h->outputs = map_buffer(MAP))))
		return;
	/* An engine can compile the plan only when the container exists: it is there before START, not before HOST. */
	if (h->plan_fd < 0)
		h->plan_fd = health_plan_open(m->options.health_plan);
	h->broken = h->plan_fd < 0 || health_plan_aim(h->plan_fd, m->context.child) < 0;
	h->status = HEALTH_STARTING;
	h->streak = 0;
	h->grace_until = now + m->options.health_start_period_ms;
	h->next_at = now + (m->options.health_start_period_ms ? m->options.health_start_interval_ms
	                                                      : m->options.health_interval_ms);
	save(m);
}

static void act_on_unhealthy(struct monitor *m)
{
	if (m->options.on_unhealthy == UNHEALTHY_NONE)
		return;
	m->force_restart = m->options.on_unhealthy == UNHEALTHY_RESTART;
	monitor_signal(m, SIGKILL);
}

static enum health_status judge(struct monitor *m, int exit_code)
{
	struct health *h = &m->health;

	if (exit_code == 0) {
		h->streak = 0;
		return HEALTH_HEALTHY;
	}
	if (h->status == HEALTH_STARTING && now_ms() < h->grace_until)
		return h->status;
	return ++h->streak >= m->options.health_retries ? HEALTH_UNHEALTHY : h->status;
}

/* The scratch buffer is a ring of the last bytes; straighten it into the result's place. */
static size_t keep_output(const struct health *h, unsigned slot)
{
	size_t size = h->seen < MONITOR_HEALTH_OUTPUT ? h->seen : MONITOR_HEALTH_OUTPUT;
	size_t begin = (h->seen - size) % MONITOR_HEALTH_OUTPUT, first = MONITOR_HEALTH_OUTPUT - begin;

	if (first > size)
		first = size;
	memcpy(output_of(h, slot), output_of(h, SCRATCH) + begin, first);
	memcpy(output_of(h, slot) + first, output_of(h, SCRATCH), size - first);
	return size;
}

static struct health_result *next_result(struct health *h, unsigned *slot)
{
	*slot = (h->first + h->count) % MONITOR_HEALTH_RESULTS;
	if (h->count == MONITOR_HEALTH_RESULTS)
		h->first = (h->first + 1) % MONITOR_HEALTH_RESULTS;
	else
		h->count++;
	return &h->results[*slot];
}

static void finish(struct monitor *m, int exit_code)
{
	struct health *h = &m->health;
	unsigned slot;
	struct health_result *r = next_result(h, &slot);

	health_read(m);
	if (h->pipe >= 0)
		close(h->pipe);
	h->pipe = -1;
	memcpy(r->start, h->start, sizeof r->start);
	timestamp(r->end);
	r->exit_code = exit_code;
	r->size = keep_output(h, slot);
	h->pid = 0;
	h->kill_at = NEVER;
	enum health_status before = h->status;
	h->status = judge(m, exit_code);
	bool early = h->status == HEALTH_STARTING && now_ms() < h->grace_until;
	h->next_at = now_ms() + (early ? m->options.health_start_interval_ms : m->options.health_interval_ms);
	save(m);
	if (h->status != before)
		attach_health(m);
	if (h->status != before && h->status == HEALTH_UNHEALTHY)
		act_on_unhealthy(m);
}

static int spawn_exec(struct monitor *m, int output)
{
	struct health *h = &m->health;
	char *argv[] = {"wherry-runtime", "@exec", "3", NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;

	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, m->null, 0);
	posix_spawn_file_actions_adddup2(&actions, output, 1);
	posix_spawn_file_actions_adddup2(&actions, output, 2);
	posix_spawn_file_actions_adddup2(&actions, h->plan_fd, 3);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	posix_spawnattr_setsigmask(&attributes, &none);
	int error = posix_spawn(&h->pid, "/proc/self/exe", &actions, &attributes, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return error;
}

/* A check cannot run in a frozen container; that it does not answer says nothing. */
static bool is_paused(const struct monitor *m)
{
	struct state state;
	struct failure f = NO_FAILURE;

	if (state_open(&state, m->options.root, m->options.id, &f) < 0)
		return false;
	bool paused = state_status(&state) == STATUS_PAUSED;
	state_close(&state);
	return paused;
}

static void begin_check(struct monitor *m)
{
	struct health *h = &m->health;
	int ends[2];

	if (is_paused(m)) {
		h->next_at = now_ms() + m->options.health_interval_ms;
		return;
	}
	h->seen = 0;
	h->timed_out = false;
	h->next_at = NEVER;
	timestamp(h->start);
	if (h->broken || pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
		finish(m, 126);
		return;
	}
	h->pipe = ends[0];
	fcntl(ends[1], F_SETFL, 0);
	int error = spawn_exec(m, ends[1]);
	close(ends[1]);
	if (error) {
		finish(m, 126);
		return;
	}
	h->kill_at = m->options.health_timeout_ms ? now_ms() + m->options.health_timeout_ms : NEVER;
}

void health_read(struct monitor *m)
{
	struct health *h = &m->health;

	while (h->pipe >= 0) {
		size_t at = h->seen % MONITOR_HEALTH_OUTPUT;
		ssize_t n = read(h->pipe, output_of(h, SCRATCH) + at, MONITOR_HEALTH_OUTPUT - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			close(h->pipe);
			h->pipe = -1;
			return;
		}
		h->seen += (size_t)n;
	}
}

/* Kill the children of `@exec` first: it then ends by itself, and nothing is left inside the container. */
static void kill_check(pid_t pid)
{
	char path[64], list[512];

	snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, list, sizeof list - 1);
	if (fd >= 0)
		close(fd);
	list[n > 0 ? n : 0] = '\0';
	for (char *at = list, *end; *at; at = end) {
		long child = strtol(at, &end, 10);
		if (end == at || child <= 1)
			break;
		kill((pid_t)child, SIGKILL);
		while (*end == ' ')
			end++;
	}
	kill(pid, SIGKILL);
}

void health_tick(struct monitor *m, int64_t now)
{
	struct health *h = &m->health;

	if (now >= h->kill_at) {
		h->timed_out = true;
		h->kill_at = NEVER;
		kill_check(h->pid);
	}
	if (now >= h->next_at && !h->pid)
		begin_check(m);
}

int64_t health_deadline(const struct health *h)
{
	return h->kill_at < h->next_at ? h->kill_at : h->next_at;
}

bool health_reaped(struct monitor *m, pid_t pid, int status)
{
	struct health *h = &m->health;

	if (!h->pid || pid != h->pid)
		return false;
	int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	finish(m, h->timed_out ? -1 : code);
	return true;
}

/* The container ended: a check that still runs has no subject any more and is forgotten. */
void health_end(struct monitor *m)
{
	struct health *h = &m->health;

	h->next_at = h->kill_at = NEVER;
	if (h->pid) {
		kill_check(h->pid);
		waitpid(h->pid, NULL, 0);
		h->pid = 0;
	}
	if (h->pipe >= 0)
		close(h->pipe);
	h->pipe = -1;
}
