#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "commands.h"
#include "json.h"
#include "options.h"
#include "report.h"
#include "verb.h"

enum { COLUMNS = 6, LEAST_WIDTH = 12, GAP = 3 };

/* A table is printed in two passes over the containers: the first one measures. */
struct table {
	int widths[COLUMNS];
	bool measuring;
};

static void row(struct table *t, const char *const cells[COLUMNS])
{
	for (int i = 0; i < COLUMNS; i++) {
		int width = (int)strlen(cells[i]) + GAP;
		if (t->measuring && width > t->widths[i])
			t->widths[i] = width;
		else if (!t->measuring && i < COLUMNS - 1)
			printf("%-*s", t->widths[i] < LEAST_WIDTH ? LEAST_WIDTH : t->widths[i], cells[i]);
		else if (!t->measuring)
			printf("%s\n", cells[i]);
	}
}

/* The user's name in /etc/passwd, else the number. */
static void user_name(uid_t uid, char *out, size_t size)
{
	char line[1024];
	FILE *users = fopen("/etc/passwd", "re");

	snprintf(out, size, "%u", (unsigned)uid);
	while (users && fgets(line, sizeof line, users)) {
		char *rest = line, *name = strsep(&rest, ":");
		if (!strsep(&rest, ":") || !rest || (uid_t)strtoul(rest, NULL, 10) != uid)
			continue;
		snprintf(out, size, "%s", name);
		break;
	}
	if (users)
		fclose(users);
}

/* Who made the container, unless its plan says so. */
static void owner_name(const struct state *s, char *out, size_t size)
{
	struct stat st;

	json_plain(out, size, state_meta(s, "owner_json"));
	if (!*out && fstat(s->dir, &st) == 0)
		user_name(st.st_uid, out, size);
}

static const char *or_empty(const char *json)
{
	return *json ? json : "\"\"";
}

static void print_json(const struct state *s, const char *id, bool first)
{
	enum status status = state_status(s);
	const char *annotations = state_meta(s, "annotations_json");
	char owner[256], quoted[520];

	owner_name(s, owner, sizeof owner);
	json_quote(quoted, sizeof quoted, owner);
	printf("%s{\"ociVersion\":%s,\"id\":\"%s\",\"pid\":%d,\"status\":\"%s\"", first ? "" : ",",
	       or_empty(state_meta(s, "oci_version_json")), id, status == STATUS_STOPPED ? 0 : (int)s->pid,
	       status_name(status));
	printf(",\"bundle\":%s,\"rootfs\":%s,\"created\":\"%s\"", or_empty(state_meta(s, "bundle_json")),
	       or_empty(state_meta(s, "rootfs_json")), s->created);
	if (*annotations)
		printf(",\"annotations\":%s", annotations);
	printf(",\"owner\":%s}", quoted);
}

static void print_row(struct table *t, const struct state *s, const char *id)
{
	enum status status = state_status(s);
	char pid[16], bundle[PATH_MAX], owner[256];

	snprintf(pid, sizeof pid, "%d", status == STATUS_STOPPED ? 0 : (int)s->pid);
	json_plain(bundle, sizeof bundle, state_meta(s, "bundle_json"));
	owner_name(s, owner, sizeof owner);
	row(t, (const char *const[]){id, pid, status_name(status), bundle, s->created, owner});
}

enum form { QUIET, JSON, TABLE };

/* Containers that vanish while we look are passed over; what is no container is not shown. */
static void pass(const char *root, struct dirent **entries, int count, enum form form, struct table *t)
{
	bool first = true;
	struct state s;
	struct failure f;

	for (int i = 0; i < count; i++) {
		const char *id = entries[i]->d_name;
		if (state_open(&s, root, id, &f) < 0)
			continue;
		if (form == QUIET)
			printf("%s\n", id);
		else if (form == JSON)
			print_json(&s, id, first);
		else
			print_row(t, &s, id);
		first = false;
		state_close(&s);
	}
}

static void list(const char *root, struct dirent **entries, int count, enum form form)
{
	static const char *const heads[] = {"ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"};
	struct table t = {.measuring = true};

	if (form == JSON)
		printf("[");
	if (form == TABLE) {
		pass(root, entries, count, form, &t);
		t.measuring = false;
		row(&t, heads);
	}
	pass(root, entries, count, form, &t);
	if (form == JSON)
		printf("]\n");
}

int verb_list(const char *root, int argc, char **argv)
{
	const char *format = "table";
	bool quiet = false;
	const struct option table[] = {{"format", 'f', NULL, &format}, {"quiet", 'q', &quiet, NULL}, {0}};
	struct failure f = {0};
	int first = options_take_all(table, argc, argv, &f);

	if (first < 0 || verb_operands(first, argc, argv, 0, 0, &f) < 0)
		return verb_end(-1, &f);
	if (strcmp(format, "table") != 0 && strcmp(format, "json") != 0)
		return verb_end(fail(&f, 0, "invalid format option"), &f);
	struct dirent **entries = NULL;
	int count = scandir(root, &entries, NULL, alphasort);
	list(root, entries, count, quiet ? QUIET : !strcmp(format, "json") ? JSON : TABLE);
	for (int i = 0; i < count; i++)
		free(entries[i]);
	free(entries);
	return fflush(stdout) == 0 ? 0 : 1;
}
