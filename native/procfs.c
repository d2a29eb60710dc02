#include "procfs.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "operations.h"

/* A procfs that is the root of one and not a directory made to look like it. */
static bool is_procfs(int fd)
{
	struct statfs file_system;
	struct stat status;
	return fstatfs(fd, &file_system) == 0 && file_system.f_type == PROC_MAGIC && fstat(fd, &status) == 0 &&
	       status.st_ino == 1;
}

static int mount_procfs(void)
{
	autoclose int context = sys_fsopen("proc");
	if (context < 0 || sys_fsconfig(context, CONFIG_CREATE, NULL, NULL) < 0)
		return -1;
	return sys_fsmount(context, ATTRIBUTE_NOSUID | ATTRIBUTE_NODEV | ATTRIBUTE_NOEXEC);
}

OPERATION(PROCFS)
{
	UNUSED(a);
	int fd = mount_procfs();
	if (fd < 0) /* not allowed here (a nested container), or an old kernel */
		fd = open("/proc", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return fail(f, errno, "open /proc");
	slot_set(c, SLOT_PROC, fd, 0);
	return is_procfs(fd) ? 0 : fail(f, 0, "/proc is not a procfs");
}

static int open_below(int root, const char *path, int flags)
{
	int fd = sys_openat2(root, path, (uint64_t)flags | O_CLOEXEC, 0,
			     RESOLVE_INSIDE | RESOLVE_XDEV_NOT | RESOLVE_SYMLINKS_NOT | RESOLVE_MAGICLINKS_NOT);
	if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
		return fd;
	fd = openat(root, path, flags | O_NOFOLLOW | O_CLOEXEC);
	struct statfs file_system;
	if (fd >= 0 && (fstatfs(fd, &file_system) < 0 || file_system.f_type != PROC_MAGIC)) {
		close_descriptor(&fd);
		errno = EXDEV;
	}
	return fd;
}

int procfs_open(const struct context *c, const char *path, int flags)
{
	if (slot(c, SLOT_PROC) >= 0)
		return open_below(slot(c, SLOT_PROC), path, flags);
	autoclose int host = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return host < 0 ? -1 : open_below(host, path, flags);
}

int procfs_open_self(const struct context *c, const char *path, int flags)
{
	char name[16], full[128];
	int proc = slot(c, SLOT_PROC) >= 0 ? slot(c, SLOT_PROC) : AT_FDCWD;
	ssize_t length = readlinkat(proc, proc == AT_FDCWD ? "/proc/self" : "self", name, sizeof name - 1);
	if (length < 0)
		return -1;
	name[length] = 0;
	snprintf(full, sizeof full, "%s/%s", name, path);
	return procfs_open(c, full, flags);
}

static int write_once(int fd, const void *data, size_t size)
{
	autoclose int file = fd;
	return file < 0 || write(file, data, size) < 0 ? -1 : 0;
}

int procfs_write(const struct context *c, const char *path, const void *data, size_t size)
{
	return write_once(procfs_open(c, path, O_WRONLY), data, size);
}

int procfs_write_self(const struct context *c, const char *path, const void *data, size_t size)
{
	return write_once(procfs_open_self(c, path, O_WRONLY), data, size);
}

int open_descriptors(const struct context *c)
{
	return procfs_open_self(c, "fd", O_PATH | O_DIRECTORY);
}

int reopen(const struct context *c, int fd, int flags)
{
	char name[16];
	autoclose int dir = open_descriptors(c);
	if (dir < 0)
		return -1;
	snprintf(name, sizeof name, "%d", fd);
	return openat(dir, name, flags | O_CLOEXEC);
}

const char *fd_path(const struct context *c, int fd, char buffer[FD_PATH_SIZE])
{
	bool private = slot(c, SLOT_PROC) >= 0 && fchdir(slot(c, SLOT_PROC)) == 0;
	snprintf(buffer, FD_PATH_SIZE, "%sself/fd/%d", private ? "" : "/proc/", fd);
	return buffer;
}
