/* LANDLOCK. */
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "operations.h"

enum {
	RULE_PATH = 1,
	RULE_PORT = 2,
	/* execute, write, read, truncate, ioctl: what also makes sense for something that is no directory */
	FILE_RIGHTS = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15,
};

struct ruleset {
	uint64_t fs, net, scoped;
};

struct path_rule {
	uint64_t access;
	int32_t parent;
} __attribute__((packed));

struct port_rule {
	uint64_t access, port;
};

/* Older kernels know a shorter structure; what they do not know is not asked of them. */
static int create_ruleset(const struct ruleset *r)
{
	size_t size = r->scoped ? sizeof *r : r->net ? offsetof(struct ruleset, scoped) : offsetof(struct ruleset, net);
	return (int)syscall(NR_LANDLOCK_CREATE_RULESET, r, size, 0);
}

static int allow_path(int ruleset, const char *path, uint64_t access, struct failure *f)
{
	struct stat status;
	autoclose int fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status) < 0)
		return fail(f, errno, "landlock: open %s", path);
	struct path_rule rule = {.access = access, .parent = fd};
	if (!S_ISDIR(status.st_mode))
		rule.access &= FILE_RIGHTS;
	if (rule.access && syscall(NR_LANDLOCK_ADD_RULE, ruleset, RULE_PATH, &rule, 0) < 0)
		return fail(f, errno, "landlock: allow %s", path);
	return 0;
}

static int allow_paths(const struct context *c, const uint64_t *a, int ruleset, struct failure *f)
{
	size_t size, index = 0;
	const char *end, *path = plan_list(c->plan, a[LANDLOCK_PATHS], &end);
	const uint64_t *access = (const void *)plan_bytes(c->plan, a[LANDLOCK_PATH_ACCESS], &size);
	for (; path < end && index < size / 8; path += strlen(path) + 1, index++)
		if (allow_path(ruleset, path, access[index], f) < 0)
			return -1;
	return 0;
}

static int allow_ports(const struct context *c, const uint64_t *a, int ruleset, struct failure *f)
{
	size_t size;
	const uint64_t *pair = (const void *)plan_bytes(c->plan, a[LANDLOCK_PORTS], &size);
	for (size_t i = 0; i + 1 < size / 8; i += 2) {
		struct port_rule rule = {.access = pair[i + 1], .port = pair[i]};
		if (syscall(NR_LANDLOCK_ADD_RULE, ruleset, RULE_PORT, &rule, 0) < 0)
			return fail(f, errno, "landlock: allow port %llu", (unsigned long long)pair[i]);
	}
	return 0;
}

OPERATION(LANDLOCK)
{
	struct ruleset r = {.fs = a[LANDLOCK_FS], .net = a[LANDLOCK_NET], .scoped = a[LANDLOCK_SCOPED]};
	autoclose int ruleset = create_ruleset(&r);
	if (ruleset < 0)
		return fail(f, errno, "landlock: make a ruleset");
	if (allow_paths(c, a, ruleset, f) < 0 || allow_ports(c, a, ruleset, f) < 0)
		return -1;
	if (syscall(NR_LANDLOCK_RESTRICT_SELF, ruleset, 0) < 0)
		return fail(f, errno, "landlock: restrict the process");
	return 0;
}
