/* Control groups: CGROUP_DIR, CGROUP_ENTER, CGROUP_KILL, CGROUP_REMOVE, CGROUP_VANISH, FREEZE, CGROUP_CONTROLLERS, CGROUP_OWN. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cgroup.h"
#include "operations.h"

static int open_directory(const char *path)
{
	return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* An empty cpuset file takes its parent's content: an empty cpuset holds no process. */
static int inherit_cpuset(int parent, int group, const char *file)
{
	char content[4096];
	if (read_small(group, file, content, sizeof content) != 0)
		return 0;
	ssize_t length = read_small(parent, file, content, sizeof content);
	return length > 0 ? write_small(group, file, content, (size_t)length) : 0;
}

static int fill_cpuset(const char *path)
{
	autoclose int group = open_directory(path);
	autoclose int parent = group < 0 ? -1 : openat(group, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0)
		return -1;
	if (inherit_cpuset(parent, group, "cpuset.cpus") < 0)
		return -1;
	return inherit_cpuset(parent, group, "cpuset.mems");
}

/* Make the group with its parents, from the top down. Returns 1 when the group itself is new. */
static int make_groups(const char *path, bool cpuset)
{
	char part[PATH_MAX];
	size_t length = strlen(path);
	bool made = false;
	if (length >= sizeof part) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (!cpuset) { /* most often only the last one is missing */
		if (mkdir(path, 0755) == 0)
			return 1;
		if (errno != ENOENT)
			return errno == EEXIST ? 0 : -1;
	}
	for (size_t i = 1; i <= length; i++) {
		if (i < length && path[i] != '/')
			continue;
		memcpy(part, path, i);
		part[i] = 0;
		made = mkdir(part, 0755) == 0;
		if (!made && errno != EEXIST)
			return -1;
		if (made && cpuset && fill_cpuset(part) < 0)
			return -1;
	}
	return made;
}

static bool is_frozen(int group)
{
	char content[32];
	if (read_small(group, "freezer.state", content, sizeof content) > 0)
		return strcmp(content, "THAWED") != 0;
	return read_small(group, "cgroup.freeze", content, sizeof content) > 0 && content[0] == '1';
}

static int must_be_unused(int group, const char *path, struct failure *f)
{
	char content[32];
	if (read_small(group, "cgroup.procs", content, sizeof content) > 0)
		return fail(f, 0, "container's cgroup is not empty: %s holds process %.12s", path,
			    strtok(content, "\n"));
	if (is_frozen(group))
		return fail(f, 0, "container's cgroup is frozen: %s", path);
	return 0;
}

static bool no_permission(int error)
{
	return error == EACCES || error == EPERM || error == EROFS;
}

OPERATION(CGROUP_DIR)
{
	const char *path = text(c, a[CGROUP_DIR_PATH]);
	uint64_t flags = a[CGROUP_DIR_FLAGS];
	int made = make_groups(path, flags & PLAN_CGROUP_CPUSET);
	autoclose int fd = made < 0 ? -1 : open_directory(path);
	if (fd < 0) {
		slot_set(c, a[CGROUP_DIR_SLOT], -1, SLOT_GROUP_OPTIONAL);
		if (flags & PLAN_CGROUP_OPTIONAL && no_permission(errno))
			return 0;
		return fail(f, errno, "make the control group %s", path);
	}
	if (flags & PLAN_CGROUP_CPUSET && !made && fill_cpuset(path) < 0)
		return fail(f, errno, "set up the cpuset of %s", path);
	if (flags & PLAN_CGROUP_NEW && !made && must_be_unused(fd, path, f) < 0)
		return -1;
	if (c->group_count < CONTEXT_GROUPS)
		c->groups[c->group_count++] = path;
	slot_set(c, a[CGROUP_DIR_SLOT], take_descriptor(&fd), flags & PLAN_CGROUP_OPTIONAL ? SLOT_GROUP_OPTIONAL : 0);
	return 0;
}

static int enter(const struct context *c, int group)
{
	char pid[16];
	if (c->program == PROGRAM_HOST) {
		size_t length = (size_t)snprintf(pid, sizeof pid, "%d", c->child);
		return write_small(group, "cgroup.procs", pid, length);
	}
	/* One's only thread enters a v1 group much faster by `tasks`. */
	if (write_small(group, "tasks", "0", 1) == 0)
		return 0;
	return errno == ENOENT ? write_small(group, "cgroup.procs", "0", 1) : -1;
}

