#include "destroy.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

#include "processes.h"
#include "report.h"
#include "verb.h"

struct stuck {
	pid_t pid;
	char letter;
};

static bool look_for_stuck(pid_t pid, void *context)
{
	struct stuck *stuck = context;
	char letter = process_letter(pid);

	if (letter && letter != 'Z' && letter != 'X' && stuck->letter != 'D')
		*stuck = (struct stuck){pid, letter};
	return true;
}

/* Init of a pid namespace only goes when all others in it are gone: name the one that cannot die. */
static int fail_stuck(const struct state *s, struct failure *f)
{
	struct stuck stuck = {s->pid, process_letter(s->pid)};

	processes_walk(state_meta(s, "cgroup"), look_for_stuck, &stuck);
	const char *why = "";
	if (stuck.letter == 'D')
		why = " (waiting in the kernel, for a device or a file server)";
	else if (stuck.pid == s->pid)
		why = " (perhaps an ended process of its pid namespace is not reaped by its parent outside)";
	return fail(f, 0, "process %d did not end within %d s of SIGKILL: it is in state %c%s", (int)stuck.pid,
	            VERB_DEADLINE_MS / 1000, stuck.letter ? stuck.letter : '?', why);
}

static int end_processes(const struct state *s, struct failure *f)
{
	int fd = state_pidfd(s);

	if (fd < 0)
		return 0;
	struct failure ignored;
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	if (processes_kill(s, SIGKILL, false, &ignored) < 0 && ignored.error)
		*f = ignored;
	int ready = poll(&poll_fd, 1, VERB_DEADLINE_MS);
	close(fd);
	return ready == 1 ? 0 : fail_stuck(s, f);
}

int destroy(struct state *s, const char *root, const char *id, struct failure *f)
{
	if (end_processes(s, f) < 0)
		return -1;
	if (s->plan.data) {
		if (verb_run_program(s, PROGRAM_DELETE, f) < 0)
			return -1;
	} else if (s->damage) {
		report_warning("the container's plan is damaged: its control groups stay, and its hooks do not run");
	}
	return state_remove(root, id, f);
}
