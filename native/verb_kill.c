#include <stdbool.h>

#include "commands.h"
#include "options.h"
#include "processes.h"
#include "signals.h"
#include "verb.h"

struct order {
	int signal;
	bool all;
};

/* No lock: a signal must get through while a hook of `start` hangs. */
static int kill_one(const char *root, const char *id, void *context, struct failure *f)
{
	const struct order *order = context;
	struct state s;

	if (state_open(&s, root, id, f) < 0)
		return -1;
	int status = processes_kill(&s, order->signal, order->all, f);
	state_close(&s);
	/* With --all nobody left is what the caller wants. */
	return order->all && status < 0 && !f->error ? 0 : status;
}

int verb_kill(const char *root, int argc, char **argv)
{
	struct order order = {0};
	bool regex = false;
	const struct option table[] = {{"all", 'a', &order.all, NULL}, {"regex", 'r', &regex, NULL}, {0}};
	struct failure f = {0};
	int first = options_take_all(table, argc, argv, &f);

	if (first < 0 || verb_operands(first, argc, argv, 1, 2, &f) < 0)
		return verb_end(-1, &f);
	const char *name = argc - first == 2 ? argv[first + 1] : "TERM";
	order.signal = signal_number(name);
	if (order.signal < 0)
		return verb_end(fail(&f, 0, "unknown signal \"%s\"", name), &f);
	return verb_for_each(root, argv[first], regex, kill_one, &order);
}
