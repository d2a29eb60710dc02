#include "spawn.h"

#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "descriptor.h"
#include "kernel.h"
#include "signals.h"

struct running {
	pid_t pid;
	int pidfd;
	int in;   /* our end of its stdin; -1 when all is written */
	int out;  /* our end of its stdout and stderr */
	int64_t deadline;
};

static int64_t now_milliseconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

_Noreturn static void become(const struct spawn *s, int in, int out, int status)
{
	signals_reset(NULL);
	umask(s->umask);
	int error = dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 ? errno : 0;
	if (!error) {
		sys_close_range(3, ~0u, CLOSE_ON_EXEC_RANGE);
		execve(s->path, s->argv, s->envp);
		error = errno;
	}
	write_all(status, &error, sizeof error);
	_exit(127);
}

/* errno of the execve that failed, 0 if it succeeded. */
static int exec_error(int status)
{
	int error = 0;
	ssize_t got;
	do
		got = read(status, &error, sizeof error);
	while (got < 0 && errno == EINTR);
	return got == (ssize_t)sizeof error ? error : 0;
}

static int begin(const struct spawn *s, struct running *r, struct failure *f)
{
	int in[2] = {-1, -1}, out[2] = {-1, -1}, status[2] = {-1, -1};
	pid_t pid = -1;
	if (pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 && pipe2(status, O_CLOEXEC) == 0)
		pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
	if (pid == 0)
		become(s, in[0], out[1], status[1]);
	int error = errno;
	close_descriptor(&in[0]);
	close_descriptor(&out[1]);
	close_descriptor(&status[1]);
	if (pid > 0)
		error = exec_error(status[0]);
	close_descriptor(&status[0]);
	r->pid = pid;
	r->in = in[1];
	r->out = out[0];
	if (error && pid > 0)
		waitpid(pid, NULL, 0);
	if (pid > 0 && !error)
		return 0;
	close_descriptor(&r->in);
	close_descriptor(&r->out);
	return fail(f, error, "execute %s", s->path);
}

static void feed(const struct spawn *s, struct running *r, size_t *part, size_t *done)
{
	while (*part < s->inputs) {
		const struct iovec *piece = &s->input[*part];
		ssize_t written = write(r->in, (const char *)piece->iov_base + *done, piece->iov_len - *done);
		if (written < 0 && errno == EAGAIN)
			return;
		if (written < 0)
			break; /* it does not read: that is its right */
		*done += (size_t)written;
		if (*done == piece->iov_len) {
			++*part;
			*done = 0;
		}
	}
	close_descriptor(&r->in);
}

static void keep_end(struct spawn *s, const char *data, size_t size)
{
	size_t room = sizeof s->output - 1, held = strlen(s->output);
	if (size > room) {
		data += size - room;
		size = room;
	}
	if (held + size > room) {
		size_t drop = held + size - room;
		memmove(s->output, s->output + drop, held - drop + 1);
		held -= drop;
	}
	memcpy(s->output + held, data, size);
	s->output[held + size] = 0;
}

static void drain(struct spawn *s, struct running *r)
{
	char buffer[512];
	ssize_t got;
	while ((got = read(r->out, buffer, sizeof buffer)) > 0) {
		for (ssize_t i = 0; i < got; i++)
			if (buffer[i] == 0)
				buffer[i] = ' ';
		keep_end(s, buffer, (size_t)got);
	}
	if (got == 0)
		close_descriptor(&r->out);
}

/* How long to wait: without a pidfd the child is looked at often. */
static int wait_ms(const struct running *r)
{
	int limit = r->pidfd < 0 ? 5 : -1;
	if (!r->deadline)
		return limit;
	int64_t left = r->deadline - now_milliseconds();
	if (left < 0)
		left = 0;
	return limit >= 0 && left > limit ? limit : (int)left;
}

/* Serve its pipes until it ends. Returns its wait status, or -1 when the deadline passed. */
static int serve(struct spawn *s, struct running *r)
{
	size_t part = 0, done = 0;
	int status;
	if (s->inputs == 0)
		close_descriptor(&r->in);
	for (;;) {
		struct pollfd events[] = {
			{.fd = r->pidfd, .events = POLLIN},
			{.fd = r->out, .events = POLLIN},
			{.fd = r->in, .events = POLLOUT},
		};
		poll(events, 3, wait_ms(r));
		if (events[2].revents)
			feed(s, r, &part, &done);
		if (events[1].revents)
			drain(s, r);
		if (waitpid(r->pid, &status, WNOHANG) == r->pid)
			break;
		if (r->deadline && now_milliseconds() >= r->deadline)
			return -1;
	}
	if (r->out >= 0)
		drain(s, r);
	return status;
}

static int judge(struct spawn *s, int status, struct failure *f)
{
	size_t length = strlen(s->output);
	while (length > 0 && (s->output[length - 1] == '\n' || s->output[length - 1] == ' '))
		s->output[--length] = 0;
	const char *before = length ? ": " : "";
	if (status == -1)
		return fail(f, 0, "%s did not end within %llu ms and was killed", s->path,
			    (unsigned long long)s->timeout_ms);
	if (WIFSIGNALED(status))
		return fail(f, 0, "%s was killed by signal %d%s%s", s->path, WTERMSIG(status), before, s->output);
	if (WEXITSTATUS(status) != 0)
		return fail(f, 0, "%s: exit status %d%s%s", s->path, WEXITSTATUS(status), before, s->output);
	return 0;
}

int spawn_and_wait(struct spawn *s, struct failure *f)
{
	struct running r = {.pidfd = -1};
	s->output[0] = 0;
	if (begin(s, &r, f) < 0)
		return -1;
	fcntl(r.in, F_SETFL, O_NONBLOCK);
	fcntl(r.out, F_SETFL, O_NONBLOCK);
	r.pidfd = sys_pidfd_open(r.pid);
	if (s->timeout_ms)
		r.deadline = now_milliseconds() + (int64_t)s->timeout_ms;
	int status = serve(s, &r);
	if (status == -1) {
		kill(r.pid, SIGKILL);
		waitpid(r.pid, NULL, 0);
	}
	close_descriptor(&r.pidfd);
	close_descriptor(&r.in);
	close_descriptor(&r.out);
	return judge(s, status, f);
}
