#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include "mounting.h"
#include "operations.h"
#include "procfs.h"

bool is_root_path(const char *path)
{
	return path[strspn(path, "/.")] == 0 && !strstr(path, "..");
}

/* Where a descriptor is, by statx: only the fields that are used have names. */
struct statx_words {
	uint32_t mask;
	uint8_t to_inode[0x1c];
	uint64_t inode;
	uint8_t to_device[0x60];
	uint64_t device;
	uint64_t mount; /* 0 before Linux 5.8 */
	uint8_t rest[0x68];
};

static int look(int fd, struct statx_words *words)
{
	enum { INODE = 0x100, MOUNT = 0x1000 }; /* STATX_INO, STATX_MNT_ID */
	memset(words, 0, sizeof *words);
	if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, INODE | MOUNT, words) < 0)
		return -1;
	if (!(words->mask & MOUNT))
		words->mount = 0;
	return 0;
}

static bool same_place(int one, int other)
{
	struct statx_words a, b;
	return look(one, &a) == 0 && look(other, &b) == 0 && a.mount == b.mount && a.device == b.device &&
	       a.inode == b.inode;
}

/* True also when that cannot be known. */
static bool other_mount(int one, int other)
{
	struct statx_words a, b;
	return look(one, &a) == 0 && look(other, &b) == 0 && (a.mount != b.mount || !a.mount);
}

static int open_again(const struct context *c, const char *path, bool strict)
{
	return root_open(slot(c, SLOT_ROOT), path, O_PATH | (strict ? O_NOFOLLOW : 0));
}

static int changed_meanwhile(const char *path, struct failure *f)
{
	return fail(f, 0, "%s was changed by someone else while it was mounted on", path);
}

/* A mount on the root directory covers it: whoever resolves from ROOT must start above. */
static int replace_root(struct context *c, int tree, struct failure *f)
{
	int fd = tree >= 0 ? fcntl(tree, F_DUPFD_CLOEXEC, 3) : open(c->rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail(f, errno, "open the new root directory");
	slot_set(c, SLOT_ROOT, fd, 0);
	return 0;
}

int verify_mounted(struct context *c, int before, const char *path, bool strict, struct failure *f)
{
	if (is_root_path(path))
		return replace_root(c, -1, f);
	autoclose int now = open_again(c, path, strict);
	if (now < 0 || !other_mount(now, before))
		return changed_meanwhile(path, f);
	return 0;
}

static int bind_path(struct context *c, int source, int target, unsigned flags)
{
	char from[FD_PATH_SIZE], to[FD_PATH_SIZE];
	unsigned long whole = flags & SLOT_TREE_WHOLE ? MS_REC : 0;
	return mount(fd_path(c, source, from), fd_path(c, target, to), NULL, MS_BIND | whole, NULL);
}

static bool is_directory(int fd)
{
	struct stat status;
	return fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
}

/* The kernel's "invalid argument" for a file on a directory and the other way round, in words. */
static int attach_failed(int tree, int target, const char *path, struct failure *f)
{
	int error = errno;
	bool directory = is_directory(tree);
	if (directory == is_directory(target))
		return fail(f, error, "mount on %s", path);
	return fail(f, 0, "cannot mount a %s on %s, which is %s", directory ? "directory" : "file", path,
	            directory ? "none" : "a directory");
}

int attach(struct context *c, int tree, int target, const char *path, unsigned flags, bool strict, struct failure *f)
{
	if (flags & SLOT_TREE_PATH) {
		if (bind_path(c, tree, target, flags) < 0)
			return fail(f, errno, "bind a mount on %s", path);
		return verify_mounted(c, target, path, strict, f);
	}
	if (sys_move_mount(tree, target) < 0)
		return attach_failed(tree, target, path, f);
	if (is_root_path(path))
		return replace_root(c, tree, f);
	autoclose int now = open_again(c, path, strict);
	if (now < 0 || !same_place(now, tree))
		return changed_meanwhile(path, f);
	return 0;
}

static const struct {
	uint32_t attribute;
	uint32_t flag;
} words[] = {
	{ATTRIBUTE_RDONLY, MS_RDONLY},         {ATTRIBUTE_NOSUID, MS_NOSUID},
	{ATTRIBUTE_NODEV, MS_NODEV},           {ATTRIBUTE_NOEXEC, MS_NOEXEC},
	{ATTRIBUTE_NODIRATIME, MS_NODIRATIME}, {ATTRIBUTE_NOSYMFOLLOW, MOUNT_NOSYMFOLLOW},
};

uint64_t attributes_of_flags(uint64_t ms)
{
	uint64_t attributes = 0;
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (ms & words[i].flag)
			attributes |= words[i].attribute;
	if (ms & MS_NOATIME)
		attributes |= ATTRIBUTE_NOATIME;
	else if (ms & MS_STRICTATIME)
		attributes |= ATTRIBUTE_STRICTATIME;
	return attributes;
}

unsigned long flags_of_attributes(uint64_t attributes)
{
	unsigned long ms = 0;
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (attributes & words[i].attribute)
			ms |= words[i].flag;
	if ((attributes & ATTRIBUTE_ATIME) == ATTRIBUTE_NOATIME)
		ms |= MS_NOATIME;
	else if ((attributes & ATTRIBUTE_ATIME) == ATTRIBUTE_STRICTATIME)
		ms |= MS_STRICTATIME;
	return ms;
}

/* What statfs says is set: a remount in a user namespace must not lose flags that are locked. */
static unsigned long current_flags(int fd)
{
	struct statvfs status;
	unsigned long ms = 0;
	if (fstatvfs(fd, &status) < 0)
		return 0;
	if (status.f_flag & ST_RDONLY)
		ms |= MS_RDONLY;
	if (status.f_flag & ST_NOSUID)
		ms |= MS_NOSUID;
	if (status.f_flag & ST_NODEV)
		ms |= MS_NODEV;
	if (status.f_flag & ST_NOEXEC)
		ms |= MS_NOEXEC;
	if (status.f_flag & ST_NOATIME)
		ms |= MS_NOATIME;
	if (status.f_flag & ST_NODIRATIME)
		ms |= MS_NODIRATIME;
	if (status.f_flag & ST_RELATIME)
		ms |= MS_RELATIME;
	return ms;
}

static int remount(struct context *c, int fd, uint64_t set, uint64_t clear)
{
	char path[FD_PATH_SIZE];
	unsigned long flags = current_flags(fd);
	flags &= ~flags_of_attributes(clear & ~(uint64_t)ATTRIBUTE_ATIME);
	if (clear & ATTRIBUTE_ATIME)
		flags &= ~(unsigned long)(MS_NOATIME | MS_RELATIME | MS_STRICTATIME);
	flags |= flags_of_attributes(set);
	return mount(NULL, fd_path(c, fd, path), NULL, MS_REMOUNT | MS_BIND | flags, NULL);
}

int set_attributes(struct context *c, int fd, uint64_t set, uint64_t clear, bool whole_tree)
{
	struct mount_attributes attributes = {.set = set, .clear = clear};
	if (sys_mount_setattr(fd, whole_tree ? WHOLE_TREE : 0, &attributes) == 0)
		return 0;
	if (errno != ENOSYS && errno != EPERM)
		return -1;
	return remount(c, fd, set, clear);
}

int set_propagation(struct context *c, int fd, uint64_t flags)
{
	char path[FD_PATH_SIZE];
	return mount(NULL, fd_path(c, fd, path), NULL, (unsigned long)flags, NULL);
}
