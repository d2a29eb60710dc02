/* What the verbs of `wherry-runtime` have in common. */
#pragma once

#include <stdbool.h>

#include "failure.h"
#include "state.h"

enum { VERB_DEADLINE_MS = 10000 };

/* Check the number of operands from `first` on, in runc's words. */
int verb_operands(int first, int argc, char **argv, int least, int most, struct failure *f);

/* Take options and exactly one id; NULL when that fails. */
const char *verb_only_id(int argc, char **argv, struct failure *f);

/* Open a container and take its lock. */
int verb_open(struct state *s, const char *root, const char *id, struct failure *f);

/* The status a verb exits with: reports the failure, if `status` says there is one. */
int verb_end(int status, const struct failure *f);

/* A hook that ends without reading its input is no reason to die of SIGPIPE. */
void verb_ignore_pipes(void);

/* Fail because the state folder holds no usable plan. */
int verb_no_plan(const struct state *s, struct failure *f);

/* Run one program of the kept plan. */
int verb_run_program(struct state *s, unsigned program, struct failure *f);

/* Call `verb` for one container, or (`regex`) for each whose id matches; failures are reported as they come. */
int verb_for_each(const char *root, const char *id, bool regex,
                  int (*verb)(const char *root, const char *id, void *context, struct failure *f), void *context);
