/* What went wrong, in a form that crosses processes as one message.
 *
 * The error convention of the whole program: a function that can fail returns 0 (or a value >= 0) on success
 * and -1 on failure, and the deepest function that knows the most fills `struct failure` once, by
 * `return fail(f, errno, "mount %s on %s", type, target);`. Callers only pass -1 on. */
#pragma once

#include <stdint.h>

struct failure {
	int32_t error;     /* errno, or 0 when the text says all */
	uint16_t program;  /* PROGRAM_*, or UINT16_MAX outside a plan */
	uint16_t step;     /* number of the step in its program, from 0 */
	int32_t exit_status; /* what the command should exit with; 1 unless set (126 and 127 for commands not run) */
	char where[160];   /* the place in the user's document; filled by the interpreter from the step's label */
	char text[512];    /* what was attempted, e.g. "mount tmpfs on /data" */
};

/* Fill and return -1. */
__attribute__((format(printf, 3, 4))) int fail(struct failure *f, int error, const char *format, ...);

/* One line: "where: text: strerror", without the parts that are empty. Returns its length. */
int failure_line(const struct failure *f, char *buffer, unsigned size);
