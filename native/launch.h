/* What the commands that execute a plan have in common. */
#pragma once

#include <stdbool.h>

#include "execute.h"

struct launch {
	const char *root, *id;  /* NULL for exec */
	int preserved_fds;
	int lock_fd;
	bool detach, keep;
	struct plan plan;
	struct context context;
};

/* Protect the executable, read the options of an "@" command, open log, state folder and plan. */
int launch_begin(struct launch *l, int argc, char **argv, struct failure *f);

/* After a failure: tell, undo everything, remove the state folder. Returns the status to exit with. */
int launch_failed(struct launch *l, const struct failure *f);

/* The container is over: DELETE and, unless it is to be kept, its state folder. */
void launch_over(struct launch *l);
