/* Stand before a container as if one were it: signals go to it, a terminal is passed through, its end is ours. */
#pragma once

#include "execute.h"

struct foreground {
	int signals;   /* signalfd */
	int console;   /* our end of the socket that brings the terminal; -1 */
	int master;    /* the container's terminal; -1 */
};

/* Before HOST: block signals, become the subreaper, fill the console slot if the plan wants a terminal and connects
 * it to nobody. */
int foreground_begin(struct foreground *g, struct context *c, struct failure *f);
/* After HOST: take the terminal. */
int foreground_terminal(struct foreground *g, struct context *c, struct failure *f);
/* Wait for the container's process. Returns its exit status, 128 + signal if one ended it. */
int foreground_wait(struct foreground *g, struct context *c);
