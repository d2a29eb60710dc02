#include <stdio.h>

#include "commands.h"
#include "json.h"
#include "verb.h"

static const char *or_empty(const char *json)
{
	return *json ? json : "\"\"";
}

static void print(const struct state *s, const char *id)
{
	enum status status = state_status(s);
	const char *annotations = state_meta(s, "annotations_json");

	printf("{\n  \"ociVersion\": %s,\n  \"id\": \"%s\",\n", or_empty(state_meta(s, "oci_version_json")), id);
	printf("  \"pid\": %d,\n  \"status\": \"%s\",\n", status == STATUS_STOPPED ? 0 : (int)s->pid, status_name(status));
	printf("  \"bundle\": %s,\n  \"rootfs\": %s,\n", or_empty(state_meta(s, "bundle_json")),
	       or_empty(state_meta(s, "rootfs_json")));
	printf("  \"created\": \"%s\",\n", s->created);
	if (*annotations) {
		printf("  \"annotations\": ");
		json_print(stdout, annotations, 1);
		printf(",\n");
	}
	printf("  \"owner\": %s\n}\n", or_empty(state_meta(s, "owner_json")));
}

int verb_state(const char *root, int argc, char **argv)
{
	struct failure f = {0};
	struct state s;
	const char *id = verb_only_id(argc, argv, &f);

	if (!id || state_open(&s, root, id, &f) < 0)
		return verb_end(-1, &f);
	print(&s, id);
	state_close(&s);
	return fflush(stdout) == 0 ? 0 : 1;
}
