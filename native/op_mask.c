/* MASK, READONLY. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "mounting.h"
#include "operations.h"

/* /dev/null, and nothing that was made to look like it. */
static int null_device(struct context *c)
{
	struct stat status;
	if (c->null_device >= 0)
		return c->null_device;
	autoclose int fd = open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status) < 0)
		return -1;
	if (!S_ISCHR(status.st_mode) || status.st_rdev != 0x103) {
		errno = ENODEV;
		return -1;
	}
	return c->null_device = take_descriptor(&fd);
}

static int make_empty_tree(void)
{
	autoclose int context = sys_fsopen("tmpfs");
	if (context < 0 || sys_fsconfig(context, CONFIG_STRING, "mode", "0755") < 0 ||
	    sys_fsconfig(context, CONFIG_STRING, "nr_inodes", "1") < 0 ||
	    sys_fsconfig(context, CONFIG_FLAG, "ro", NULL) < 0 || sys_fsconfig(context, CONFIG_CREATE, NULL, NULL) < 0)
		return -1;
	return sys_fsmount(context, ATTRIBUTE_RDONLY | ATTRIBUTE_NOSUID | ATTRIBUTE_NODEV | ATTRIBUTE_NOEXEC);
}

/* A new detached mount of the empty directory: the first is made, the others are its clones. */
static int empty_directory(struct context *c)
{
	if (c->empty_tree < 0)
		c->empty_tree = make_empty_tree();
	if (c->empty_tree < 0)
		return -1;
	return sys_open_tree(c->empty_tree, "", TREE_CLONE | TREE_CLOEXEC | AT_EMPTY_PATH);
}

static int mask_directory(struct context *c, int target, const char *path, struct failure *f)
{
	autoclose int tree = empty_directory(c);
	if (tree >= 0)
		return attach(c, tree, target, path, 0, false, f);
	char to[32];
	if (errno != ENOSYS && errno != EPERM && errno != EINVAL)
		return fail(f, errno, "make an empty directory");
	snprintf(to, sizeof to, "/proc/self/fd/%d", target);
	if (mount("tmpfs", to, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=0") < 0)
		return fail(f, errno, "hide %s", path);
	return verify_mounted(c, target, path, false, f);
}

static int mask_file(struct context *c, int target, const char *path, struct failure *f)
{
	int null = null_device(c);
	if (null < 0)
		return fail(f, errno, "open /dev/null of the host");
	autoclose int tree = sys_open_tree(null, "", TREE_CLONE | TREE_CLOEXEC | AT_EMPTY_PATH);
	if (tree >= 0)
		return attach(c, tree, target, path, 0, false, f);
	if (errno != ENOSYS && errno != EPERM)
		return fail(f, errno, "clone /dev/null of the host");
	return attach(c, null, target, path, SLOT_TREE_PATH, false, f);
}

static bool is_missing(int error)
{
	return error == ENOENT || error == ENOTDIR;
}

OPERATION(MASK)
{
	struct stat status;
	const char *path = text(c, a[MASK_PATH]);
	autoclose int target = root_open(slot(c, SLOT_ROOT), path, O_PATH);
	if (target < 0 && is_missing(errno))
		return 0;
	if (target < 0 || fstat(target, &status) < 0)
		return fail(f, errno, "hide %s", path);
	return S_ISDIR(status.st_mode) ? mask_directory(c, target, path, f) : mask_file(c, target, path, f);
}

OPERATION(READONLY)
{
	const char *path = text(c, a[READONLY_PATH]);
	autoclose int target = root_open(slot(c, SLOT_ROOT), path, O_PATH);
	if (target < 0 && is_missing(errno))
		return 0;
	if (target < 0)
		return fail(f, errno, "make %s read-only", path);
	autoclose int tree = sys_open_tree(target, "", TREE_CLONE | TREE_CLOEXEC | AT_EMPTY_PATH | WHOLE_TREE);
	struct mount_attributes attributes = {.set = ATTRIBUTE_RDONLY};
	bool done = tree >= 0 && sys_mount_setattr(tree, WHOLE_TREE, &attributes) == 0;
	if (tree < 0 && errno != ENOSYS && errno != EPERM)
		return fail(f, errno, "make %s read-only", path);
	unsigned flags = tree < 0 ? SLOT_TREE_PATH | SLOT_TREE_WHOLE : 0;
	if (attach(c, tree < 0 ? target : tree, target, path, flags, false, f) < 0)
		return -1;
	if (done)
		return 0;
	autoclose int mounted = root_open(slot(c, SLOT_ROOT), path, O_PATH);
	if (mounted < 0 || set_attributes(c, mounted, ATTRIBUTE_RDONLY, 0, true) < 0)
		return fail(f, errno, "make %s read-only", path);
	return 0;
}
