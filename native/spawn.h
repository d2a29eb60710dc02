/* Run a program and wait for it, without a heap: hooks and the set-id helpers. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "failure.h"

struct spawn {
	const char *path;
	char *const *argv;
	char *const *envp;
	const struct iovec *input; /* its stdin, one part after another */
	size_t inputs;
	uint64_t timeout_ms;       /* 0: none */
	mode_t umask;
	char output[256];          /* the end of what it wrote to stdout and stderr */
};

/* Returns 0 when it exited with 0; else -1 with the reason and the end of its output in *f. */
int spawn_and_wait(struct spawn *s, struct failure *f);
