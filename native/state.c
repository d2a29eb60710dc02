#include "state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LOCK_POLL_NS 5000000L

/* Read a small file below `dir` into `buffer` as text; the bytes read, or -1 with errno. */
static ssize_t read_text(int dir, const char *path, char *buffer, size_t size)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, buffer, size - 1);
	int error = errno;
	close(fd);
	errno = error;
	if (n >= 0)
		buffer[n] = '\0';
	return n;
}

/* Root directories. */

/* True in a user namespace other than the first, whose map is "0 0 4294967295". */
static bool in_user_namespace(void)
{
	char map[64], *rest;

	if (read_text(AT_FDCWD, "/proc/self/uid_map", map, sizeof map) <= 0)
		return false;
	unsigned long inside = strtoul(map, &rest, 10);
	unsigned long outside = strtoul(rest, &rest, 10);
	return inside != 0 || outside != 0 || strtoul(rest, NULL, 10) != UINT32_MAX;
}

/* Root in a user namespace keeps XDG_RUNTIME_DIR unless it says that it is root (a nested engine's USER). */
static bool honours_xdg(void)
{
	const char *user = getenv("USER");

	return geteuid() != 0 || (in_user_namespace() && !(user && !strcmp(user, "root")));
}

/* A directory in /tmp may have been made by anyone: it must be a real directory of ours that nobody else writes. */
static int check_private(const char *path, struct failure *f)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : fail(f, errno, "look at %s", path);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
		return fail(f, 0, "%s is not a directory that only this user can write; set XDG_RUNTIME_DIR or --root",
		            path);
	return 0;
}

static int default_root(char *root, struct failure *f)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	unsigned uid = geteuid();
	struct stat st;

	if (xdg && *xdg && honours_xdg()) {
		snprintf(root, PATH_MAX, "%s/wherry/runtime", xdg);
		return 0;
	}
	if (uid == 0) {
		strcpy(root, "/run/wherry/runtime");
		return 0;
	}
	snprintf(root, PATH_MAX, "/run/user/%u", uid);
	if (stat(root, &st) == 0 && st.st_uid == uid) {
		strcat(root, "/wherry/runtime");
		return 0;
	}
	snprintf(root, PATH_MAX, "/tmp/wherry-%u", uid);
	if (check_private(root, f) < 0)
		return -1;
	strcat(root, "/runtime");
	return 0;
}

int state_root(char *root, const char *given, struct failure *f)
{
	if (!given || !*given)
		return default_root(root, f);
	if (*given == '/') {
		if (strlen(given) >= PATH_MAX)
			return fail(f, ENAMETOOLONG, "--root");
		strcpy(root, given);
		return 0;
	}
	if (!getcwd(root, PATH_MAX))
		return fail(f, errno, "current directory");
	size_t length = strlen(root);
	if (snprintf(root + length, PATH_MAX - length, "/%s", given) >= (int)(PATH_MAX - length))
		return fail(f, ENAMETOOLONG, "--root");
	return 0;
}

/* Opening and reading. */

int state_check_id(const char *id, struct failure *f)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-";
	size_t good = strspn(id, allowed);

	if (id[good])
		return fail(f, 0, "invalid container ID format: invalid character `%c` in container ID", id[good]);
	if (!*id || !strcmp(id, ".") || !strcmp(id, ".."))
		return fail(f, 0, "invalid container ID format: `%s` cannot name a container", id);
	return 0;
}

