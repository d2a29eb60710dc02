#include "commands.h"
#include "verb.h"

/* Freeze or thaw; a plan without a freezer has an empty program. */
static int change(struct state *s, unsigned program, struct failure *f)
{
	enum status status = state_status(s);

	if (program == PROGRAM_PAUSE && status != STATUS_RUNNING && status != STATUS_CREATED)
		return fail(f, 0, "container not running");
	if (program == PROGRAM_RESUME && status != STATUS_PAUSED)
		return fail(f, 0, "container not paused");
	if (s->plan.data && !s->plan.programs[program].count)
		return fail(f, 0, "container has no control group that can be frozen");
	return verb_run_program(s, program, f);
}

static int pause_or_resume(const char *root, int argc, char **argv, unsigned program)
{
	struct failure f = {0};
	struct state s;
	const char *id = verb_only_id(argc, argv, &f);

	if (!id || verb_open(&s, root, id, &f) < 0)
		return verb_end(-1, &f);
	int status = change(&s, program, &f);
	state_close(&s);
	return verb_end(status, &f);
}

int verb_pause(const char *root, int argc, char **argv)
{
	return pause_or_resume(root, argc, argv, PROGRAM_PAUSE);
}

int verb_resume(const char *root, int argc, char **argv)
{
	return pause_or_resume(root, argc, argv, PROGRAM_RESUME);
}
