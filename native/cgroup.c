#include "cgroup.h"

#include <dirent.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "descriptor.h"
#include "kernel.h"

static int64_t now_ms_here(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void pause_ms(long milliseconds)
{
	struct timespec t = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000};
	nanosleep(&t, NULL);
}

static int open_group(int dir, const char *path)
{
	return openat(dir, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Gone is as good as done, also when it goes while we look (ENODEV). */
static bool is_gone(int error)
{
	return error == ENOENT || error == ENODEV;
}

typedef int group_action(int dir, const char *name, void *data);

struct entry_buffer {
	_Alignas(8) char bytes[1024];
};

struct entry64 {
	uint64_t inode;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

/* Do something with every child group of an open directory. */
static int each_child(int dir, group_action *action, void *data)
{
	struct entry_buffer buffer;
	long got;
	while ((got = syscall(SYS_getdents64, dir, buffer.bytes, sizeof buffer.bytes)) > 0)
		for (long at = 0; at < got;) {
			const struct entry64 *entry = (const void *)(buffer.bytes + at);
			at += entry->length;
			if (entry->type != DT_DIR || strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
				continue;
			if (action(dir, entry->name, data) < 0)
				return -1;
		}
	return got < 0 && !is_gone(errno) ? -1 : 0;
}

/* Signal the processes that are listed now. Returns how many there were. */
static int signal_listed(int group, int signal)
{
	char buffer[4096];
	int count = 0;
	autoclose int fd = openat(group, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return is_gone(errno) ? 0 : -1;
	ssize_t got;
	size_t held = 0;
	while ((got = read(fd, buffer + held, sizeof buffer - 1 - held)) > 0) {
		held += (size_t)got;
		buffer[held] = 0;
		char *at = buffer, *end;
		for (; (end = strchr(at, '\n')); at = end + 1) {
			int pid = atoi(at);
			count += pid > 0 && kill(pid, signal) == 0;
		}
		held = strlen(at);
		memmove(buffer, at, held);
	}
	return got < 0 && !is_gone(errno) && errno != EOPNOTSUPP ? -1 : count;
}

struct signalling {
	int signal;
	int count;
};

static int signal_group(int dir, const char *name, void *data)
{
	struct signalling *s = data;
	autoclose int group = open_group(dir, name);
	if (group < 0)
		return is_gone(errno) ? 0 : -1;
	int count = signal_listed(group, s->signal);
	if (count < 0)
		return -1;
	s->count += count;
	return each_child(group, signal_group, data);
}

static bool kill_by_file(const char *path)
{
	char file[PATH_MAX];
	if (snprintf(file, sizeof file, "%s/cgroup.kill", path) >= (int)sizeof file)
		return false;
	return write_small(AT_FDCWD, file, "1", 1) == 0;
}

int cgroup_signal(const char *path, int signal, struct failure *f)
{
	struct signalling s = {.signal = signal};
	if (signal == SIGKILL && kill_by_file(path))
		return 0;
	for (int round = 0; round < 8; round++) { /* processes may be forking away under our hands */
		s.count = 0;
		if (signal_group(AT_FDCWD, path, &s) < 0)
			return fail(f, errno, "signal the processes of %s", path);
		if (signal != SIGKILL || s.count == 0)
			break;
	}
	return 0;
}

static int remove_group(int dir, const char *name, void *data)
{
	if (unlinkat(dir, name, AT_REMOVEDIR) == 0 || is_gone(errno))
		return 0;
	autoclose int group = open_group(dir, name);
	if (group < 0)
		return is_gone(errno) ? 0 : -1;
	if (each_child(group, remove_group, data) < 0)
		return -1;
	return unlinkat(dir, name, AT_REMOVEDIR) == 0 || is_gone(errno) ? 0 : -1;
}

/* v1: killed processes of a frozen group do not die. */
static void thaw_before_removal(const char *path)
{
	char file[PATH_MAX];
	if (snprintf(file, sizeof file, "%s/freezer.state", path) < (int)sizeof file)
		write_small(AT_FDCWD, file, "THAWED", 6);
}

int cgroup_remove(const char *path, uint64_t deadline_ms, struct failure *f)
{
	int64_t deadline = now_ms_here() + (int64_t)deadline_ms;
	long pause = 1;
	for (;;) {
		if (remove_group(AT_FDCWD, path, NULL) == 0)
			return 0;
		if (errno != EBUSY)
			return fail(f, errno, "remove the control group %s", path);
		if (cgroup_signal(path, SIGKILL, f) < 0)
			return -1;
		thaw_before_removal(path);
		if (now_ms_here() >= deadline)
			return fail(f, EBUSY, "remove the control group %s: its processes do not end", path);
		pause_ms(pause);
		if (pause < 32)
			pause *= 2;
	}
}

int cgroup_vanish(const char *path, uint64_t deadline_ms, struct failure *f)
{
	int64_t deadline = now_ms_here() + (int64_t)deadline_ms;
	for (long pause = 1; now_ms_here() < deadline; pause = pause < 16 ? pause * 2 : pause) {
		if (access(path, F_OK) < 0)
			return 0;
		pause_ms(pause);
	}
	return cgroup_remove(path, 1000, f);
}

static bool frozen_v2(const char *path, int *events)
{
	char file[PATH_MAX], content[256];
	snprintf(file, sizeof file, "%s/cgroup.events", path);
	if (*events < 0)
		*events = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t got = pread(*events, content, sizeof content - 1, 0);
	if (got < 0)
		return false;
	content[got] = 0;
	return strstr(content, "frozen 1") != NULL;
}

static bool frozen_v1(const char *path)
{
	char file[PATH_MAX], content[32];
	snprintf(file, sizeof file, "%s/freezer.state", path);
	return read_small(AT_FDCWD, file, content, sizeof content) >= 0 && strcmp(content, "FROZEN") == 0;
}

static int write_freezer(const char *path, unsigned version, bool frozen)
{
	char file[PATH_MAX];
	const char *word = version == 2 ? (frozen ? "1" : "0") : frozen ? "FROZEN" : "THAWED";
	snprintf(file, sizeof file, "%s/%s", path, version == 2 ? "cgroup.freeze" : "freezer.state");
	return write_small(AT_FDCWD, file, word, strlen(word));
}

/* v1 stays FREEZING when a process forks while it is frozen: writing again helps. */
static bool wait_frozen(const char *path, unsigned version, bool frozen, int64_t deadline)
{
	autoclose int events = -1;
	long pause = 1;
	while ((version == 2 ? frozen_v2(path, &events) : frozen_v1(path)) != frozen) {
		int64_t left = deadline - now_ms_here();
		if (left <= 0)
			return false;
		struct pollfd changed = {.fd = events, .events = POLLPRI};
		if (version == 2 && events >= 0) {
			poll(&changed, 1, left > 50 ? 50 : (int)left);
			continue;
		}
		pause_ms(pause);
		pause = pause < 16 ? pause * 2 : pause;
		write_freezer(path, version, frozen);
	}
	return true;
}

int cgroup_freeze(const char *path, unsigned version, bool frozen, uint64_t deadline_ms, struct failure *f)
{
	const char *what = frozen ? "freeze" : "thaw";
	if (write_freezer(path, version, frozen) < 0)
		return fail(f, errno, "%s the control group %s", what, path);
	if (wait_frozen(path, version, frozen, now_ms_here() + (int64_t)deadline_ms))
		return 0;
	if (frozen)
		write_freezer(path, version, false);
	return fail(f, ETIMEDOUT, "%s the control group %s", what, path);
}
