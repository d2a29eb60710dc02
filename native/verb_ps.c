#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commands.h"
#include "options.h"
#include "processes.h"
#include "verb.h"

extern char **environ;

struct pids {
	int *list;
	size_t count, room;
};

static bool add(pid_t pid, void *context)
{
	struct pids *pids = context;

	if (pids->count == pids->room) {
		pids->room = pids->room ? 2 * pids->room : 64;
		pids->list = realloc(pids->list, pids->room * sizeof *pids->list);
		if (!pids->list)
			abort();
	}
	pids->list[pids->count++] = pid;
	return true;
}

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* A container without a control group of its own shows its init. */
static void gather(const struct state *s, struct pids *pids)
{
	processes_walk(state_meta(s, "cgroup"), add, pids);
	if (!pids->count && state_status(s) != STATUS_STOPPED)
		add(s->pid, pids);
	if (pids->count)
		qsort(pids->list, pids->count, sizeof *pids->list, compare);
}

static void print_json(const struct pids *pids)
{
	printf("[");
	for (size_t i = 0; i < pids->count; i++)
		printf("%s%d", i ? "," : "", pids->list[i]);
	printf("]\n");
}

/* The number of the column headed PID, or -1. */
static int pid_column(const char *header)
{
	char copy[1024];
	int column = 0;

	snprintf(copy, sizeof copy, "%s", header);
	for (char *rest = NULL, *word = strtok_r(copy, " \t\n", &rest); word; word = strtok_r(NULL, " \t\n", &rest)) {
		if (!strcmp(word, "PID"))
			return column;
		column++;
	}
	return -1;
}

static int number_in_column(const char *line, int column)
{
	line += strspn(line, " \t");
	for (int i = 0; i < column; i++) {
		line += strcspn(line, " \t");
		line += strspn(line, " \t");
	}
	return atoi(line);
}

static int print_lines(FILE *from, const struct pids *pids, struct failure *f)
{
	char *line = NULL;
	size_t room = 0;
	int column = -1;

	while (getline(&line, &room, from) > 0) {
		if (column < 0) {
			column = pid_column(line);
			if (column < 0)
				return fail(f, 0, "couldn't find PID field in ps output");
			fputs(line, stdout);
			continue;
		}
		int pid = number_in_column(line, column);
		if (pids->count && bsearch(&pid, pids->list, pids->count, sizeof pid, compare))
			fputs(line, stdout);
	}
	return 0;
}

/* Run the host's ps with the caller's options and keep the lines of our processes. */
static int print_table(const struct pids *pids, char **options, struct failure *f)
{
	int ends[2], status;
	pid_t child;
	posix_spawn_file_actions_t actions;
	struct failure *failure = f;

	if (pipe(ends) < 0)
		return fail(f, errno, "pipe for ps");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	posix_spawn_file_actions_addclose(&actions, ends[0]);
	posix_spawn_file_actions_addclose(&actions, ends[1]);
	int error = posix_spawnp(&child, "ps", &actions, NULL, options, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	if (error)
		return fail(f, error, "execute ps");
	FILE *from = fdopen(ends[0], "r");
	int result = from ? print_lines(from, pids, failure) : fail(f, errno, "read from ps");
	if (from)
		fclose(from);
	if (waitpid(child, &status, 0) == child && status != 0 && result == 0)
		result = fail(f, 0, "ps failed with status %d", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	return result;
}

static int show(const struct state *s, const char *format, char **options, struct failure *f)
{
	struct pids pids = {0};
	int status = 0;

	gather(s, &pids);
	if (!strcmp(format, "json"))
		print_json(&pids);
	else
		status = print_table(&pids, options, f);
	free(pids.list);
	return status;
}

int verb_ps(const char *root, int argc, char **argv)
{
	const char *format = "table";
	const struct option table[] = {{"format", 'f', NULL, &format}, {0}};
	struct failure f = {0};
	struct state s;
	static char *usual[] = {"ps", "-ef", NULL};
	int first = options_take(table, argc, argv, &f);

	if (first < 0 || verb_operands(first, argc, argv, 1, argc, &f) < 0)
		return verb_end(-1, &f);
	if (strcmp(format, "table") != 0 && strcmp(format, "json") != 0)
		return verb_end(fail(&f, 0, "invalid format option"), &f);
	const char *id = argv[first];
	/* Everything behind the id is for ps; its place becomes ps's own name. */
	argv[first] = usual[0];
	if (state_open(&s, root, id, &f) < 0)
		return verb_end(-1, &f);
	int status = show(&s, format, argc - first > 1 ? argv + first : usual, &f);
	state_close(&s);
	return fflush(stdout) != 0 ? 1 : verb_end(status, &f);
}
