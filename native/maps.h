/* Id maps of a user namespace. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "failure.h"

struct maps {
	const char *uid_map, *gid_map;       /* "inside outside count" lines */
	const char *uid_helper, *gid_helper; /* newuidmap and newgidmap, or NULL to write directly */
	bool deny_setgroups;
};

/* Give the process's new user namespace its maps. */
int maps_write(const struct maps *maps, pid_t pid, struct failure *f);
