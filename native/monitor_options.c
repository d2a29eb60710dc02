/* Options of `@monitor`: `--name VALUE` or `--name=VALUE`, then the number of the plan's descriptor. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "monitor.h"

enum kind { TEXT, PATH, NUMBER, INTEGER, MILLISECONDS, COUNT, FLAG, ARGUMENT, DRIVER, POLICY, UNHEALTHY };

struct option {
	const char *name;
	enum kind kind;
	size_t at;
};

#define AT(field) offsetof(struct monitor_options, field)

static const struct option table[] = {
	{"root", PATH, AT(root)},
	{"id", TEXT, AT(id)},
	{"dir", PATH, AT(dir)},
	{"log", TEXT, AT(log_file)},
	{"log-format", TEXT, AT(log_format)},
	{"lock-fd", INTEGER, AT(lock_fd)},
	{"report-fd", INTEGER, AT(report_fd)},
	{"preserve-fds", INTEGER, AT(preserve_fds)},
	{"detach-start", FLAG, AT(detach_start)},
	{"adopt", FLAG, AT(adopt)},
	{"foreground", FLAG, AT(foreground)},
	{"tty", FLAG, AT(tty)},
	{"stdio-uid", INTEGER, AT(stdio_uid)},
	{"stdio-gid", INTEGER, AT(stdio_gid)},
	{"stdin", FLAG, AT(keep_stdin)},
	{"stdin-once", FLAG, AT(stdin_once)},
	{"log-driver", DRIVER, AT(log_driver)},
	{"log-path", PATH, AT(log_path)},
	{"log-max-size", NUMBER, AT(log_max_size)},
	{"log-max-files", COUNT, AT(log_max_files)},
	{"restart", POLICY, AT(restart)},
	{"memory-cgroup", PATH, AT(memory_cgroup)},
	{"on-exit", ARGUMENT, 0},
	{"delete", FLAG, AT(delete_at_end)},
	{"health-plan", PATH, AT(health_plan)},
	{"health-interval", MILLISECONDS, AT(health_interval_ms)},
	{"health-timeout", MILLISECONDS, AT(health_timeout_ms)},
	{"health-retries", COUNT, AT(health_retries)},
	{"health-start-period", MILLISECONDS, AT(health_start_period_ms)},
	{"health-start-interval", MILLISECONDS, AT(health_start_interval_ms)},
	{"on-unhealthy", UNHEALTHY, AT(on_unhealthy)},
};

static int number(const char *text, uint64_t limit, uint64_t *value)
{
	char *end;

	if (*text < '0' || *text > '9')
		return -1;
	errno = 0;
	*value = strtoull(text, &end, 10);
	return *end || errno || *value > limit ? -1 : 0;
}

/* Position of `text` in a list of names, or -1. */
static int choose(const char *text, const char *const *names)
{
	for (int i = 0; names[i]; i++)
		if (strcmp(text, names[i]) == 0)
			return i;
	return -1;
}

static int set_policy(struct monitor_options *o, const char *value)
{
	static const char *const names[] = {"no", "on-failure", "always", "unless-stopped", NULL};
	int chosen;

	if (strncmp(value, "on-failure:", 11) == 0) {
		o->restart = RESTART_ON_FAILURE;
		return number(value + 11, UINT32_MAX, &o->restart_limit);
	}
	chosen = choose(value, names);
	if (chosen >= 0)
		o->restart = (enum restart_policy)chosen;
	return chosen;
}

static int set_choice(struct monitor_options *o, enum kind kind, const char *value)
{
	static const char *const drivers[] = {"none", "k8s-file", "json-file", "passthrough", NULL};
	static const char *const actions[] = {"none", "kill", "restart", NULL};
	int chosen = choose(value, kind == DRIVER ? drivers : actions);

	if (chosen >= 0 && kind == DRIVER)
		o->log_driver = (enum log_driver)chosen;
	else if (chosen >= 0)
		o->on_unhealthy = (enum on_unhealthy)chosen;
	return chosen;
}

