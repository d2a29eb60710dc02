#include "resolve.h"

#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "descriptor.h"
#include "kernel.h"

enum {
	LINKS_MAX = 40,    /* as the kernel's limit */
	RACES_MAX = 128,   /* EAGAIN: something was renamed meanwhile */
};

/* A walk: `here` is the directory reached, `done` its path from the root, without links; `left` is still to go. */
struct walk {
	int root;
	int here;
	bool make;         /* missing directories are made */
	bool no_links;
	unsigned links;
	char done[PATH_MAX];
	char left[PATH_MAX];
};

static bool openat2_missing(int error)
{
	return error == ENOSYS || error == EPERM;
}

static int open_in_root(int root, const char *path, int flags, uint64_t resolve)
{
	for (int attempt = 0; attempt < RACES_MAX; attempt++) {
		int fd = sys_openat2(root, path, (uint64_t)flags | O_CLOEXEC, 0,
				     RESOLVE_ROOT | RESOLVE_MAGICLINKS_NOT | resolve);
		if (fd >= 0 || errno != EAGAIN)
			return fd;
	}
	return -1;
}

static int duplicate(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

/* Take the next component off `left`. */
static bool next_component(struct walk *w, char name[NAME_MAX + 1])
{
	char *start = w->left + strspn(w->left, "/");
	size_t length = strcspn(start, "/");
	if (length > NAME_MAX) {
		errno = ENAMETOOLONG;
		return false;
	}
	memcpy(name, start, length);
	name[length] = 0;
	memmove(w->left, start + length, strlen(start + length) + 1);
	return true;
}

static bool at_end(const struct walk *w)
{
	return w->left[strspn(w->left, "/")] == 0;
}

static int enter(struct walk *w, int fd)
{
	if (fd < 0)
		return -1;
	close_descriptor(&w->here);
	w->here = fd;
	return 0;
}

static int open_directory(int dir, const char *name)
{
	return openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* "..": walk again from the root along what is known to hold no links. */
static int step_up(struct walk *w)
{
	char *slash = strrchr(w->done, '/');
	*(slash ? slash : w->done) = 0;
	if (enter(w, duplicate(w->root)) < 0)
		return -1;
	char *at = w->done;
	while (*at) {
		size_t length = strcspn(at, "/");
		char kept = at[length];
		at[length] = 0;
		int result = enter(w, open_directory(w->here, at));
		at[length] = kept;
		if (result < 0)
			return -1;
		at += length + (kept != 0);
	}
	return 0;
}

static int step_down(struct walk *w, const char *name)
{
	int fd = open_directory(w->here, name);
	if (fd < 0 && errno == ENOENT && w->make) {
		if (mkdirat(w->here, name, 0755) < 0 && errno != EEXIST)
			return -1;
		fd = open_directory(w->here, name);
	}
	if (enter(w, fd) < 0)
		return -1;
	size_t used = strlen(w->done), length = strlen(name);
	if (used + length + 2 > sizeof w->done) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (used)
		w->done[used++] = '/';
	memcpy(w->done + used, name, length + 1);
	return 0;
}

/* Put the link's text before what is left. Returns 1, or 0 when `name` is no link. */
static int step_link(struct walk *w, const char *name)
{
	char target[PATH_MAX];
	ssize_t length = readlinkat(w->here, name, target, sizeof target);
	if (length < 0)
		return errno == EINVAL || errno == ENOENT ? 0 : -1;
	size_t left = strlen(w->left);
	if (w->no_links || ++w->links > LINKS_MAX) {
		errno = ELOOP;
		return -1;
	}
	if ((size_t)length + 1 + left + 1 > sizeof w->left) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memmove(w->left + length + 1, w->left, left + 1);
	memcpy(w->left, target, (size_t)length);
	w->left[length] = '/';
	if (target[0] != '/')
		return 1;
	w->done[0] = 0;
	return enter(w, duplicate(w->root)) < 0 ? -1 : 1;
}

/* Walk to the directory of the last component, whose name is left in `name` ("." when there is none). A link in
 * the last place is followed if `follow`. */
static int walk_to_parent(struct walk *w, bool follow, char name[NAME_MAX + 1])
{
	for (;;) {
		if (!next_component(w, name))
			return -1;
		bool last = at_end(w);
		if (!name[0] || (last && strcmp(name, ".") == 0)) {
			strcpy(name, ".");
			return 0;
		}
		if (strcmp(name, ".") == 0)
			continue;
		if (strcmp(name, "..") == 0) {
			if (step_up(w) < 0)
				return -1;
			continue;
		}
		int link = !last || follow ? step_link(w, name) : 0;
		if (link < 0)
			return -1;
		if (link)
			continue;
		if (last)
			return 0;
		if (step_down(w, name) < 0)
			return -1;
	}
}

static int walk_begin(struct walk *w, int root, const char *path)
{
	w->root = root;
	w->links = 0;
	w->done[0] = 0;
	if (strlen(path) >= sizeof w->left) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(w->left, path);
	w->here = duplicate(root);
	return w->here < 0 ? -1 : 0;
}

static int walk_open(int root, const char *path, int flags, bool no_links)
{
	struct walk w;
	char name[NAME_MAX + 1];
	w.make = false;
	w.no_links = no_links;
	if (walk_begin(&w, root, path) < 0)
		return -1;
	int fd = -1;
	if (walk_to_parent(&w, !(flags & O_NOFOLLOW), name) == 0)
		fd = openat(w.here, name, flags | O_NOFOLLOW | O_CLOEXEC);
	close_descriptor(&w.here);
	return fd;
}

int root_open(int root, const char *path, int flags)
{
	int fd = open_in_root(root, path, flags, 0);
	return fd < 0 && openat2_missing(errno) ? walk_open(root, path, flags, false) : fd;
}

int root_open_strictly(int root, const char *path, int flags)
{
	int fd = open_in_root(root, path, flags, RESOLVE_SYMLINKS_NOT);
	return fd < 0 && openat2_missing(errno) ? walk_open(root, path, flags, true) : fd;
}

static int make_last(int dir, const char *name, enum root_kind kind, mode_t mode)
{
	int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 || errno != ENOENT)
		return fd;
	if (kind == ROOT_DIRECTORY) {
		if (mkdirat(dir, name, mode) < 0 && errno != EEXIST)
			return -1;
	} else {
		autoclose int made = openat(dir, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_WRONLY, mode);
		if (made < 0 && errno != EEXIST)
			return -1;
	}
	return openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

static int walk_make(int root, const char *path, bool follow, char name[NAME_MAX + 1])
{
	struct walk w;
	w.make = true;
	w.no_links = false;
	if (walk_begin(&w, root, path) < 0)
		return -1;
	if (walk_to_parent(&w, follow, name) == 0)
		return w.here;
	close_descriptor(&w.here);
	return -1;
}

int root_make(int root, const char *path, enum root_kind kind, mode_t mode)
{
	char name[NAME_MAX + 1];
	int fd = open_in_root(root, path, O_PATH, 0);
	if (fd >= 0 || (errno != ENOENT && !openat2_missing(errno)))
		return fd;
	autoclose int parent = walk_make(root, path, true, name);
	return parent < 0 ? -1 : make_last(parent, name, kind, mode);
}

/* The usual case: a plain last component in a directory that is there. */
static int open_parent(int root, const char *path, char name[NAME_MAX + 1])
{
	char directory[PATH_MAX];
	const char *slash = strrchr(path, '/');
	const char *last = slash ? slash + 1 : path;
	size_t length = slash ? (size_t)(slash - path) : 0;
	if (!last[0] || strcmp(last, ".") == 0 || strcmp(last, "..") == 0 || strlen(last) > NAME_MAX ||
	    length + 1 >= sizeof directory)
		return -1;
	memcpy(directory, path, length);
	strcpy(directory + length, length ? "" : "/");
	strcpy(name, last);
	return open_in_root(root, directory, O_PATH | O_DIRECTORY, 0);
}

int root_parent(int root, const char *path, char name[NAME_MAX + 1])
{
	int there = open_parent(root, path, name);
	if (there >= 0)
		return there;
	int parent = walk_make(root, path, false, name);
	if (parent >= 0 && strcmp(name, ".") == 0) {
		close_descriptor(&parent);
		errno = EISDIR;
	}
	return parent;
}
