/* Control groups by host path, for programs and verbs alike. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "failure.h"

/* Signal every process of the group and of those below. A missing group is no error. */
int cgroup_signal(const char *path, int signal, struct failure *f);
/* Kill what is left, thaw, remove the group and those below; busy ones are retried until the deadline. */
int cgroup_remove(const char *path, uint64_t deadline_ms, struct failure *f);
/* Wait for another to remove the group. systemd ends a scope when its group tells that it is empty; a group that is gone
 * tells nothing. After the deadline remove it nevertheless. */
int cgroup_vanish(const char *path, uint64_t deadline_ms, struct failure *f);
/* Freeze or thaw, and wait until it is so. version 1: freezer.state, 2: cgroup.freeze. */
int cgroup_freeze(const char *path, unsigned version, bool frozen, uint64_t deadline_ms, struct failure *f);
