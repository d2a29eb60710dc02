/* Protection of our own executable (CVE-2019-5736): what runs near a container must not be the file on the host. */
#pragma once

#include "failure.h"

/* Unless this process already runs from a protected copy, execute one: a read-only detached mount of the executable, else a
 * sealed memory file. `argv` is the whole command line. Returns 0 when protected, -1 on failure. */
int seal(char **argv, struct failure *f);
