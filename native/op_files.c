/* Files and descriptors: OPEN, CLOSE, MKDIR, SYMLINK, MKNOD, WRITE, FIFO, CHOWN, CONNECT. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "operations.h"
#include "procfs.h"
#include "resolve.h"

static bool inside(uint64_t base)
{
	return base == SLOT_ROOT;
}

static int directory_of(const struct context *c, uint64_t base)
{
	return base == SLOT_NONE ? AT_FDCWD : slot(c, base);
}

static bool left_out(const struct context *c, uint64_t base)
{
	return base < PLAN_SLOTS && c->slots[base] < 0 && c->slot_flags[base] & SLOT_GROUP_OPTIONAL;
}

OPERATION(OPEN)
{
	const char *path = text(c, a[OPEN_PATH]);
	uint64_t flags = a[OPEN_FLAGS] | O_CLOEXEC;
	int fd;
	if (inside(a[OPEN_BASE]))
		fd = root_open(slot(c, SLOT_ROOT), path, (int)flags);
	else if (a[OPEN_RESOLVE])
		fd = sys_openat2(directory_of(c, a[OPEN_BASE]), path, flags, a[OPEN_MODE], a[OPEN_RESOLVE]);
	else
		fd = openat(directory_of(c, a[OPEN_BASE]), path, (int)flags, (mode_t)a[OPEN_MODE]);
	if (fd < 0)
		return fail(f, errno, "open %s", path);
	slot_set(c, a[OPEN_SLOT], fd, 0);
	return 0;
}

OPERATION(CLOSE)
{
	UNUSED(f);
	slot_set(c, a[CLOSE_SLOT], -1, 0);
	return 0;
}

/* mkdir -p on the host. Returns a descriptor of the directory. */
static int make_host_directory(int dir, const char *path, mode_t mode)
{
	char part[PATH_MAX];
	size_t length = strlen(path);
	if (length >= sizeof part) {
		errno = ENAMETOOLONG;
		return -1;
	}
	for (size_t i = 1; i <= length; i++) {
		if (i < length && path[i] != '/')
			continue;
		memcpy(part, path, i);
		part[i] = 0;
		if (mkdirat(dir, part, i < length ? 0755 : mode) < 0 && errno != EEXIST)
			return -1;
	}
	return openat(dir, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int give(int fd, int64_t uid, int64_t gid)
{
	if (uid < 0 && gid < 0)
		return 0;
	return fchownat(fd, "", (uid_t)uid, (gid_t)gid, AT_EMPTY_PATH);
}

OPERATION(MKDIR)
{
	const char *path = text(c, a[MKDIR_PATH]);
	mode_t mode = (mode_t)a[MKDIR_MODE];
	autoclose int fd = inside(a[MKDIR_BASE]) ? root_make(slot(c, SLOT_ROOT), path, ROOT_DIRECTORY, mode)
						 : make_host_directory(directory_of(c, a[MKDIR_BASE]), path, mode);
	if (fd < 0)
		return fail(f, errno, "make directory %s", path);
	if (give(fd, (int64_t)a[MKDIR_UID], (int64_t)a[MKDIR_GID]) < 0)
		return fail(f, errno, "change the owner of %s", path);
	return 0;
}

/* The directory to make something in, and the name to make. */
static int parent_of(const struct context *c, uint64_t base, const char *path, char name[NAME_MAX + 1])
{
	if (inside(base))
		return root_parent(slot(c, SLOT_ROOT), path, name);
	const char *slash = strrchr(path, '/');
	const char *last = slash ? slash + 1 : path;
	char parent[PATH_MAX];
	if (strlen(last) > NAME_MAX || (slash && (size_t)(slash - path) >= sizeof parent)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(name, last);
	snprintf(parent, sizeof parent, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
	return openat(directory_of(c, base), slash == path ? "/" : parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

OPERATION(SYMLINK)
{
	char name[NAME_MAX + 1];
	const char *path = text(c, a[SYMLINK_PATH]);
	autoclose int parent = parent_of(c, a[SYMLINK_BASE], path, name);
	if (parent < 0 || (symlinkat(text(c, a[SYMLINK_TARGET]), parent, name) < 0 && errno != EEXIST))
		return fail(f, errno, "make symbolic link %s", path);
	return 0;
}

static int set_mode(const struct context *c, int fd, mode_t mode)
{
	char path[FD_PATH_SIZE];
	if (syscall(NR_FCHMODAT2, fd, "", mode, AT_EMPTY_PATH) == 0)
		return 0;
	return chmod(fd_path(c, fd, path), mode);
}

/* What stands there must be what was asked for; what we made gets its mode and owner. */
static int settle(const struct context *c, int parent, const char *name, mode_t mode, dev_t device, bool made,
		  const int64_t owner[2])
{
	struct stat status;
	autoclose int fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status) < 0)
		return -1;
	bool is_device = S_ISCHR(mode) || S_ISBLK(mode);
	if ((status.st_mode & S_IFMT) != (mode & S_IFMT) || (is_device && status.st_rdev != device)) {
		errno = EEXIST;
		return -1;
	}
	if (!made)
		return 0;
	if (give(fd, owner[0], owner[1]) < 0)
		return -1;
	return (status.st_mode & 07777) == (mode & 07777) ? 0 : set_mode(c, fd, mode & 07777);
}

static int make_node(const struct context *c, int parent, const char *name, mode_t mode, dev_t device,
		     const int64_t owner[2])
{
	bool made = mknodat(parent, name, mode, device) == 0;
	if (!made && errno != EEXIST)
		return -1;
	return settle(c, parent, name, mode, device, made, owner);
}

OPERATION(MKNOD)
{
	char name[NAME_MAX + 1];
	const char *path = text(c, a[MKNOD_PATH]);
	dev_t device = makedev((unsigned)a[MKNOD_MAJOR], (unsigned)a[MKNOD_MINOR]);
	const int64_t owner[] = {(int64_t)a[MKNOD_UID], (int64_t)a[MKNOD_GID]};
	autoclose int parent = parent_of(c, a[MKNOD_BASE], path, name);
	if (parent < 0)
		return fail(f, errno, "make device %s", path);
	if (make_node(c, parent, name, (mode_t)a[MKNOD_MODE], device, owner) == 0)
		return 0;
	if (errno == EEXIST)
		return fail(f, 0, "make device %s: a file that is not this device exists there", path);
	return fail(f, errno, "make device %s", path);
}

OPERATION(FIFO)
{
	char name[NAME_MAX + 1];
	const char *path = text(c, a[FIFO_PATH]);
	const int64_t owner[] = {(int64_t)a[FIFO_UID], (int64_t)a[FIFO_GID]};
	autoclose int parent = parent_of(c, a[FIFO_BASE], path, name);
	mode_t mode = S_IFIFO | ((mode_t)a[FIFO_MODE] & 07777);
	if (parent < 0 || make_node(c, parent, name, mode, 0, owner) < 0)
		return fail(f, errno, "make fifo %s", path);
	return 0;
}

OPERATION(CHOWN)
{
	char name[NAME_MAX + 1];
	const char *path = text(c, a[CHOWN_PATH]);
	autoclose int parent = parent_of(c, a[CHOWN_BASE], path, name);
	if (parent < 0 || fchownat(parent, name, (uid_t)a[CHOWN_UID], (gid_t)a[CHOWN_GID], AT_SYMLINK_NOFOLLOW) < 0)
		return fail(f, errno, "change the owner of %s", path);
	return 0;
}

static int write_file(const struct context *c, const uint64_t *a, const char *path, const void *data, size_t size)
{
	int create = a[WRITE_FLAGS] & PLAN_WRITE_CREATE ? O_CREAT | O_TRUNC : 0;
	if (inside(a[WRITE_BASE]) && create) {
		char name[NAME_MAX + 1];
		autoclose int parent = root_parent(slot(c, SLOT_ROOT), path, name);
		if (parent < 0)
			return -1;
		autoclose int made = openat(parent, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
		return made < 0 ? -1 : write_all(made, data, size);
	}
	autoclose int fd = inside(a[WRITE_BASE])
				   ? root_open(slot(c, SLOT_ROOT), path, O_WRONLY)
				   : openat(directory_of(c, a[WRITE_BASE]), path, O_WRONLY | create | O_CLOEXEC, 0644);
	return fd < 0 || write(fd, data, size) < 0 ? -1 : 0;
}

OPERATION(WRITE)
{
	const char *path = text(c, a[WRITE_PATH]);
	char number[16];
	size_t size;
	const void *data = plan_bytes(c->plan, a[WRITE_DATA], &size);
	if (left_out(c, a[WRITE_BASE]))
		return 0;
	if (a[WRITE_FLAGS] & PLAN_WRITE_PID) {
		size = (size_t)snprintf(number, sizeof number, "%d", c->child ? c->child : getpid());
		data = number;
	}
	if (write_file(c, a, path, data, size) == 0 || a[WRITE_FLAGS] & PLAN_WRITE_BEST_EFFORT)
		return 0;
	if (errno == ENOENT && a[WRITE_FLAGS] & PLAN_WRITE_IF_PRESENT)
		return 0;
	return fail(f, errno, "write \"%.*s\" to %s", size > 64 ? 64 : (int)size, (const char *)data, path);
}

/* A path too long for a socket address is reached through its directory. */
static int connect_unix(const char *path, int *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *slash = strrchr(path, '/');
	autoclose int dir = -1;
	autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (strlen(path) < sizeof address.sun_path) {
		strcpy(address.sun_path, path);
	} else if (slash && strlen(slash) < 64) {
		char parent[PATH_MAX];
		snprintf(parent, sizeof parent, "%.*s", (int)(slash - path), path);
		dir = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
		snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d%.64s", dir, slash);
	}
	int result = fd < 0 ? -1 : connect(fd, (struct sockaddr *)&address, sizeof address);
	*error = errno;
	return result < 0 ? -1 : take_descriptor(&fd);
}

OPERATION(CONNECT)
{
	int error, fd = connect_unix(text(c, a[CONNECT_PATH]), &error);
	if (fd < 0)
		return fail(f, error, "connect to the socket %s", text(c, a[CONNECT_PATH]));
	slot_set(c, a[CONNECT_SLOT], fd, 0);
	return 0;
}
