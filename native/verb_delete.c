#include <signal.h>
#include <stdbool.h>
#include <string.h>

#include "commands.h"
#include "destroy.h"
#include "options.h"
#include "processes.h"
#include "verb.h"

/* A running container must be deleted by force; one that was created but never started may go. */
static int check_status(const struct state *s, const char *id, struct failure *f)
{
	enum status status = state_status(s);

	if (status == STATUS_STOPPED || status == STATUS_CREATED)
		return 0;
	return fail(f, 0, "cannot delete container %s that is not stopped: %s", id, status_name(status));
}

static int delete_open(struct state *s, const char *root, const char *id, bool force, struct failure *f)
{
	struct failure ignored;

	/* Before the lock: with force, whoever holds it (a hook of `start` that hangs) is not waited for in vain. */
	if (force)
		processes_kill(s, SIGKILL, false, &ignored);
	else if (check_status(s, id, f) < 0)
		return -1;
	if (state_lock(s, VERB_DEADLINE_MS, f) < 0 || (!force && check_status(s, id, f) < 0))
		return -1;
	return destroy(s, root, id, f);
}

static int delete_one(const char *root, const char *id, void *context, struct failure *f)
{
	bool force = *(bool *)context;
	struct state s;

	int status = state_open(&s, root, id, f);
	if (status == 0) {
		status = delete_open(&s, root, id, force, f);
		state_close(&s);
	}
	state_remove_drafts(root, id);
	return force && status < 0 && !strcmp(f->text, NO_CONTAINER) ? 0 : status;
}

int verb_delete(const char *root, int argc, char **argv)
{
	bool force = false, regex = false;
	const struct option table[] = {{"force", 'f', &force, NULL}, {"regex", 'r', &regex, NULL}, {0}};
	struct failure f = {0};
	int first = options_take_all(table, argc, argv, &f);

	if (first < 0 || verb_operands(first, argc, argv, 1, 1, &f) < 0)
		return verb_end(-1, &f);
	return verb_for_each(root, argv[first], regex, delete_one, &force);
}
