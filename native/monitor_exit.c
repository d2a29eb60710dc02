/* What became of the container: exit.json (durable) and monitor.json (the present). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "monitor.h"

static uint64_t count_in(const char *folder, const char *file, const char *key)
{
	char text[1024], path[4096];
	const char *at;

	snprintf(path, sizeof path, "%s/%s", folder, file);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	at = strstr(text, key);
	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

/* How often the kernel killed in this group; v2 calls the file memory.events, v1 memory.oom_control. */
uint64_t oom_kills(const char *memory_cgroup)
{
	if (!memory_cgroup)
		return 0;
	uint64_t count = count_in(memory_cgroup, "memory.events", "oom_kill ");
	return count ? count : count_in(memory_cgroup, "memory.oom_control", "oom_kill ");
}

void record_exit(struct monitor *m, int status)
{
	struct exit_record *r = &m->record;

	timestamp(r->finished);
	r->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	r->code = r->signal ? 128 + r->signal : WEXITSTATUS(status);
	r->oom = oom_kills(m->options.memory_cgroup) > m->oom_before;
	r->error[0] = '\0';
}

void record_failure(struct monitor *m, const struct failure *f)
{
	struct exit_record *r = &m->record;

	timestamp(r->finished);
	r->signal = 0;
	r->code = f->exit_status ? f->exit_status : 1;
	r->oom = false;
	failure_line(f, r->error, sizeof r->error);
}

/* An adopted container whose status the kernel did not keep. */
void record_unknown(struct monitor *m)
{
	struct failure f = {.exit_status = 255, .text = "exit status unknown: the container's first monitor was killed"};

	record_failure(m, &f);
	m->record.oom = oom_kills(m->options.memory_cgroup) > m->oom_before;
}

static void quoted_time(char out[44], const char *time)
{
	snprintf(out, 44, time[0] ? "\"%s\"" : "null", time);
}

void save_exit(struct monitor *m)
{
	const struct exit_record *r = &m->record;
	char text[6 * sizeof r->error + 512], started[44], error[6 * sizeof r->error + 8];
	struct failure f = NO_FAILURE;
	size_t taken;

	quoted_time(started, r->started);
	*json_escape(error, error + sizeof error - 1, (const uint8_t *)r->error, strlen(r->error), &taken) = '\0';
	int size = snprintf(text, sizeof text,
	                    "{\"version\":1,\"exitCode\":%d,\"signal\":%d,\"oomKilled\":%s,\"startedAt\":%s,"
	                    "\"finishedAt\":\"%s\",\"restarts\":%llu,\"final\":%s,\"error\":\"%s\"}\n",
	                    r->code, r->signal, r->oom ? "true" : "false", started, r->finished,
	                    (unsigned long long)m->restarts, r->final ? "true" : "false", error);
	write_atomically(m->dir, "exit.json", text, (size_t)size, true, &f);
}

void save_monitor(struct monitor *m)
{
	static const char *const names[] = {"created", "running", "restarting", "exited"};
	char text[512], started[44], restart[44];
	struct failure f = NO_FAILURE;

	quoted_time(started, m->record.started);
	quoted_time(restart, m->phase == PHASE_WAITING ? m->restart_time : "");
	int size = snprintf(text, sizeof text,
	                    "{\"version\":1,\"pid\":%d,\"containerPid\":%d,\"status\":\"%s\",\"startedAt\":%s,"
	                    "\"restarts\":%llu,\"restartAt\":%s}\n",
	                    getpid(), m->context.child > 0 ? m->context.child : 0, names[m->phase], started,
	                    (unsigned long long)m->restarts, restart);
	write_atomically(m->dir, "monitor.json", text, (size_t)size, false, &f);
}