static int set_number(void *field, enum kind kind, const char *value)
{
	uint64_t n;

	if (number(value, kind == NUMBER || kind == MILLISECONDS ? INT64_MAX / 2 : INT32_MAX, &n) < 0)
		return -1;
	if (kind == NUMBER)
		*(uint64_t *)field = n;
	else if (kind == MILLISECONDS)
		*(int64_t *)field = (int64_t)n;
	else if (kind == COUNT)
		*(unsigned *)field = (unsigned)n;
	else
		*(int *)field = (int)n;
	return 0;
}

static int set(struct monitor_options *o, const struct option *option, char *value)
{
	void *field = (char *)o + option->at;

	switch (option->kind) {
	case PATH:
		if (value[0] != '/')
			return -1;
		/* fall through */
	case TEXT:
		*(const char **)field = value;
		return 0;
	case ARGUMENT:
		if (o->on_exit_count == MONITOR_ARGUMENTS)
			return -1;
		o->on_exit[o->on_exit_count++] = value;
		return 0;
	case POLICY:
		return set_policy(o, value);
	case DRIVER:
	case UNHEALTHY:
		return set_choice(o, option->kind, value);
	default:
		return set_number(field, option->kind, value);
	}
}

static const struct option *find(const char *name, size_t length)
{
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (strlen(table[i].name) == length && memcmp(table[i].name, name, length) == 0)
			return &table[i];
	return NULL;
}

/* Take the option at argv[at]. Returns how many words it used. */
static int take(struct monitor_options *o, int argc, char **argv, int at, struct failure *f)
{
	char *name = argv[at] + 2, *equals = strchr(name, '=');
	size_t length = equals ? (size_t)(equals - name) : strlen(name);
	const struct option *option = find(name, length);
	char *value = equals ? equals + 1 : NULL;

	if (!option)
		return fail(f, EINVAL, "@monitor: unknown option --%s", name);
	if (option->kind == FLAG) {
		*(bool *)((char *)o + option->at) = true;
		return 1;
	}
	if (!value && at + 1 < argc)
		value = argv[at + 1];
	if (!value)
		return fail(f, EINVAL, "@monitor: --%s needs a value", option->name);
	if (set(o, option, value) < 0)
		return fail(f, EINVAL, "@monitor: --%s cannot be \"%s\"", option->name, value);
	return equals ? 1 : 2;
}

static int check(const struct monitor_options *o, struct failure *f)
{
	if (!o->root || !o->id)
		return fail(f, EINVAL, "@monitor: --root and --id are needed");
	if ((o->log_driver == LOG_K8S || o->log_driver == LOG_JSON) && !o->log_path)
		return fail(f, EINVAL, "@monitor: --log-path is needed");
	if (o->tty && o->log_driver == LOG_PASSTHROUGH)
		return fail(f, EINVAL, "@monitor: --tty and passthrough exclude each other");
	return 0;
}

int monitor_parse(struct monitor_options *o, int argc, char **argv, struct failure *f)
{
	uint64_t plan_fd;
	int at = 1;

	*o = (struct monitor_options){
		.report_fd = -1, .stdio_uid = -1, .stdio_gid = -1, .lock_fd = -1, .log_max_files = 1, .health_interval_ms = 30000,
		.health_timeout_ms = 30000, .health_retries = 3, .health_start_interval_ms = 5000,
	};
	while (at < argc && strncmp(argv[at], "--", 2) == 0) {
		int used = take(o, argc, argv, at, f);
		if (used < 0)
			return -1;
		at += used;
	}
	if (at + 1 != argc || number(argv[at], INT32_MAX, &plan_fd) < 0)
		return fail(f, EINVAL, "@monitor: the plan's descriptor is needed as the only argument");
	o->plan_fd = (int)plan_fd;
	if (!o->log_max_files)
		o->log_max_files = 1;
	if (!o->health_retries)
		o->health_retries = 1;
	return check(o, f);
}
