/* HOOK. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "operations.h"
#include "report.h"
#include "spawn.h"

/* The pid as the hook's own pid namespace sees it. */
static pid_t container_pid(const struct context *c)
{
	return c->program == PROGRAM_INIT ? getpid() : c->child;
}

static void release_array(char **array, size_t count)
{
	if (array)
		munmap(array, (count + 1) * sizeof *array);
}

OPERATION(HOOK)
{
	char pid[16];
	const char *head = text(c, a[HOOK_HEAD]), *tail = text(c, a[HOOK_TAIL]);
	size_t argument_count = 0, variable_count = 0;
	size_t length = (size_t)snprintf(pid, sizeof pid, "%d", container_pid(c));
	char **argv = list_array(c, a[HOOK_ARGS], &argument_count);
	char **envp = list_array(c, a[HOOK_ENV], &variable_count);
	struct iovec input[] = {
		{(char *)(uintptr_t)head, strlen(head)}, {pid, length}, {(char *)(uintptr_t)tail, strlen(tail)}};
	struct spawn hook = {
		.path = text(c, a[HOOK_PATH]),
		.argv = argv,
		.envp = envp,
		.input = input,
		.inputs = 3,
		.timeout_ms = a[HOOK_TIMEOUT_MS],
		.umask = c->umask,
	};
	int result = argv && envp ? spawn_and_wait(&hook, f) : fail(f, errno, "hook %s", hook.path);
	release_array(argv, argument_count);
	release_array(envp, variable_count);
	if (result == 0 || !(a[HOOK_FLAGS] & PLAN_HOOK_WARN))
		return result;
	char line[sizeof f->text + 200];
	snprintf(line, sizeof line, "%s: %s%s%s", plan_label(c->plan, c->step), f->text, f->error ? ": " : "",
		 f->error ? strerror(f->error) : "");
	report_warning(line);
	return 0;
}
