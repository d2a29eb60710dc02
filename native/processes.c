#include "processes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { KILL_PASSES = 100 };

static bool write_text(const char *directory, const char *name, const char *text)
{
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/%s", directory, name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return written;
}

/* Call `each` with the path of the group and of every group below it. */
static bool walk_groups(char *path, bool (*each)(const char *group, void *context), void *context)
{
	size_t length = strlen(path);
	bool go_on = each(path, context);
	DIR *folder = go_on ? opendir(path) : NULL;

	if (!folder)
		return go_on;
	for (struct dirent *entry; go_on && (entry = readdir(folder));) {
		if (entry->d_type != DT_DIR || !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (snprintf(path + length, PATH_MAX - length, "/%s", entry->d_name) < (int)(PATH_MAX - length))
			go_on = walk_groups(path, each, context);
		path[length] = '\0';
	}
	closedir(folder);
	return go_on;
}

static void for_groups(const char *group, bool (*each)(const char *group, void *context), void *context)
{
	char path[PATH_MAX];

	if (*group && snprintf(path, sizeof path, "%s", group) < (int)sizeof path)
		walk_groups(path, each, context);
}

struct walk {
	bool (*each)(pid_t pid, void *context);
	void *context;
};

static bool walk_processes(const char *group, void *context)
{
	const struct walk *walk = context;
	char path[PATH_MAX], line[32];
	bool go_on = true;

	snprintf(path, sizeof path, "%s/cgroup.procs", group);
	FILE *file = fopen(path, "re");
	if (!file)
		return true;
	while (go_on && fgets(line, sizeof line, file)) {
		int pid = atoi(line);
		go_on = pid == 0 || walk->each(pid, walk->context); /* 0: not visible from our pid namespace */
	}
	fclose(file);
	return go_on;
}

void processes_walk(const char *group, bool (*each)(pid_t pid, void *context), void *context)
{
	struct walk walk = {each, context};

	for_groups(group, walk_processes, &walk);
}

struct signalling {
	int signal;
	unsigned reached;
};

static bool signal_one(pid_t pid, void *context)
{
	struct signalling *s = context;

	/* A killed process stays listed while it dies; it must not keep the loop going. */
	if (s->signal == SIGKILL && strchr("ZX", process_letter(pid)))
		return true;
	if (kill(pid, s->signal) == 0)
		s->reached++;
	return true;
}

static bool thaw_one(const char *group, void *context)
{
	(void)context;
	write_text(group, "freezer.state", "THAWED");
	return true;
}

/* Version 1 keeps killed processes until the freezer, of the group or of one that the container made below it, is thawed;
 * version 2 lets them die. */
static void thaw(const struct state *s)
{
	if (!strcmp(state_meta(s, "freezer_version"), "1"))
		for_groups(state_meta(s, "freezer"), thaw_one, NULL);
}

/* Returns how many were there to be signalled. SIGKILL is repeated: a process may fork while the list is read. */
static unsigned signal_all(const struct state *s, int signal)
{
	struct signalling signalling = {.signal = signal};
	const char *group = state_meta(s, "cgroup");

	processes_walk(group, signal_one, &signalling);
	unsigned first = signalling.reached;
	if (signal != SIGKILL)
		return first;
	thaw(s);
	if (write_text(group, "cgroup.kill", "1"))
		return first;
	for (int pass = 0; pass < KILL_PASSES && signalling.reached; pass++) {
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
		signalling.reached = 0;
		processes_walk(group, signal_one, &signalling);
	}
	return first;
}

static int signal_init(const struct state *s, int signal, struct failure *f)
{
	int fd = state_pidfd(s);

	if (fd < 0)
		return fail(f, 0, "container not running");
	int status = (int)syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0);
	int error = errno;
	close(fd);
	if (status < 0)
		return error == ESRCH ? fail(f, 0, "container not running")
		                      : fail(f, error, "signal process %d", (int)s->pid);
	if (signal == SIGKILL)
		thaw(s);
	return 0;
}

int processes_kill(const struct state *s, int signal, bool all, struct failure *f)
{
	bool shared = !strcmp(state_meta(s, "shares_pid_namespace"), "1");
	bool everyone = all || (shared && signal == SIGKILL);

	if (!everyone || !*state_meta(s, "cgroup"))
		return signal_init(s, signal, f);
	return signal_all(s, signal) ? 0 : fail(f, 0, "container not running");
}
