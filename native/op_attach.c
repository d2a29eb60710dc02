/* Trees of mounts: TREE, TREE_ATTR, ATTACH, ATTR, PROPAGATE. */
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "mounting.h"
#include "operations.h"
#include "procfs.h"

static int open_source(const struct context *c, const uint64_t *a)
{
	int nofollow = a[TREE_FLAGS] & PLAN_TREE_NOFOLLOW ? O_NOFOLLOW : 0;
	const char *path = text(c, a[TREE_PATH]);
	if (a[TREE_BASE] == SLOT_ROOT)
		return root_open(slot(c, SLOT_ROOT), path, O_PATH | nofollow);
	int dir = a[TREE_BASE] == SLOT_NONE ? AT_FDCWD : slot(c, a[TREE_BASE]);
	return openat(dir, path, O_PATH | O_CLOEXEC | nofollow);
}

OPERATION(TREE)
{
	unsigned whole = a[TREE_FLAGS] & PLAN_TREE_RECURSIVE;
	autoclose int source = open_source(c, a);
	if (source < 0)
		return fail(f, errno, "open the mount's source %s", text(c, a[TREE_PATH]));
	struct stat status;
	if (fstat(source, &status) == 0 && S_ISLNK(status.st_mode)) { /* only for ATTACH_COPY_SYMLINK */
		slot_set(c, a[TREE_SLOT], take_descriptor(&source), SLOT_TREE_PATH);
		return 0;
	}
	int tree = sys_open_tree(source, "", TREE_CLONE | TREE_CLOEXEC | AT_EMPTY_PATH | (whole ? WHOLE_TREE : 0));
	if (tree >= 0) {
		slot_set(c, a[TREE_SLOT], tree, 0);
		return 0;
	}
	if (errno != ENOSYS && errno != EPERM)
		return fail(f, errno, "take the mount's source %s", text(c, a[TREE_PATH]));
	slot_set(c, a[TREE_SLOT], take_descriptor(&source), (uint8_t)(SLOT_TREE_PATH | (whole ? SLOT_TREE_WHOLE : 0)));
	return 0;
}

OPERATION(TREE_ATTR)
{
	int userns = slot(c, a[TREE_ATTR_USERNS]);
	bool whole = a[TREE_ATTR_FLAGS] & PLAN_ATTR_RECURSIVE;
	struct mount_attributes attributes = {
		.set = a[TREE_ATTR_SET] | (userns >= 0 ? ATTRIBUTE_IDMAP : 0),
		.clear = a[TREE_ATTR_CLEAR],
		.propagation = a[TREE_ATTR_PROPAGATION],
		.userns_fd = userns >= 0 ? (uint64_t)userns : 0,
	};
	uint8_t *flags = &c->slot_flags[a[TREE_ATTR_SLOT] % PLAN_SLOTS];
	bool is_path = *flags & SLOT_TREE_PATH;
	if (!is_path && sys_mount_setattr(slot(c, a[TREE_ATTR_SLOT]), whole ? WHOLE_TREE : 0, &attributes) == 0)
		return 0;
	if (userns >= 0 || (!is_path && errno != ENOSYS && errno != EPERM))
		return fail(f, is_path ? ENOSYS : errno, userns >= 0 ? "map the mount's ids" : "set the mount's options");
	*flags |= SLOT_TREE_PENDING; /* ATTACH makes up for it */
	return 0;
}

/* Do with mount(2), after attaching, what the TREE_ATTR steps of this slot asked for. */
static int make_up(struct context *c, const uint64_t *a, struct failure *f)
{
	const char *path = text(c, a[ATTACH_TARGET]);
	autoclose int fd = root_open(slot(c, SLOT_ROOT), path, O_PATH);
	for (const struct step *s = plan_first(c->plan, c->program); s && s != c->step;
	     s = plan_next(c->plan, c->program, s)) {
		const uint64_t *b = s->words;
		if (strcmp(plan_instruction_name(s->code), "TREE_ATTR") != 0 || b[TREE_ATTR_SLOT] != a[ATTACH_SLOT])
			continue;
		uint64_t whole = b[TREE_ATTR_FLAGS] & PLAN_ATTR_RECURSIVE ? MS_REC : 0;
		if (set_attributes(c, fd, b[TREE_ATTR_SET], b[TREE_ATTR_CLEAR], whole) < 0)
			return fail(f, errno, "set the options of the mount on %s", path);
		if (b[TREE_ATTR_PROPAGATION] && set_propagation(c, fd, b[TREE_ATTR_PROPAGATION] | whole) < 0)
			return fail(f, errno, "set the propagation of the mount on %s", path);
	}
	return 0;
}

