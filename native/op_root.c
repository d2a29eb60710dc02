/* The root directory: PROPAGATION, ROOTFS, PIVOT. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "operations.h"
#include "procfs.h"

OPERATION(PROPAGATION)
{
	const char *path = text(c, a[PROPAGATION_PATH]);
	if (mount(NULL, path, NULL, (unsigned long)a[PROPAGATION_FLAGS], NULL) < 0)
		return fail(f, errno, "change the propagation of %s", path);
	return 0;
}

static int make_private(const struct context *c, int fd)
{
	char path[FD_PATH_SIZE];
	struct mount_attributes private = {.propagation = MS_PRIVATE};
	if (sys_mount_setattr(fd, 0, &private) == 0)
		return 0;
	if (errno != ENOSYS && errno != EPERM)
		return -1;
	return mount(NULL, fd_path(c, fd, path), NULL, MS_PRIVATE, NULL);
}

/* pivot_root and move_mount need the mount that holds the root directory to be private: look for it upwards. */
static int make_parent_private(const struct context *c, int root)
{
	autoclose int at = openat(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	while (at >= 0) {
		struct stat here, above;
		if (make_private(c, at) == 0)
			return 0;
		if (errno != EINVAL)
			return -1;
		int up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (up < 0 || fstat(at, &here) < 0 || fstat(up, &above) < 0 ||
		    (here.st_dev == above.st_dev && here.st_ino == above.st_ino)) {
			close_descriptor(&up);
			errno = EINVAL;
			return -1;
		}
		close_descriptor(&at);
		at = up;
	}
	return -1;
}

/* The directory as a mount of its own; returns its descriptor. */
static int bind_onto_itself(const struct context *c, int dir, const char *path)
{
	char target[FD_PATH_SIZE];
	int tree = sys_open_tree(dir, "", TREE_CLONE | TREE_CLOEXEC | WHOLE_TREE | AT_EMPTY_PATH);
	if (tree >= 0) {
		if (sys_move_mount(tree, dir) == 0)
			return tree;
		close_descriptor(&tree);
		return -1;
	}
	if (errno != ENOSYS && errno != EPERM)
		return -1;
	fd_path(c, dir, target);
	if (mount(target, target, NULL, MS_BIND | MS_REC, NULL) < 0)
		return -1;
	return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

OPERATION(ROOTFS)
{
	const char *path = text(c, a[ROOTFS_PATH]);
	c->rootfs = path;
	autoclose int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return fail(f, errno, "open the root directory %s", path);
	if (!(a[ROOTFS_FLAGS] & PLAN_ROOT_BIND)) {
		slot_set(c, SLOT_ROOT, take_descriptor(&dir), 0);
		return 0;
	}
	if (make_parent_private(c, dir) < 0)
		return fail(f, errno, "make the mount of %s private", path);
	int root = bind_onto_itself(c, dir, path);
	if (root < 0)
		return fail(f, errno, "bind the root directory %s onto itself", path);
	slot_set(c, SLOT_ROOT, root, 0);
	return 0;
}

/* The old root lands on top of the new one; what is unmounted there must not be unmounted on the host. */
static int pivot(int root, struct failure *f)
{
	autoclose int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (old < 0 || fchdir(root) < 0)
		return fail(f, errno, "enter the root directory");
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return fail(f, errno, "pivot_root into the root directory");
	if (fchdir(old) < 0 || mount(NULL, ".", NULL, MS_SLAVE | MS_REC, NULL) < 0)
		return fail(f, errno, "separate the old root");
	if (umount2(".", MNT_DETACH) < 0)
		return fail(f, errno, "unmount the old root");
	return chdir("/") < 0 ? fail(f, errno, "chdir /") : 0;
}

/* Field `number` (from 0) of a line of mountinfo. */
static char *field(char *line, unsigned number)
{
	while (number-- > 0 && line)
		line = (line = strchr(line, ' ')) ? line + 1 : NULL;
	return line;
}

/* \040 and the like, in place. */
static void unescape(char *text_)
{
	char *to = text_;
	for (const char *from = text_; *from; from++) {
		if (from[0] == '\\' && from[1] && from[2] && from[3]) {
			*to++ = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
			from += 3;
		} else {
			*to++ = *from;
		}
	}
	*to = 0;
}

static void drop_mount(char *line, const char *rootfs)
{
	char *type = strstr(line, " - "), *path = field(line, 4);
	size_t length = strlen(rootfs);
	if (!type || !path || (strncmp(type + 3, "proc ", 5) != 0 && strncmp(type + 3, "sysfs ", 6) != 0))
		return;
	path[strcspn(path, " ")] = 0;
	unescape(path);
	if (strncmp(path, rootfs, length) == 0 && (path[length] == '/' || !path[length]))
		return;
	mount(NULL, path, NULL, MS_PRIVATE | MS_REC, NULL);
	if (umount2(path, MNT_DETACH) < 0)
		mount("tmpfs", path, "tmpfs", MS_RDONLY, "size=0");
}

/* Without pivot_root the host's mounts stay below; its procfs and sysfs must not serve a user namespace as an example of
 * what may be mounted. */
static void drop_kernel_mounts(const struct context *c)
{
	char buffer[8192];
	size_t held = 0;
	ssize_t got;
	autoclose int fd = procfs_open_self(c, "mountinfo", O_RDONLY);
	while (fd >= 0 && (got = read(fd, buffer + held, sizeof buffer - 1 - held)) > 0) {
		held += (size_t)got;
		buffer[held] = 0;
		char *line = buffer, *end;
		for (; (end = strchr(line, '\n')); line = end + 1) {
			*end = 0;
			drop_mount(line, c->rootfs ? c->rootfs : "/");
		}
		held = strlen(line);
		memmove(buffer, line, held);
	}
}

static int move_over(const struct context *c, int root, struct failure *f)
{
	char path[FD_PATH_SIZE];
	autoclose int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	drop_kernel_mounts(c);
	if (sys_move_mount(root, old) < 0 && mount(fd_path(c, root, path), "/", NULL, MS_MOVE, NULL) < 0)
		return fail(f, errno, "move the root directory to /");
	if (fchdir(root) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return fail(f, errno, "enter the root directory");
	return 0;
}

OPERATION(PIVOT)
{
	int root = slot(c, SLOT_ROOT);
	if (a[PIVOT_HOW] == PLAN_PIVOT_ROOT)
		return pivot(root, f);
	if (a[PIVOT_HOW] == PLAN_PIVOT_MOVE)
		return move_over(c, root, f);
	if (fchdir(root) < 0 || chroot(".") < 0)
		return fail(f, errno, "chroot into the root directory");
	return 0;
}
