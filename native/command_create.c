/* @create: run HOST and leave; INIT waits for `start`. */
#include "commands.h"
#include "launch.h"

int command_create(int argc, char **argv)
{
	struct launch l;
	struct failure f = {0};
	if (launch_begin(&l, argc, argv, &f) < 0 || run_program(&l.context, PROGRAM_HOST, &f) < 0)
		return launch_failed(&l, &f);
	return 0;
}
