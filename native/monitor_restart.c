/* When a container that ended is started again. The engine's word against it is the file `stopped` or the frame
 * NO_RESTART; the file also counts when it was made while nobody listened. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "monitor.h"

enum { FIRST_MS = 100, LONGEST_MS = 60000, GOOD_RUN_MS = 10000 };

bool restart_forbidden(struct monitor *m)
{
	return m->no_restart || faccessat(m->dir, "stopped", F_OK, 0) == 0;
}

static bool policy_wants(const struct monitor *m)
{
	const struct monitor_options *o = &m->options;

	switch (o->restart) {
	case RESTART_NO:
		return false;
	case RESTART_ON_FAILURE:
		return m->record.code != 0 && (!o->restart_limit || m->restarts < o->restart_limit);
	default:
		return true;
	}
}

/* For people: the wall-clock time of the next start. */
static void name_time(struct monitor *m, int64_t wait_ms)
{
	struct timespec t;
	struct tm u;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += wait_ms / 1000;
	gmtime_r(&t.tv_sec, &u);
	strftime(m->restart_time, sizeof m->restart_time, "%Y-%m-%dT%H:%M:%SZ", &u);
}

bool restart_wanted(struct monitor *m)
{
	int64_t now = now_ms();

	bool wanted = !restart_forbidden(m) && (m->force_restart || policy_wants(m));
	m->force_restart = false;
	if (!wanted)
		return false;
	if (!m->back_off_ms || now - m->started_ms >= GOOD_RUN_MS)
		m->back_off_ms = FIRST_MS;
	else
		m->back_off_ms = m->back_off_ms * 2 > LONGEST_MS ? LONGEST_MS : m->back_off_ms * 2;
	m->restart_at = now + m->back_off_ms;
	name_time(m, m->back_off_ms);
	return true;
}
