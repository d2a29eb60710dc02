/* @verify PLAN_FD: say whether a plan is intact. */
#include <stdio.h>
#include <stdlib.h>

#include "commands.h"
#include "plan.h"

int command_verify(int argc, char **argv)
{
	struct plan plan;
	const char *why = "its descriptor is not given";
	if (argc == 2 && plan_open(&plan, atoi(argv[1]), &why) == 0) {
		plan_close(&plan);
		return 0;
	}
	fprintf(stderr, "damaged launch plan: %s\n", why);
	return 1;
}
