#include "execute.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "message.h"
#include "operations.h"
#include "report.h"

typedef int operation(struct context *c, const uint64_t *a, struct failure *f);

#define ENTRY(code, name, kinds) [code] = operate_##name,
static operation *const operations[128] = {INSTRUCTIONS(ENTRY)};
#undef ENTRY

OPERATION(META)
{
	UNUSED(c), UNUSED(a), UNUSED(f);
	return 0;
}

void context_init(struct context *c, const struct plan *plan, int state_dir)
{
	memset(c, 0, sizeof *c);
	c->plan = plan;
	for (unsigned i = 0; i < PLAN_SLOTS; i++)
		c->slots[i] = -1;
	c->peer = c->child_pidfd = c->report_fd = c->lock_fd = -1;
	c->null_device = c->empty_tree = c->dumpable = -1;
	c->birth_group = SLOT_NONE;
	c->state_dir = state_dir;
	c->umask = 022;
}

void slot_set(struct context *c, uint64_t number, int fd, uint8_t flags)
{
	if (number >= PLAN_SLOTS)
		return;
	close_descriptor(&c->slots[number]);
	c->slots[number] = fd;
	c->slot_flags[number] = flags;
}

char **list_array(const struct context *c, uint64_t word, size_t *count)
{
	const char *end, *first = plan_list(c->plan, word, &end);
	size_t n = 0;
	for (const char *at = first; at < end; at += strlen(at) + 1)
		n++;
	char **array = mmap(NULL, (n + 1) * sizeof *array, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (array == MAP_FAILED)
		return NULL;
	n = 0;
	for (const char *at = first; at < end; at += strlen(at) + 1)
		array[n++] = (char *)(uintptr_t)at;
	*count = n;
	return array;
}

bool peer_gone(const struct context *c)
{
	struct pollfd waiting = {.fd = c->peer, .events = POLLIN};
	return c->peer >= 0 && poll(&waiting, 1, 0) == 1 && waiting.revents & POLLHUP;
}

void rearm(const struct context *c)
{
	if (c->dumpable >= 0)
		prctl(PR_SET_DUMPABLE, c->dumpable, 0, 0, 0);
	if (!c->death_signal)
		return;
	prctl(PR_SET_PDEATHSIG, c->death_signal, 0, 0, 0);
	if (peer_gone(c))
		_exit(1);
}

#ifdef FAULTS
/* WHERRY_FAIL=PROGRAM:STEP[:kill] makes that step fail, or kills the process that is about to run it. */
static int injected_fault(const struct context *c, unsigned step, struct failure *f)
{
	static const char *const names[] = {"META", "HOST", "STAGE", "INIT", "START", "PAUSE", "RESUME", "DELETE"};
	const char *fault = getenv("WHERRY_FAIL");
	size_t length = strlen(names[c->program]);
	if (!fault || strncmp(fault, names[c->program], length) != 0 || fault[length] != ':')
		return 0;
	char *rest;
	if (strtoul(fault + length + 1, &rest, 10) != step)
		return 0;
	if (strcmp(rest, ":kill") == 0)
		kill(getpid(), SIGKILL);
	if (strcmp(rest, ":kill") == 0)
		_exit(137); /* pid 1 cannot kill itself */
	return fail(f, 0, "injected fault");
}
#else
static int injected_fault(const struct context *c, unsigned step, struct failure *f)
{
	UNUSED(c), UNUSED(step), UNUSED(f);
	return 0;
}
#endif

static int run_step(struct context *c, const struct step *step, unsigned number, struct failure *f)
{
	c->step = step;
	if (injected_fault(c, number, f) == 0 && operations[step->code](c, step->words, f) >= 0)
		return 0;
	if (f->program != UINT16_MAX)
		return -1; /* the child's, it knows better */
	f->program = (uint16_t)c->program;
	f->step = (uint16_t)number;
	if (!f->where[0])
		snprintf(f->where, sizeof f->where, "%s", plan_label(c->plan, step));
	return -1;
}

static int run_steps(struct context *c, unsigned program, struct failure *f)
{
	unsigned number = 0;
	c->program = program;
	for (const struct step *s = plan_first(c->plan, program); s; s = plan_next(c->plan, program, s), number++)
		if (run_step(c, s, number, f) < 0)
			return -1;
	return 0;
}

void run_all_steps(struct context *c, unsigned program)
{
	unsigned number = 0;
	c->program = program;
	for (const struct step *s = plan_first(c->plan, program); s; s = plan_next(c->plan, program, s), number++) {
		struct failure f = {0};
		char line[sizeof f.where + sizeof f.text + 100];
		if (run_step(c, s, number, &f) == 0)
			continue;
		failure_line(&f, line, sizeof line);
		report_warning(line);
	}
}

static bool has_step(const struct plan *plan, unsigned program, const char *name)
{
	for (const struct step *s = plan_first(plan, program); s; s = plan_next(plan, program, s))
		if (strcmp(plan_instruction_name(s->code), name) == 0)
			return true;
	return false;
}

int await_ready(struct context *c, struct failure *f)
{
	if (c->ready || c->peer < 0)
		return 0;
	if (has_step(c->plan, PROGRAM_INIT, "WAIT_START")) {
		if (message_await(c, MESSAGE_READY, 0, NULL, f) < 0)
			return -1;
	} else if (message_await_end(c, f) < 0) {
		return -1;
	}
	c->ready = true;
	return 0;
}

static int run_host(struct context *c, struct failure *f)
{
	mode_t mask = c->umask = umask(0);
	struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
	sigaction(SIGPIPE, &ignore, &before);
	int result = run_steps(c, PROGRAM_HOST, f);
	if (result == 0)
		result = await_ready(c, f);
	if (result == 0 && c->peer >= 0 && has_step(c->plan, PROGRAM_INIT, "WAIT_START"))
		result = message_send(c, MESSAGE_RELEASE, 0, 0, f);
	sigaction(SIGPIPE, &before, NULL);
	umask(mask);
	if (result == 0)
		close_descriptor(&c->peer);
	return result;
}

int run_program(struct context *c, unsigned program, struct failure *f)
{
	return program == PROGRAM_HOST ? run_host(c, f) : run_steps(c, program, f);
}

/* What only HOST may hold is let go; the lock in particular must not live as long as the container. */
static void leave_host_behind(struct context *c)
{
	close_descriptor(&c->lock_fd);
	close_descriptor(&c->state_dir);
	close_descriptor(&c->child_pidfd);
	for (unsigned i = 0; i < c->host_only_count; i++)
		if (c->host_only[i] >= 0)
			close(c->host_only[i]);
	if (report.log_fd >= 0)
		close_descriptor(&report.log_fd);
	c->child = c->stage = 0;
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigaction(SIGPIPE, &ignore, NULL);
}

_Noreturn void child_main(struct context *c, unsigned program)
{
	struct failure f = {0};
	leave_host_behind(c);
	if (run_steps(c, program, &f) == 0)
		_exit(0);
	message_failure(c, &f);
	_exit(f.exit_status > 0 ? f.exit_status : 1);
}

/* STAGE may have cloned INIT without HOST having adopted it yet. */
static void find_orphan(struct context *c)
{
	struct failure f = {0};
	pid_t pid;
	struct pollfd waiting = {.fd = c->peer, .events = POLLIN};
	if (c->stage <= 0 || c->peer < 0 || poll(&waiting, 1, 0) != 1)
		return;
	if (message_await(c, MESSAGE_PID, 0, &pid, &f) == 0 && pid > 0)
		c->child = pid;
}

/* Reap a killed process. One that is frozen or hangs in the kernel is not waited for longer than this. */
static bool reap(pid_t pid, int timeout_ms)
{
	for (int waited = 0;; waited++) {
		pid_t got = waitpid(pid, NULL, WNOHANG);
		if (got == pid || (got < 0 && errno == ECHILD))
			return true;
		if (waited >= timeout_ms)
			return false;
		poll(NULL, 0, 1);
	}
}

static void kill_process(pid_t pid, int pidfd)
{
	if (pid > 0 && (pidfd < 0 || sys_pidfd_send_signal(pidfd, SIGKILL) < 0))
		kill(pid, SIGKILL);
}

enum { FROZEN_MS = 500, LAST_MS = 10000 };

static void end_stage(struct context *c)
{
	if (c->stage <= 0)
		return;
	kill_process(c->stage, -1);
	reap(c->stage, FROZEN_MS);
	if (c->child == c->stage) {
		c->child = 0;
		close_descriptor(&c->child_pidfd);
	}
	c->program = PROGRAM_HOST;
	find_orphan(c);
	c->stage = 0;
}

int undo(struct context *c, struct failure *f)
{
	UNUSED(f);
	end_stage(c);
	pid_t child = c->child;
	kill_process(child, c->child_pidfd);
	bool reaped = child <= 0 || reap(child, FROZEN_MS);
	c->child = 0;
	close_descriptor(&c->child_pidfd);
	close_descriptor(&c->peer);
	c->undoing = !c->ready;
	run_all_steps(c, PROGRAM_DELETE); /* thaws its group */
	if (!reaped)
		reap(child, LAST_MS);
	for (unsigned i = 0; i < PLAN_SLOTS; i++)
		slot_set(c, i, -1, 0);
	return 0;
}

/* Wait until the fifo's writer is gone (the command runs) or has written why it does not. */
static int await_command(const struct context *c, int fifo, int pidfd, struct failure *f)
{
	struct pollfd waiting[] = {{.fd = fifo, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
	bool gone = false;
	while (!waiting[0].revents && !gone) {
		poll(waiting, 2, pidfd < 0 ? 20 : -1);
		gone = waiting[1].revents || (pidfd < 0 && kill(c->child, 0) < 0 && errno == ESRCH);
	}
	if (!waiting[0].revents && poll(waiting, 1, 0) == 0)
		return fail(f, 0, "container not running: its process ended before it was started");
	ssize_t got;
	do
		got = read(fifo, f, sizeof *f);
	while ((got < 0 && errno == EINTR) || (got < 0 && errno == EAGAIN && poll(waiting, 1, -1) >= 0));
	return got == (ssize_t)sizeof *f ? -1 : 0;
}

int let_go(struct context *c, struct failure *f)
{
	autoclose int fifo = openat(c->state_dir, "exec.fifo", O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fifo < 0)
		return fail(f, errno, "cannot start the container: open exec.fifo");
	autoclose int own = c->child_pidfd >= 0 ? -1 : sys_pidfd_open(c->child);
	unlinkat(c->state_dir, "exec.fifo", 0);
	if (await_command(c, fifo, c->child_pidfd >= 0 ? c->child_pidfd : own, f) < 0)
		return -1;
	return run_steps(c, PROGRAM_START, f);
}
