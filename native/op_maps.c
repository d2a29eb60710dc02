/* User namespaces: MAPS, USERNS, BECOME. */
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "maps.h"
#include "operations.h"
#include "spawn.h"

static int write_process_file(pid_t pid, const char *name, const char *data)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	return write_small(AT_FDCWD, path, data, strlen(data));
}

static int write_map(pid_t pid, const char *name, const char *map, struct failure *f)
{
	if (!map[0] || write_process_file(pid, name, map) == 0)
		return 0;
	return fail(f, errno, "write \"%.200s\" to %s", map, name);
}

/* newuidmap PID ID HOST SIZE …: the map's words become arguments. */
static int run_helper(const char *helper, pid_t child, const char *map, struct failure *f)
{
	enum { WORDS = 340 * 3 + 3 };
	char pid[16];
	size_t length = strlen(map), space = length + 1 + WORDS * sizeof(char *);
	char **argv = mmap(NULL, space, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (argv == MAP_FAILED)
		return fail(f, errno, "execute %s", helper);
	char *words = (char *)(argv + WORDS), *rest = words;
	memcpy(words, map, length + 1);
	size_t count = 0;
	snprintf(pid, sizeof pid, "%d", child);
	argv[count++] = (char *)(uintptr_t)helper;
	argv[count++] = pid;
	for (char *word; count < WORDS - 1 && (word = strtok_r(rest, " \n", &rest));)
		argv[count++] = word;
	char *envp[] = {NULL};
	struct spawn s = {.path = helper, .argv = argv, .envp = envp, .umask = 022};
	int result = spawn_and_wait(&s, f);
	munmap(argv, space);
	return result;
}

int maps_write(const struct maps *maps, pid_t pid, struct failure *f)
{
	if (maps->deny_setgroups && write_process_file(pid, "setgroups", "deny") < 0)
		return fail(f, errno, "deny setgroups");
	int result = maps->gid_helper ? run_helper(maps->gid_helper, pid, maps->gid_map, f)
				      : write_map(pid, "gid_map", maps->gid_map, f);
	if (result < 0)
		return -1;
	return maps->uid_helper ? run_helper(maps->uid_helper, pid, maps->uid_map, f)
				: write_map(pid, "uid_map", maps->uid_map, f);
}

OPERATION(MAPS)
{
	const struct maps maps = {
		.uid_map = text(c, a[MAPS_UID_MAP]),
		.gid_map = text(c, a[MAPS_GID_MAP]),
		.uid_helper = optional_text(c, a[MAPS_NEWUIDMAP]),
		.gid_helper = optional_text(c, a[MAPS_NEWGIDMAP]),
		.deny_setgroups = a[MAPS_DENY_SETGROUPS],
	};
	return maps_write(&maps, c->child, f);
}

static int open_user_namespace(pid_t pid, const char *uid_map, const char *gid_map, struct failure *f)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
	if (write_map(pid, "uid_map", uid_map, f) < 0 || write_map(pid, "gid_map", gid_map, f) < 0)
		return -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? fail(f, errno, "open %s", path) : fd;
}

OPERATION(USERNS)
{
	int hold[2];
	char byte;
	if (pipe2(hold, O_CLOEXEC) < 0)
		return fail(f, errno, "make a pipe");
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, 0);
	if (pid == 0) {
		close(hold[1]);
		_exit(read(hold[0], &byte, 1) == 0 ? 0 : 1); /* the namespace's only process waits for us */
	}
	int error = errno;
	close(hold[0]);
	int fd = pid < 0 ? fail(f, error, "create a user namespace")
			 : open_user_namespace(pid, text(c, a[USERNS_UID_MAP]), text(c, a[USERNS_GID_MAP]), f);
	close(hold[1]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (fd < 0)
		return -1;
	slot_set(c, a[USERNS_SLOT], fd, 0);
	return 0;
}

OPERATION(BECOME)
{
	uid_t uid = (uid_t)a[BECOME_UID];
	gid_t gid = (gid_t)a[BECOME_GID];
	if (setgroups(0, NULL) < 0 && errno != EPERM)
		return fail(f, errno, "drop supplementary groups");
	if (syscall(SYS_setresgid, gid, gid, gid) < 0 || syscall(SYS_setresuid, uid, uid, uid) < 0)
		return fail(f, errno, "become %u:%u in the user namespace", uid, gid);
	rearm(c);
	return 0;
}