/* The number after `"key":` in a document that we wrote ourselves, or 0. */
static uint64_t number_of(const char *json, const char *key)
{
	const char *at = strstr(json, key);

	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static void copy_text_of(const char *json, const char *key, char *out, size_t size)
{
	const char *at = strstr(json, key);

	if (!at)
		return;
	at += strlen(key);
	snprintf(out, size, "%.*s", (int)strcspn(at, "\""), at);
}

static void format_time(char *out, size_t size, const struct timespec *when)
{
	struct tm tm;
	char date[32];

	gmtime_r(&when->tv_sec, &tm);
	strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
	if (snprintf(out, size, "%s.%09ldZ", date, when->tv_nsec) >= (int)size)
		*out = '\0';
}

/* A container without state.json is dated by its folder. */
static void read_state(struct state *s)
{
	char json[512];
	struct stat st;

	s->pid = 0;
	s->start_time = 0;
	if (read_text(s->dir, "state.json", json, sizeof json) > 0) {
		s->pid = (pid_t)number_of(json, "\"pid\":");
		s->start_time = number_of(json, "\"startTime\":");
		copy_text_of(json, "\"created\":\"", s->created, sizeof s->created);
	} else if (fstat(s->dir, &st) == 0) {
		format_time(s->created, sizeof s->created, &st.st_mtim);
	}
}

/* Half of a plan is what a killed creation leaves; a damaged one may not keep a container from being deleted. */
static int read_plan(struct state *s, struct failure *f)
{
	int fd = openat(s->dir, "plan", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	s->damage = NULL;
	if (fd < 0)
		return errno == ENOENT ? 0 : fail(f, errno, "open the container's plan");
	if (plan_open(&s->plan, fd, &s->damage) < 0)
		s->plan = (struct plan){0};
	close(fd);
	return 0;
}

int state_open(struct state *s, const char *root, const char *id, struct failure *f)
{
	char path[PATH_MAX];

	*s = (struct state){.dir = -1, .lock = -1};
	if (state_check_id(id, f) < 0)
		return -1;
	if (snprintf(path, sizeof path, "%s/%s", root, id) >= (int)sizeof path)
		return fail(f, ENAMETOOLONG, "state folder");
	s->dir = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (s->dir < 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			return fail(f, 0, NO_CONTAINER);
		return fail(f, errno, "open %s", path);
	}
	read_state(s);
	if (read_plan(s, f) < 0) {
		state_close(s);
		return -1;
	}
	return 0;
}

void state_close(struct state *s)
{
	if (s->plan.data)
		plan_close(&s->plan);
	if (s->lock >= 0)
		close(s->lock);
	if (s->dir >= 0)
		close(s->dir);
	*s = (struct state){.dir = -1, .lock = -1};
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int state_lock(struct state *s, int timeout_ms, struct failure *f)
{
	struct stat st;
	int64_t deadline = now_ms() + timeout_ms;
	int fd = openat(s->dir, "lock", O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

	if (fd < 0)
		return errno == ENOENT ? fail(f, 0, NO_CONTAINER)
		                       : fail(f, errno, "open the container's lock");
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int error = errno;
		if (error != EINTR && (error != EWOULDBLOCK || now_ms() >= deadline)) {
			close(fd);
			if (error != EWOULDBLOCK)
				return fail(f, error, "lock the container");
			return fail(f, 0, "container is being changed by another process for more than %d s",
			            timeout_ms / 1000);
		}
		nanosleep(&(struct timespec){.tv_nsec = LOCK_POLL_NS}, NULL);
	}
	if (fstat(fd, &st) == 0 && st.st_nlink == 0) {
		close(fd);
		return fail(f, 0, NO_CONTAINER);
	}
	s->lock = fd;
	read_state(s);
	if (!s->plan.data && read_plan(s, f) < 0)
		return -1;
	return fd;
}

const char *state_meta(const struct state *s, const char *key)
{
	return s->plan.data ? plan_meta(&s->plan, key) : "";
}

/* Processes. */

/* Letter and start time from /proc/PID/stat; the command's name may hold anything, even ") Z". */
static char look_at(pid_t pid, uint64_t *start_time)
{
	char path[32], text[512];

	*start_time = 0;
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	if (pid <= 0 || read_text(AT_FDCWD, path, text, sizeof text) <= 0)
		return 0;
	char *field = strrchr(text, ')');
	if (!field || !field[1] || !field[2])
		return 0;
	char letter = field[2];
	for (int number = 2; number < 22 && field; number++)
		field = strchr(field + 1, ' ');
	if (field)
		*start_time = strtoull(field + 1, NULL, 10);
	return letter;
}

uint64_t process_start_time(pid_t pid)
{
	uint64_t start_time;

	look_at(pid, &start_time);
	return start_time;
}

char process_letter(pid_t pid)
{
	uint64_t start_time;

	return look_at(pid, &start_time);
}

static bool ended(int pidfd)
{
	struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};

	return poll(&poll_fd, 1, 0) == 1;
}

int state_pidfd(const struct state *s)
{
	if (!s->pid)
		return -1;
	int fd = (int)syscall(SYS_pidfd_open, s->pid, 0);
	if (fd < 0)
		return -1;
	/* The descriptor is of whoever has the pid now; only if that is still our process may it be used. */
	if (process_start_time(s->pid) != s->start_time || ended(fd)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A first thread that ended shows as a zombie while others still run; the descriptor tells the two apart. */
static bool alive(const struct state *s)
{
	uint64_t start_time;
	char letter = look_at(s->pid, &start_time);

	if (!letter || letter == 'X' || start_time != s->start_time)
		return false;
	if (letter != 'Z')
		return true;
	int fd = state_pidfd(s);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static bool frozen(const struct state *s)
{
	const char *directory = state_meta(s, "freezer");
	bool v1 = !strcmp(state_meta(s, "freezer_version"), "1");
	char path[PATH_MAX], text[32];

	if (!*directory)
		return false;
	snprintf(path, sizeof path, "%s/%s", directory, v1 ? "freezer.state" : "cgroup.freeze");
	if (read_text(AT_FDCWD, path, text, sizeof text) <= 0)
		return false;
	return v1 ? !strncmp(text, "FR", 2) : *text == '1'; /* v1: FROZEN or FREEZING */
}

/* Is somebody else inside `create`? */
static bool locked_by_other(const struct state *s)
{
	if (s->lock >= 0)
		return false;
	int fd = openat(s->dir, "lock", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return false;
	bool locked = flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	close(fd);
	return locked;
}

enum status state_status(const struct state *s)
{
	if (!s->pid)
		return locked_by_other(s) ? STATUS_CREATING : STATUS_STOPPED;
	if (!alive(s))
		return STATUS_STOPPED;
	if (frozen(s))
		return STATUS_PAUSED;
	return faccessat(s->dir, "exec.fifo", F_OK, 0) == 0 ? STATUS_CREATED : STATUS_RUNNING;
}

const char *status_name(enum status status)
{
	static const char *const names[] = {"creating", "created", "running", "paused", "stopped"};

	return names[status];
}

/* Writing. */

int state_save(int dir, pid_t pid, struct failure *f)
{
	static const char temporary[] = "state.json.new";
	char json[256], created[40];
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	format_time(created, sizeof created, &now);
	int length = snprintf(json, sizeof json, "{\"version\":1,\"pid\":%d,\"startTime\":%llu,\"created\":\"%s\"}\n",
	                      (int)pid, (unsigned long long)process_start_time(pid), created);
	int fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail(f, errno, "create state.json");
	ssize_t written = write(fd, json, (size_t)length);
	int error = written < 0 ? errno : ENOSPC;
	close(fd);
	if (written != length)
		return fail(f, error, "write state.json");
	if (renameat(dir, temporary, dir, "state.json") < 0)
		return fail(f, errno, "rename state.json");
	return 0;
}

static int empty_folder(const char *path)
{
	DIR *folder = opendir(path);

	if (!folder)
		return -1;
	for (struct dirent *entry; (entry = readdir(folder));)
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			unlinkat(dirfd(folder), entry->d_name, 0);
	closedir(folder);
	return 0;
}

int state_remove(const char *root, const char *id, struct failure *f)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof path, "%s/%s", root, id) >= (int)sizeof path)
		return fail(f, ENAMETOOLONG, "state folder");
	/* Whoever waits for the container's lock may make the file anew between the two calls: empty it again. */
	for (int tries = 0; tries < 100; tries++) {
		if (empty_folder(path) == 0 && rmdir(path) == 0)
			return 0;
		if (errno != ENOTEMPTY)
			break;
	}
	return errno == ENOENT ? 0 : fail(f, errno, "remove %s", path);
}

/* `<id>~<pid>` of a creator that is gone and holds no lock. */
static bool is_abandoned(int root, const char *name, const char *id)
{
	size_t length = strlen(id);
	char path[NAME_MAX + 8], *end;

	if (strncmp(name, id, length) != 0 || name[length] != '~')
		return false;
	long pid = strtol(name + length + 1, &end, 10);
	if (*end || pid <= 0 || kill((pid_t)pid, 0) == 0 || errno != ESRCH)
		return false;
	snprintf(path, sizeof path, "%s/lock", name);
	int lock = openat(root, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	bool held = lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) < 0;
	if (lock >= 0)
		close(lock);
	return !held;
}

void state_remove_drafts(const char *root, const char *id)
{
	char path[PATH_MAX];
	DIR *folder = opendir(root);

	if (!folder)
		return;
	for (struct dirent *entry; (entry = readdir(folder));)
		if (is_abandoned(dirfd(folder), entry->d_name, id) &&
		    snprintf(path, sizeof path, "%s/%s", root, entry->d_name) < (int)sizeof path && empty_folder(path) == 0)
			rmdir(path);
	closedir(folder);
}
