/* The end of a container, for `delete` and for a `start` whose hooks failed. */
#pragma once

#include "state.h"

/* Kill what runs, wait for it, run the plan's DELETE (poststop hooks, control groups) and remove the state folder. The
 * caller holds the lock. On failure the folder stays, so that deleting can be tried again. */
int destroy(struct state *s, const char *root, const char *id, struct failure *f);
