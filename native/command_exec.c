/* @exec: run HOST of an exec plan; wait for the process unless it is to be left alone. */
#include "commands.h"
#include "foreground.h"
#include "launch.h"

static int start(struct launch *l, struct foreground *g, struct failure *f)
{
	if (!l->detach && foreground_begin(g, &l->context, f) < 0)
		return -1;
	if (run_program(&l->context, PROGRAM_HOST, f) < 0)
		return -1;
	return l->detach ? 0 : foreground_terminal(g, &l->context, f);
}

int command_exec(int argc, char **argv)
{
	struct launch l;
	struct foreground g;
	struct failure f = {0};
	if (launch_begin(&l, argc, argv, &f) < 0 || start(&l, &g, &f) < 0)
		return launch_failed(&l, &f);
	return l.detach ? 0 : foreground_wait(&g, &l.context);
}
