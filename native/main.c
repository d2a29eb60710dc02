/* `wherry`, `wherry-runtime`, and the commands with an "@" that Python replaces itself by. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "options.h"
#include "report.h"
#include "state.h"

#ifndef VERSION
#define VERSION "unknown"
#endif
#ifndef COMMIT
#define COMMIT VERSION
#endif

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"@create", command_create}, {"@run", command_run},       {"@exec", command_exec},
	{"@monitor", command_monitor}, {"@verify", command_verify},
	{"@hold", command_hold},     {"@unshare", command_unshare},
};

static const struct {
	const char *name;
	int (*run)(const char *root, int argc, char **argv);
} verbs[] = {
	{"start", verb_start}, {"state", verb_state}, {"kill", verb_kill}, {"delete", verb_delete},
	{"pause", verb_pause}, {"resume", verb_resume}, {"ps", verb_ps}, {"list", verb_list},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static int run_command(int argc, char **argv)
{
	for (size_t i = 0; i < COUNT(commands); i++)
		if (!strcmp(argv[0], commands[i].name))
			return commands[i].run(argc, argv);
	fprintf(stderr, "unknown command %s\n", argv[0]);
	return 1;
}

/* Help texts live in Python. What follows "--" is no request for help. */
static bool asks_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

static int run_verb(size_t verb, const struct globals *g, int argc, char **argv)
{
	char root[PATH_MAX];
	struct failure f = {0};

	if (report_open(g->log, g->log_format, g->debug, &f) < 0 || state_root(root, g->root, &f) < 0) {
		report_failure(&f);
		return 1;
	}
	return verbs[verb].run(root, argc, argv);
}

static int print_version(void)
{
	printf("wherry-runtime version %s\ncommit: %s\nspec: 1.3.0\n", VERSION, COMMIT);
	return fflush(stdout) == 0 ? 0 : 1;
}

static int runtime(int argc, char **argv)
{
	struct globals g;
	struct failure f;
	int first = globals_take(&g, argc, argv, &f);

	if (first >= 0 && !g.help) {
		if (g.version)
			return print_version();
		for (size_t i = 0; first < argc && i < COUNT(verbs); i++)
			if (!strcmp(argv[first], verbs[i].name) && !asks_help(argc - first, argv + first))
				return run_verb(i, &g, argc - first, argv + first);
	}
	return front("runtime", argc, argv);
}

int main(int argc, char **argv)
{
	if (argc < 1)
		return 1;
	if (argc > 1 && argv[1][0] == '@')
		return run_command(argc - 1, argv + 1);
	const char *slash = strrchr(argv[0], '/');
	if (!strcmp(slash ? slash + 1 : argv[0], "wherry-runtime"))
		return runtime(argc, argv);
	return front("command", argc, argv);
}
