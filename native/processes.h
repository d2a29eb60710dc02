/* The processes of a control group and of the groups below it. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "state.h"

/* Call `each` for every process until it returns false. A missing group has none. */
void processes_walk(const char *group, bool (*each)(pid_t pid, void *context), void *context);

/* Send a signal to the container: to init, or (`all`, or SIGKILL where init's death does not end the others) to all.
 * Returns -1 with "container not running" when there was nobody. */
int processes_kill(const struct state *s, int signal, bool all, struct failure *f);
