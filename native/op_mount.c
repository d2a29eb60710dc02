/* New file systems: MOUNT, ROOTFS_MOUNT. */
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "mounting.h"
#include "operations.h"
#include "procfs.h"

enum { VALUE_MAX = 255 }; /* what fsconfig takes */

struct mounting {
	const char *type, *source, *path, *data;
	uint64_t flags, how;
	int target;        /* O_PATH */
	char mode[16];     /* "mode=0755" to put before the data, or "" */
	char log[200];     /* what the file system had to say */
};

/* Superblock words of mount(2) and their names for fsconfig. */
static const struct {
	unsigned long flag;
	const char *name;
} superblock_words[] = {
	{MS_RDONLY, "ro"},
	{MS_SYNCHRONOUS, "sync"},
	{MS_DIRSYNC, "dirsync"},
	{MS_MANDLOCK, "mand"},
	{MOUNT_LAZYTIME, "lazytime"},
};

static int set_flags(int context, uint64_t flags)
{
	for (size_t i = 0; i < sizeof superblock_words / sizeof *superblock_words; i++)
		if (flags & superblock_words[i].flag && sys_fsconfig(context, CONFIG_FLAG, superblock_words[i].name, NULL) < 0)
			return -1;
	return 0;
}

/* One option, "key=value" or "key"; quotes around a value (SELinux contexts) are not part of it. */
static int set_option(int context, const char *option, size_t length)
{
	char key[64], value[VALUE_MAX + 1];
	const char *equals = memchr(option, '=', length);
	size_t key_length = equals ? (size_t)(equals - option) : length;
	if (key_length == 0 || key_length >= sizeof key) {
		errno = EINVAL;
		return length == 0 ? 0 : -1;
	}
	memcpy(key, option, key_length);
	key[key_length] = 0;
	if (!equals)
		return sys_fsconfig(context, CONFIG_FLAG, key, NULL);
	const char *start = equals + 1;
	size_t size = length - key_length - 1;
	if (size >= 2 && start[0] == '"' && start[size - 1] == '"') {
		start++;
		size -= 2;
	}
	if (size > VALUE_MAX) {
		errno = EINVAL;
		return -1;
	}
	memcpy(value, start, size);
	value[size] = 0;
	return sys_fsconfig(context, CONFIG_STRING, key, value);
}

/* Up to the next comma that is not inside quotes. */
static size_t option_length(const char *at)
{
	bool quoted = false;
	size_t length = 0;
	for (; at[length] && (quoted || at[length] != ','); length++)
		quoted ^= at[length] == '"';
	return length;
}

static int set_options(int context, const char *data)
{
	if (strchr(data, '\\')) { /* escapes mean something only to mount(2) */
		errno = EINVAL;
		return -1;
	}
	while (*data) {
		size_t length = option_length(data);
		if (set_option(context, data, length) < 0)
			return -1;
		data += length + (data[length] == ',');
	}
	return 0;
}

/* The last line of the context's log, without its severity. */
static void read_log(int context, char *out, size_t size)
{
	char line[200];
	ssize_t got;
	while ((got = read(context, line, sizeof line - 1)) > 2) {
		line[got] = 0;
		line[strcspn(line, "\n")] = 0;
		snprintf(out, size, "%s", line + (line[1] == ' ' ? 2 : 0));
	}
}

static int configure(int context, const struct mounting *m)
{
	if (m->source[0] && sys_fsconfig(context, CONFIG_STRING, "source", m->source) < 0)
		return -1;
	if (set_flags(context, m->flags) < 0)
		return -1;
	if (m->mode[0] && set_option(context, m->mode, strlen(m->mode)) < 0)
		return -1;
	if (set_options(context, m->data) < 0)
		return -1;
	return sys_fsconfig(context, CONFIG_CREATE, NULL, NULL);
}

/* A detached mount of the new file system. */
static int make_detached(struct mounting *m)
{
	if (m->flags & (MS_POSIXACL | MS_I_VERSION)) { /* have no name for fsconfig */
		errno = EINVAL;
		return -1;
	}
	autoclose int context = sys_fsopen(m->type);
	if (context < 0)
		return -1;
	if (configure(context, m) < 0) {
		int error = errno;
		read_log(context, m->log, sizeof m->log);
		errno = error;
		return -1;
	}
	return sys_fsmount(context, (unsigned)attributes_of_flags(m->flags));
}

