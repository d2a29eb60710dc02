/* Command lines in the manner of runc: `--name value`, `--name=value`, one dash or two. */
#pragma once

#include <stdbool.h>

#include "failure.h"

/* A switch (`flag`) or an option with a value (`text`); one of the two is set. */
struct option {
	const char *name;
	char letter;       /* the short form, or 0 */
	bool *flag;
	const char **text;
};

/* Take the options from argv[1] on, up to the first operand. Returns its index (argc if there is none), or -1. The table
 * ends with an entry without a name. "--" ends the options and is passed over. */
int options_take(const struct option *table, int argc, char **argv, struct failure *f);

/* The same for options that may also stand behind operands; the operands are moved to the end of argv. */
int options_take_all(const struct option *table, int argc, char **argv, struct failure *f);

/* Global options, those of runc and crun together. */
struct globals {
	const char *root;
	const char *log;
	const char *log_format;
	bool debug;
	bool version;
	bool help;
};

int globals_take(struct globals *g, int argc, char **argv, struct failure *f);
