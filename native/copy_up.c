/* The content of a directory, copied into an empty file system by descriptor. */
#include <dirent.h>
#include <limits.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "mounting.h"
#include "operations.h"

enum { DEPTH_MAX = 100 };

struct entry64 {
	uint64_t inode;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

static int copy_tree(int from, int to, int depth);

static int copy_xattr(int from, int to, const char *name)
{
	char value[1024];
	ssize_t size = fgetxattr(from, name, value, sizeof value);
	if (size < 0)
		return errno == ENODATA || errno == ERANGE || errno == ENOTSUP ? 0 : -1;
	if (fsetxattr(to, name, value, (size_t)size, 0) == 0)
		return 0;
	return errno == ENOTSUP || errno == EPERM || errno == EACCES ? 0 : -1;
}

/* What the new file system cannot hold is left out. */
static int copy_xattrs(int from, int to)
{
	char names[1024];
	ssize_t size = flistxattr(from, names, sizeof names);
	for (ssize_t at = 0; at < size; at += (ssize_t)strlen(names + at) + 1)
		if (copy_xattr(from, to, names + at) < 0)
			return -1;
	return 0;
}

/* Owner first: changing it clears set-id bits. Times last. */
static int copy_attributes(int from, int to, const struct stat *status)
{
	struct timespec times[] = {status->st_atim, status->st_mtim};
	if (fchown(to, status->st_uid, status->st_gid) < 0 && errno != EPERM && errno != EINVAL)
		return -1;
	if (fchmod(to, status->st_mode & 07777) < 0 || copy_xattrs(from, to) < 0)
		return -1;
	return futimens(to, times);
}

static int copy_bytes(int from, int to)
{
	ssize_t sent;
	do
		sent = sendfile(to, from, NULL, 1 << 20);
	while (sent > 0 || (sent < 0 && errno == EINTR));
	return sent < 0 ? -1 : 0;
}

static int copy_file(int dir, int to_dir, const char *name, const struct stat *status)
{
	autoclose int from = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	autoclose int to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (from < 0 || to < 0 || copy_bytes(from, to) < 0)
		return -1;
	return copy_attributes(from, to, status);
}

static int copy_directory(int dir, int to_dir, const char *name, const struct stat *status, int depth)
{
	if (mkdirat(to_dir, name, 0700) < 0)
		return -1;
	autoclose int from = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	autoclose int to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (from < 0 || to < 0 || copy_tree(from, to, depth + 1) < 0)
		return -1;
	return copy_attributes(from, to, status);
}

static int copy_other(int dir, int to_dir, const char *name, const struct stat *status)
{
	struct timespec times[] = {status->st_atim, status->st_mtim};
	if (S_ISLNK(status->st_mode)) {
		char target[PATH_MAX];
		ssize_t length = readlinkat(dir, name, target, sizeof target - 1);
		if (length < 0)
			return -1;
		target[length] = 0;
		if (symlinkat(target, to_dir, name) < 0)
			return -1;
	} else if (mknodat(to_dir, name, status->st_mode, status->st_rdev) < 0) {
		return errno == EPERM ? 0 : -1; /* a device, in a user namespace */
	}
	if (fchownat(to_dir, name, status->st_uid, status->st_gid, AT_SYMLINK_NOFOLLOW) < 0 && errno != EPERM &&
	    errno != EINVAL)
		return -1;
	return utimensat(to_dir, name, times, AT_SYMLINK_NOFOLLOW);
}

static int copy_entry(int dir, int to_dir, const char *name, int depth)
{
	struct stat status;
	if (fstatat(dir, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -1;
	if (S_ISDIR(status.st_mode))
		return copy_directory(dir, to_dir, name, &status, depth);
	if (S_ISREG(status.st_mode))
		return copy_file(dir, to_dir, name, &status);
	return copy_other(dir, to_dir, name, &status);
}

static int copy_tree(int from, int to, int depth)
{
	_Alignas(8) char buffer[2048];
	long got;
	if (depth > DEPTH_MAX) {
		errno = ELOOP;
		return -1;
	}
	while ((got = syscall(SYS_getdents64, from, buffer, sizeof buffer)) > 0)
		for (long at = 0; at < got;) {
			const struct entry64 *entry = (const void *)(buffer + at);
			at += entry->length;
			if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
				continue;
			if (copy_entry(from, to, entry->name, depth) < 0)
				return -1;
		}
	return got < 0 ? -1 : 0;
}

int copy_up(int from, int to)
{
	struct stat status;
	autoclose int root = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || fstat(from, &status) < 0 || copy_tree(from, root, 0) < 0)
		return -1;
	return copy_attributes(from, root, &status);
}