static int copy_symlink(struct context *c, int source, const char *path, struct failure *f)
{
	char target[PATH_MAX], name[NAME_MAX + 1];
	ssize_t length = readlinkat(source, "", target, sizeof target - 1);
	autoclose int parent = root_parent(slot(c, SLOT_ROOT), path, name);
	if (length < 0 || parent < 0)
		return fail(f, errno, "copy a symbolic link to %s", path);
	target[length] = 0;
	if (symlinkat(target, parent, name) == 0)
		return 0;
	char there[PATH_MAX];
	int error = errno;
	ssize_t found = error == EEXIST ? readlinkat(parent, name, there, sizeof there) : -1;
	if (found == length && memcmp(there, target, (size_t)length) == 0)
		return 0;
	return fail(f, error, "copy a symbolic link to %s", path);
}

static int open_target(const struct context *c, const uint64_t *a, const struct stat *source)
{
	const char *path = text(c, a[ATTACH_TARGET]);
	bool directory = a[ATTACH_KIND] == PLAN_KIND_LIKE_SOURCE ? S_ISDIR(source->st_mode)
								  : a[ATTACH_KIND] == PLAN_KIND_DIRECTORY;
	if (a[ATTACH_FLAGS] & PLAN_ATTACH_NOFOLLOW) {
		int fd = root_open(slot(c, SLOT_ROOT), path, O_PATH | O_NOFOLLOW);
		if (fd >= 0 || errno != ENOENT)
			return fd;
	}
	return root_make(slot(c, SLOT_ROOT), path, directory ? ROOT_DIRECTORY : ROOT_FILE, directory ? 0755 : 0644);
}

OPERATION(ATTACH)
{
	struct stat source;
	const char *path = text(c, a[ATTACH_TARGET]);
	int tree = slot(c, a[ATTACH_SLOT]);
	uint8_t flags = c->slot_flags[a[ATTACH_SLOT] % PLAN_SLOTS];
	if (fstat(tree, &source) < 0)
		return fail(f, errno, "look at the mount's source");
	if (S_ISLNK(source.st_mode) && a[ATTACH_FLAGS] & PLAN_ATTACH_COPY_SYMLINK)
		return copy_symlink(c, tree, path, f);
	autoclose int target = open_target(c, a, &source);
	if (target < 0)
		return fail(f, errno, "make the mount's target %s", path);
	if (attach(c, tree, target, path, flags, a[ATTACH_FLAGS] & PLAN_ATTACH_NOFOLLOW, f) < 0)
		return -1;
	if (flags & SLOT_TREE_PENDING && make_up(c, a, f) < 0)
		return -1;
	slot_set(c, a[ATTACH_SLOT], -1, 0);
	return 0;
}

static int open_mounted(const struct context *c, const char *path)
{
	return root_open(slot(c, SLOT_ROOT), path, O_PATH);
}

OPERATION(ATTR)
{
	const char *path = text(c, a[ATTR_TARGET]);
	autoclose int fd = open_mounted(c, path);
	if (fd < 0 || set_attributes(c, fd, a[ATTR_SET], a[ATTR_CLEAR], a[ATTR_FLAGS] & PLAN_ATTR_RECURSIVE) < 0)
		return fail(f, errno, "set the options of the mount on %s", path);
	return 0;
}

OPERATION(PROPAGATE)
{
	const char *path = text(c, a[PROPAGATE_TARGET]);
	autoclose int fd = open_mounted(c, path);
	if (fd < 0 || set_propagation(c, fd, a[PROPAGATE_FLAGS]) < 0)
		return fail(f, errno, "set the propagation of the mount on %s", path);
	return 0;
}
