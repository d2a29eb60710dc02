/* @run: create, start, stand before the container until it ends, delete. */
#include "commands.h"
#include "descriptor.h"
#include "foreground.h"
#include "launch.h"

static int start(struct launch *l, struct foreground *g, struct failure *f)
{
	if (!l->detach && foreground_begin(g, &l->context, f) < 0)
		return -1;
	if (run_program(&l->context, PROGRAM_HOST, f) < 0)
		return -1;
	if (!l->detach && foreground_terminal(g, &l->context, f) < 0)
		return -1;
	if (let_go(&l->context, f) < 0)
		return -1;
	close_descriptor(&l->context.lock_fd);
	return 0;
}

int command_run(int argc, char **argv)
{
	struct launch l;
	struct foreground g;
	struct failure f = {0};
	if (launch_begin(&l, argc, argv, &f) < 0 || start(&l, &g, &f) < 0)
		return launch_failed(&l, &f);
	if (l.detach)
		return 0;
	int status = foreground_wait(&g, &l.context);
	launch_over(&l);
	return status;
}
