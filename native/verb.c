#include "verb.h"

#include <dirent.h>
#include <errno.h>
#include <regex.h>
#include <signal.h>
#include <stdlib.h>

#include "execute.h"
#include "options.h"
#include "report.h"

int verb_operands(int first, int argc, char **argv, int least, int most, struct failure *f)
{
	int count = argc - first;

	if (least == most && count != least)
		return fail(f, 0, "wherry-runtime: \"%s\" requires exactly %d argument(s)", argv[0], least);
	if (count < least)
		return fail(f, 0, "wherry-runtime: \"%s\" requires a minimum of %d argument(s)", argv[0], least);
	if (count > most)
		return fail(f, 0, "wherry-runtime: \"%s\" requires a maximum of %d argument(s)", argv[0], most);
	return 0;
}

const char *verb_only_id(int argc, char **argv, struct failure *f)
{
	static const struct option none[] = {{0}};
	int first = options_take_all(none, argc, argv, f);

	if (first < 0 || verb_operands(first, argc, argv, 1, 1, f) < 0)
		return NULL;
	return argv[first];
}

int verb_open(struct state *s, const char *root, const char *id, struct failure *f)
{
	if (state_open(s, root, id, f) < 0)
		return -1;
	if (state_lock(s, VERB_DEADLINE_MS, f) >= 0)
		return 0;
	state_close(s);
	return -1;
}

int verb_end(int status, const struct failure *f)
{
	if (status >= 0)
		return 0;
	report_failure(f);
	return f->exit_status ? f->exit_status : 1;
}

void verb_ignore_pipes(void)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	sigaction(SIGPIPE, &ignore, NULL);
}

int verb_no_plan(const struct state *s, struct failure *f)
{
	return fail(f, 0, "the container's plan is %s%s; delete the container and create it again",
	            s->damage ? "damaged: " : "missing", s->damage ? s->damage : "");
}

int verb_run_program(struct state *s, unsigned program, struct failure *f)
{
	struct context context;

	if (!s->plan.data)
		return verb_no_plan(s, f);
	verb_ignore_pipes();
	context_init(&context, &s->plan, s->dir);
	return run_program(&context, program, f);
}

static int for_matches(const char *root, regex_t *pattern,
                       int (*verb)(const char *root, const char *id, void *context, struct failure *f), void *context)
{
	struct dirent **entries;
	struct failure ignored, f;
	int status = 0, count = scandir(root, &entries, NULL, alphasort);

	for (int i = 0; i < count; i++) {
		const char *id = entries[i]->d_name;
		if (state_check_id(id, &ignored) == 0 && regexec(pattern, id, 0, NULL, 0) == 0) {
			f = (struct failure){0};
			status |= verb_end(verb(root, id, context, &f), &f);
		}
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	return status;
}

int verb_for_each(const char *root, const char *id, bool regex,
                  int (*verb)(const char *root, const char *id, void *context, struct failure *f), void *context)
{
	struct failure f = {0};
	regex_t pattern;

	if (!regex)
		return verb_end(verb(root, id, context, &f), &f);
	if (regcomp(&pattern, id, REG_EXTENDED | REG_NOSUB) != 0)
		return verb_end(fail(&f, 0, "invalid regular expression %s", id), &f);
	int status = for_matches(root, &pattern, verb, context);
	regfree(&pattern);
	return status;
}
