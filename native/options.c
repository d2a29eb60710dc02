#include "options.h"

#include <string.h>

/* The entry for the text between the dashes and a possible "=". */
static const struct option *find(const struct option *table, const char *name, size_t length)
{
	for (const struct option *o = table; o->name; o++) {
		if (length == 1 && o->letter && o->letter == *name)
			return o;
		if (strlen(o->name) == length && !strncmp(o->name, name, length))
			return o;
	}
	return NULL;
}

static int set_flag(bool *flag, const char *word, const char *value, struct failure *f)
{
	if (!value || !strcmp(value, "true") || !strcmp(value, "1"))
		*flag = true;
	else if (!strcmp(value, "false") || !strcmp(value, "0"))
		*flag = false;
	else
		return fail(f, 0, "invalid value for the flag %s: true or false expected", word);
	return 1;
}

/* Take the option at argv[0]. Returns how many words it has, or -1. */
static int take_one(const struct option *table, int argc, char **argv, struct failure *f)
{
	const char *word = argv[0];
	const char *name = word + (word[1] == '-' ? 2 : 1);
	size_t length = strcspn(name, "=");
	const char *value = name[length] ? name + length + 1 : NULL;
	const struct option *o = find(table, name, length);

	if (!o)
		return fail(f, 0, "flag provided but not defined: -%.*s", (int)length, name);
	if (o->flag)
		return set_flag(o->flag, word, value, f);
	if (!value && argc < 2)
		return fail(f, 0, "flag needs an argument: -%.*s", (int)length, name);
	*o->text = value ? value : argv[1];
	return value ? 1 : 2;
}

static bool is_option(const char *word)
{
	return word[0] == '-' && word[1] != '\0';
}

int options_take(const struct option *table, int argc, char **argv, struct failure *f)
{
	int i = 1;

	while (i < argc && is_option(argv[i])) {
		if (!strcmp(argv[i], "--"))
			return i + 1;
		int words = take_one(table, argc - i, argv + i, f);
		if (words < 0)
			return -1;
		i += words;
	}
	return i;
}

int options_take_all(const struct option *table, int argc, char **argv, struct failure *f)
{
	int operands = 0, i = 1;

	/* Operands gather at the front while the options between them are taken out. */
	while (i < argc && strcmp(argv[i], "--") != 0) {
		if (!is_option(argv[i])) {
			argv[1 + operands++] = argv[i++];
			continue;
		}
		int words = take_one(table, argc - i, argv + i, f);
		if (words < 0)
			return -1;
		i += words;
	}
	for (i += i < argc; i < argc; i++)
		argv[1 + operands++] = argv[i];
	memmove(argv + argc - operands, argv + 1, (size_t)operands * sizeof *argv);
	return argc - operands;
}

int globals_take(struct globals *g, int argc, char **argv, struct failure *f)
{
	const char *ignored_text, *log_level = "";
	bool ignored_flag;
	const struct option table[] = {
		{"root", 0, NULL, &g->root},
		{"log", 0, NULL, &g->log},
		{"log-format", 0, NULL, &g->log_format},
		{"log-level", 0, NULL, &log_level},
		{"debug", 0, &g->debug, NULL},
		/* These concern `create` and its like, which Python reads from the same arguments. */
		{"systemd-cgroup", 0, &ignored_flag, NULL},
		{"cgroup-manager", 0, NULL, &ignored_text},
		{"rootless", 0, NULL, &ignored_text},
		{"criu", 0, NULL, &ignored_text},
		{"version", 'v', &g->version, NULL},
		{"help", 'h', &g->help, NULL},
		{0},
	};

	*g = (struct globals){0};
	int verb = options_take(table, argc, argv, f);
	g->debug |= !strcmp(log_level, "debug");
	return verb;
}