static int mount_failed(const struct mounting *m, int error, struct failure *f)
{
	bool from = m->source[0] && strcmp(m->source, m->type) != 0;
	return fail(f, error, "mount %s%s%s on %s%s%s%s", m->type, from ? " " : "", from ? m->source : "", m->path,
		    m->log[0] ? " (" : "", m->log, m->log[0] ? ")" : "");
}

/* What is on the target now, opened for copying from it. */
static int open_content(const struct context *c, const struct mounting *m)
{
	return m->how & PLAN_MOUNT_COPY_UP ? reopen(c, m->target, O_RDONLY | O_DIRECTORY) : -1;
}

static int copy_content(const struct mounting *m, int from, int to, struct failure *f)
{
	if (from < 0 || copy_up(from, to) == 0)
		return 0;
	return fail(f, errno, "copy the content of %s into its tmpfs", m->path);
}

static int mount_old(struct context *c, struct mounting *m, struct failure *f)
{
	char target[FD_PATH_SIZE], data[4096];
	const char *comma = m->mode[0] && m->data[0] ? "," : "";
	if (snprintf(data, sizeof data, "%s%s%s", m->mode, comma, m->data) >= (int)sizeof data)
		return fail(f, E2BIG, "mount %s on %s", m->type, m->path);
	autoclose int content = open_content(c, m);
	const char *source = m->source[0] ? m->source : m->type;
	if (mount(source, fd_path(c, m->target, target), m->type, (unsigned long)m->flags, data) < 0)
		return mount_failed(m, errno, f);
	if (verify_mounted(c, m->target, m->path, false, f) < 0)
		return -1;
	if (content < 0)
		return 0;
	autoclose int mounted = root_open(slot(c, SLOT_ROOT), m->path, O_RDONLY | O_DIRECTORY);
	return copy_content(m, content, mounted, f);
}

static int bind_host(struct context *c, struct mounting *m, struct failure *f)
{
	autoclose int tree = sys_open_tree(AT_FDCWD, m->source, TREE_CLONE | TREE_CLOEXEC | WHOLE_TREE);
	uint64_t set = attributes_of_flags(m->flags) & ~(uint64_t)ATTRIBUTE_ATIME;
	struct mount_attributes attributes = {.set = set};
	if (tree < 0)
		return mount_failed(m, errno, f);
	if (set && sys_mount_setattr(tree, WHOLE_TREE, &attributes) < 0)
		return mount_failed(m, errno, f);
	return attach(c, tree, m->target, m->path, 0, false, f);
}

static bool may_try_mount(int error)
{
	return error == EINVAL || error == ENOSYS || error == EPERM || error == EOPNOTSUPP;
}

static int mount_new(struct context *c, struct mounting *m, struct failure *f)
{
	autoclose int tree = make_detached(m);
	if (tree >= 0) {
		autoclose int content = open_content(c, m);
		if (copy_content(m, content, tree, f) < 0)
			return -1;
		return attach(c, tree, m->target, m->path, 0, m->how & PLAN_MOUNT_REAL_DIRECTORY, f);
	}
	if (errno == EPERM && m->how & PLAN_MOUNT_MAY_BIND)
		return bind_host(c, m, f);
	return may_try_mount(errno) ? mount_old(c, m, f) : mount_failed(m, errno, f);
}

static int remount(struct context *c, struct mounting *m, struct failure *f)
{
	char target[FD_PATH_SIZE];
	const char *path = fd_path(c, m->target, target);
	if (mount(NULL, path, m->type[0] ? m->type : NULL, (unsigned long)m->flags, m->data) < 0)
		return fail(f, errno, "remount %s", m->path);
	return 0;
}

