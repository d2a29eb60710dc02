#include "commands.h"
#include "destroy.h"
#include "execute.h"
#include "report.h"
#include "verb.h"

static int check_status(enum status status, struct failure *f)
{
	switch (status) {
	case STATUS_CREATED:
		return 0;
	case STATUS_STOPPED:
		return fail(f, 0, "cannot start a container that has stopped");
	case STATUS_RUNNING:
		return fail(f, 0, "cannot start an already running container");
	default:
		return fail(f, 0, "cannot start a container in the %s state", status_name(status));
	}
}

/* A failed poststart hook ends the container's life (runtime-spec, lifecycle step 9). */
static int start(struct state *s, const char *root, const char *id, struct failure *f)
{
	struct context context;
	struct failure other;

	if (check_status(state_status(s), f) < 0)
		return -1;
	if (!s->plan.data)
		return verb_no_plan(s, f);
	verb_ignore_pipes();
	context_init(&context, &s->plan, s->dir);
	context.child = s->pid;
	if (let_go(&context, f) == 0)
		return 0;
	if (f->program == PROGRAM_START && destroy(s, root, id, &other) < 0)
		report_failure(&other);
	return -1;
}

int verb_start(const char *root, int argc, char **argv)
{
	struct failure f = {.program = UINT16_MAX};
	struct state s;
	const char *id = verb_only_id(argc, argv, &f);

	if (!id || verb_open(&s, root, id, &f) < 0)
		return verb_end(-1, &f);
	int status = start(&s, root, id, &f);
	state_close(&s);
	return verb_end(status, &f);
}
