/* Taking over a container whose monitor was killed. It is not our child, so its end is seen by a pidfd, and its exit
 * status is asked from the kernel: of the zombie, or of the pidfd (Linux 6.15). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "descriptor.h"
#include "monitor.h"
#include "state.h"

enum { INFO_EXIT = 1 << 3, ASK_MS = 10, ASK_TIMES = 200 };

/* struct pidfd_info, first version. */
struct info {
	uint64_t mask, cgroup;
	uint32_t ids[11];
	int32_t exit_code;
};

#define GET_INFO _IOWR(0xFF, 11, struct info)

static void open_streams(struct monitor *m)
{
	for (int i = 0; i < 2; i++) {
		struct stream *s = &m->streams[i];
		s->name = i == 0 ? "stdout" : "stderr";
		s->frame_type = i == 0 ? 0x81 : 0x82;
		s->fd = openat(m->dir, s->name, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	}
}

/* What the dead monitor knew, from a file that it wrote itself. */
static void read_monitor(struct monitor *m)
{
	char text[512];
	const char *at;

	if (read_small(m->dir, "monitor.json", text, sizeof text) <= 0)
		return;
	if ((at = strstr(text, "\"restarts\":")))
		m->restarts = strtoull(at + 11, NULL, 10);
	if ((at = strstr(text, "\"startedAt\":\"")))
		snprintf(m->record.started, sizeof m->record.started, "%.30s", at + 13);
}

static int take_process(struct monitor *m, struct state *s, struct failure *f)
{
	enum status status = state_status(s);
	int pidfd = state_pidfd(s);

	if (pidfd < 0 || status == STATUS_CREATING || status == STATUS_STOPPED) {
		close_descriptor(&pidfd);
		return fail(f, 0, "the container is not running");
	}
	context_init(&m->context, &m->plan, m->state_dir);
	m->context.child = s->pid;
	m->context.child_pidfd = pidfd;
	m->context.ready = true;
	m->phase = status == STATUS_CREATED ? PHASE_CREATED : PHASE_RUNNING;
	return 0;
}

int adopt(struct monitor *m, struct failure *f)
{
	struct state state;

	if (state_open(&state, m->options.root, m->options.id, f) < 0)
		return -1;
	int status = take_process(m, &state, f);
	state_close(&state);
	if (status < 0)
		return -1;
	m->adopted = true;
	m->started_ms = now_ms();
	m->oom_before = oom_kills(m->options.memory_cgroup);
	open_streams(m);
	read_monitor(m);
	return 0;
}

/* Field 52 of /proc/PID/stat, as long as the zombie was not reaped by its parent. */
static bool status_of_zombie(pid_t pid, int *status)
{
	char path[40], text[1024];

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	if (read_small(AT_FDCWD, path, text, sizeof text) <= 0)
		return false;
	const char *name_end = strrchr(text, ')'), *last = strrchr(text, ' ');
	if (!name_end || strncmp(name_end, ") Z", 3) != 0 || !last)
		return false;
	*status = atoi(last);
	return true;
}

static bool status_of_pidfd(int pidfd, int *status)
{
	struct info info = {.mask = INFO_EXIT};

	if (ioctl(pidfd, GET_INFO, &info) < 0 || !(info.mask & INFO_EXIT))
		return false;
	*status = info.exit_code;
	return true;
}

bool adopted_status(struct monitor *m, int *status)
{
	for (int i = 0; i < ASK_TIMES; i++) {
		if (status_of_zombie(m->context.child, status) || status_of_pidfd(m->context.child_pidfd, status))
			return true;
		if (process_start_time(m->context.child) == 0 && i > 0)
			return false;
		poll(NULL, 0, ASK_MS);
	}
	return false;
}