/* 1: it was there, 0: it was made. */
static int open_target(struct context *c, const uint64_t *a, struct mounting *m, struct failure *f)
{
	int root = slot(c, SLOT_ROOT);
	bool real = m->how & PLAN_MOUNT_REAL_DIRECTORY;
	enum root_kind kind = a[MOUNT_KIND] == PLAN_KIND_FILE ? ROOT_FILE : ROOT_DIRECTORY;
	m->target = real ? root_open_strictly(root, m->path, O_PATH | O_DIRECTORY) : root_open(root, m->path, O_PATH);
	if (m->target >= 0)
		return 1;
	if (errno == ENOENT) {
		autoclose int made = root_make(root, m->path, kind, (mode_t)a[MOUNT_MODE]);
		if (made < 0)
			return fail(f, errno, "make the mount's target %s", m->path);
		if (!real)
			m->target = take_descriptor(&made);
		else
			m->target = root_open_strictly(root, m->path, O_PATH | O_DIRECTORY);
	}
	if (m->target >= 0)
		return 0;
	if (real && (errno == ELOOP || errno == ENOTDIR))
		return fail(f, 0, "filesystem \"%s\" must be mounted on ordinary directory: %s is none", m->type, m->path);
	return fail(f, errno, "open the mount's target %s", m->path);
}

static void keep_mode(struct mounting *m)
{
	struct stat status;
	if (m->how & PLAN_MOUNT_KEEP_MODE && fstat(m->target, &status) == 0)
		snprintf(m->mode, sizeof m->mode, "mode=%04o", (unsigned)status.st_mode & 07777);
}

OPERATION(MOUNT)
{
	struct mounting m = {
		.type = text(c, a[MOUNT_TYPE]),
		.source = text(c, a[MOUNT_SOURCE]),
		.path = text(c, a[MOUNT_TARGET]),
		.data = text(c, a[MOUNT_DATA]),
		.flags = a[MOUNT_FLAGS],
		.how = a[MOUNT_HOW],
		.target = -1,
	};
	int existed = open_target(c, a, &m, f);
	if (existed < 0)
		return -1;
	if (existed)
		keep_mode(&m);
	else
		m.how &= ~(uint64_t)PLAN_MOUNT_COPY_UP; /* there was nothing to copy */
	int result = m.flags & MS_REMOUNT ? remount(c, &m, f) : mount_new(c, &m, f);
	close_descriptor(&m.target);
	return result;
}

static int configure_root(int context, const struct context *c, const uint64_t *a)
{
	const char *end, *option = plan_list(c->plan, a[ROOTFS_MOUNT_OPTIONS], &end);
	for (; option < end; option += strlen(option) + 1)
		if (set_option(context, option, strlen(option)) < 0)
			return -1;
	return sys_fsconfig(context, CONFIG_CREATE, NULL, NULL);
}

static int mount_root_new(const struct context *c, const uint64_t *a, char *log, size_t size)
{
	autoclose int context = sys_fsopen(text(c, a[ROOTFS_MOUNT_TYPE]));
	if (context < 0)
		return -1;
	if (configure_root(context, c, a) < 0) {
		int error = errno;
		read_log(context, log, size);
		errno = error;
		return -1;
	}
	autoclose int tree = sys_fsmount(context, 0);
	autoclose int target = open(text(c, a[ROOTFS_MOUNT_PATH]), O_PATH | O_DIRECTORY | O_CLOEXEC);
	return tree < 0 || target < 0 ? -1 : sys_move_mount(tree, target);
}

/* With names relative to `base`, many layers fit into mount(2)'s page of data. */
static int mount_root_old(const struct context *c, const uint64_t *a)
{
	const char *type = text(c, a[ROOTFS_MOUNT_TYPE]);
	if (chdir(text(c, a[ROOTFS_MOUNT_BASE])) < 0)
		return -1;
	int result = mount(type, text(c, a[ROOTFS_MOUNT_PATH]), type, 0, text(c, a[ROOTFS_MOUNT_DATA]));
	int error = errno;
	if (chdir("/") < 0)
		return -1;
	errno = error;
	return result;
}

OPERATION(ROOTFS_MOUNT)
{
	char log[200] = "";
	if (mount_root_new(c, a, log, sizeof log) == 0)
		return 0;
	if (may_try_mount(errno) && mount_root_old(c, a) == 0)
		return 0;
	return fail(f, errno, "mount %s on %s%s%s%s", text(c, a[ROOTFS_MOUNT_TYPE]), text(c, a[ROOTFS_MOUNT_PATH]),
		    log[0] ? " (" : "", log, log[0] ? ")" : "");
}
