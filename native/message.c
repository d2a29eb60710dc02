#include "message.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "operations.h"

struct message {
	uint32_t kind;
	uint32_t token;
	int32_t pid;
	struct failure failure; /* only sent with MESSAGE_FAILURE */
};

static int send_message(int peer, const struct message *message)
{
	size_t size = message->kind == MESSAGE_FAILURE ? sizeof *message : offsetof(struct message, failure);
	ssize_t sent;
	do
		sent = send(peer, message, size, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -1 : 0;
}

/* 1 for a message, 0 at end of file. */
static int receive(int peer, struct message *message)
{
	for (;;) {
		ssize_t got = recv(peer, message, sizeof *message, 0);
		if (got >= (ssize_t)offsetof(struct message, failure))
			return 1;
		if (got >= 0)
			return 0;
		if (errno != EINTR && errno != ECONNRESET) /* a reset may still have messages behind it */
			return 0;
	}
}

/* HOST: the child went without a word. */
static int child_ended(const struct context *c, struct failure *f)
{
	siginfo_t info = {0};
	pid_t pid = c->stage ? c->stage : c->child;
	if (pid <= 0 || waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0)
		return fail(f, 0, "the container's process ended while it was set up");
	if (info.si_code == CLD_EXITED)
		return fail(f, 0, "the container's process ended with status %d while it was set up", info.si_status);
	return fail(f, 0, "the container's process was killed by signal %d while it was set up%s", info.si_status,
		    info.si_status == SIGKILL ? " (is its memory limit too low?)" : "");
}

static int ended(const struct context *c, struct failure *f)
{
	if (c->program != PROGRAM_HOST)
		_exit(1); /* whoever could be told is gone */
	return child_ended(c, f);
}

static int take_failure(const struct message *message, struct failure *f)
{
	*f = message->failure;
	f->where[sizeof f->where - 1] = 0;
	f->text[sizeof f->text - 1] = 0;
	return -1;
}

int message_await(struct context *c, enum message_kind kind, uint32_t token, pid_t *pid, struct failure *f)
{
	struct message message;
	if (c->peer < 0)
		return fail(f, 0, "there is no process to wait for");
	if (!receive(c->peer, &message))
		return ended(c, f);
	if (message.kind == MESSAGE_FAILURE)
		return take_failure(&message, f);
	if (message.kind != (uint32_t)kind || message.token != token)
		return fail(f, 0, "out of step: message %u/%u instead of %u/%u", message.kind, message.token, kind,
			    token);
	if (pid)
		*pid = message.pid;
	return 0;
}

int message_await_end(struct context *c, struct failure *f)
{
	struct message message;
	while (receive(c->peer, &message))
		if (message.kind == MESSAGE_FAILURE)
			return take_failure(&message, f);
	return 0;
}

int message_send(struct context *c, enum message_kind kind, uint32_t token, pid_t pid, struct failure *f)
{
	struct message message;
	message.kind = kind;
	message.token = token;
	message.pid = pid;
	if (c->peer < 0)
		return fail(f, 0, "there is no process to tell");
	if (send_message(c->peer, &message) == 0)
		return 0;
	if (receive(c->peer, &message) && message.kind == MESSAGE_FAILURE)
		return take_failure(&message, f);
	return ended(c, f);
}

static void say(const struct failure *f)
{
	char line[sizeof f->where + sizeof f->text + 100];
	int length = failure_line(f, line, sizeof line - 1);
	if (length > (int)sizeof line - 2)
		length = sizeof line - 2;
	line[length] = '\n';
	write_all(STDERR_FILENO, line, (size_t)length + 1);
}

void message_failure(struct context *c, const struct failure *f)
{
	struct message message = {.kind = MESSAGE_FAILURE, .failure = *f};
	if (c->report_fd >= 0 && write_all(c->report_fd, f, sizeof *f) == 0)
		return;
	if (c->peer < 0 || send_message(c->peer, &message) < 0)
		say(f);
}