OPERATION(CGROUP_ENTER)
{
	int group = slot(c, a[CGROUP_ENTER_SLOT]);
	if (group < 0 || (c->program == PROGRAM_HOST && a[CGROUP_ENTER_SLOT] == c->birth_group))
		return 0;
	if (enter(c, group) == 0)
		return 0;
	if (c->slot_flags[a[CGROUP_ENTER_SLOT]] & SLOT_GROUP_OPTIONAL && no_permission(errno))
		return 0;
	return fail(f, errno, "move the container's process into its control group");
}

/* While a failed start is undone, groups that it did not make or take over are not ours to touch. */
static bool is_ours(const struct context *c, const char *path)
{
	if (!c->undoing)
		return true;
	for (unsigned i = 0; i < c->group_count; i++) {
		size_t length = strlen(c->groups[i]);
		if (strncmp(path, c->groups[i], length) == 0 && (path[length] == 0 || path[length] == '/'))
			return true;
	}
	return false;
}

OPERATION(CGROUP_KILL)
{
	const char *path = text(c, a[CGROUP_KILL_PATH]);
	return is_ours(c, path) ? cgroup_signal(path, (int)a[CGROUP_KILL_SIGNAL], f) : 0;
}

OPERATION(CGROUP_REMOVE)
{
	const char *path = text(c, a[CGROUP_REMOVE_PATH]);
	return is_ours(c, path) ? cgroup_remove(path, a[CGROUP_REMOVE_DEADLINE_MS], f) : 0;
}

OPERATION(CGROUP_VANISH)
{
	const char *path = text(c, a[CGROUP_VANISH_PATH]);
	return is_ours(c, path) ? cgroup_vanish(path, a[CGROUP_VANISH_DEADLINE_MS], f) : 0;
}

OPERATION(FREEZE)
{
	const char *path = text(c, a[FREEZE_PATH]);
	if (!is_ours(c, path))
		return 0;
	if (c->program == PROGRAM_DELETE && access(path, F_OK) < 0)
		return 0;
	return cgroup_freeze(path, (unsigned)a[FREEZE_VERSION], a[FREEZE_FROZEN] != 0, a[FREEZE_DEADLINE_MS], f);
}

static bool has_word(const char *words, const char *word, size_t length)
{
	for (const char *at = words; *at;) {
		size_t size = strcspn(at, " \n");
		if (size == length && strncmp(at, word, length) == 0)
			return true;
		at += size + (at[size] != 0);
	}
	return false;
}

/* "+cpu +memory" of those that are not enabled yet. */
static size_t missing_controllers(const char *enabled, const char *names, char *out, size_t size)
{
	size_t used = 0;
	out[0] = 0;
	for (const char *at = names; *at;) {
		size_t length = strcspn(at, " ");
		if (length && !has_word(enabled, at, length) && used + length + 3 < size)
			used += (size_t)snprintf(out + used, size - used, "%s+%.*s", used ? " " : "", (int)length, at);
		at += length + (at[length] != 0);
	}
	return used;
}

OPERATION(CGROUP_CONTROLLERS)
{
	const char *path = text(c, a[CGROUP_CONTROLLERS_PATH]);
	char enabled[512], wanted[512];
	UNUSED(f);
	mkdir(path, 0755);
	autoclose int group = open_directory(path);
	if (group < 0 || read_small(group, "cgroup.subtree_control", enabled, sizeof enabled) < 0)
		return 0; /* the limit that needs it will tell */
	size_t length = missing_controllers(enabled, text(c, a[CGROUP_CONTROLLERS_NAMES]), wanted, sizeof wanted);
	if (length == 0 || write_small(group, "cgroup.subtree_control", wanted, length) == 0)
		return 0;
	for (char *rest = wanted, *word; (word = strtok_r(rest, " ", &rest));)
		write_small(group, "cgroup.subtree_control", word, strlen(word));
	return 0;
}

OPERATION(CGROUP_OWN)
{
	int group = slot(c, a[CGROUP_OWN_SLOT]);
	uid_t uid = (uid_t)a[CGROUP_OWN_UID];
	if (group < 0)
		return 0;
	if (fchownat(group, "", uid, (gid_t)-1, AT_EMPTY_PATH) < 0)
		return fail(f, errno, "give the control group to user %u", uid);
	const char *end, *file = plan_list(c->plan, a[CGROUP_OWN_FILES], &end);
	for (; file < end; file += strlen(file) + 1)
		if (fchownat(group, file, uid, (gid_t)-1, AT_SYMLINK_NOFOLLOW) < 0 && errno != ENOENT)
			return fail(f, errno, "give %s of the control group to user %u", file, uid);
	return 0;
}
