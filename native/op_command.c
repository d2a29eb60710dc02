/* The container's command: CHDIR, FIND, WAIT_START, EXEC. */
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "init.h"
#include "message.h"
#include "operations.h"
#include "procfs.h"
#include "resolve.h"
#include "signals.h"

enum { NOT_EXECUTABLE = 126, NOT_FOUND = 127 };

/* A working directory outside of the root has no path in it. */
static bool inside_root(void)
{
	char path[PATH_MAX];
	return syscall(SYS_getcwd, path, sizeof path) > 0 && path[0] == '/';
}

static int enter_directory(const struct context *c, const char *path, bool create)
{
	int root = slot(c, SLOT_ROOT);
	autoclose int fd = root_open(root, path, O_PATH | O_DIRECTORY);
	if (fd < 0 && errno == ENOENT && create)
		fd = root_make(root, path, ROOT_DIRECTORY, 0755);
	return fd < 0 ? -1 : fchdir(fd);
}

OPERATION(CHDIR)
{
	const char *path = text(c, a[CHDIR_PATH]);
	if (enter_directory(c, path, a[CHDIR_FLAGS] & PLAN_CHDIR_CREATE) < 0) {
		if (errno == EACCES && a[CHDIR_FLAGS] & PLAN_CHDIR_MAY_FAIL)
			return 0;
		return fail(f, errno, "chdir to cwd (\"%s\") set in config.json failed", path);
	}
	return inside_root() ? 0 : fail(f, 0, "the working directory %s is outside of the container", path);
}

/* An error's text as Go has it: dockerd looks for "permission denied" and "no such file or directory", in this case. */
static const char *lower_error(int error)
{
	static char text[80];
	snprintf(text, sizeof text, ": %s", error ? strerror(error) : "");
	text[2] |= 0x20;
	return error ? text : "";
}

static int not_run(struct failure *f, int status, int error, const char *name, const char *why)
{
	fail(f, 0, "exec: \"%s\"%s%s%s", name, why[0] ? ": " : "", why, lower_error(error));
	f->exit_status = status;
	return -1;
}

/* 0 if it can be executed, else errno. */
static int check_executable(const char *path)
{
	struct stat status;
	if (stat(path, &status) < 0)
		return errno;
	if (S_ISDIR(status.st_mode))
		return EISDIR;
	if (!S_ISREG(status.st_mode))
		return EACCES;
	return access(path, X_OK) < 0 ? errno : 0;
}

static int find_path(struct context *c, const char *name, struct failure *f)
{
	char why[PATH_MAX + 8];
	int error = check_executable(name);
	c->found = name;
	if (error == 0)
		return 0;
	if (error != ENOENT && error != ENOTDIR)
		return not_run(f, NOT_EXECUTABLE, error, name, "");
	snprintf(why, sizeof why, "stat %s", name);
	return not_run(f, NOT_FOUND, error, name, why);
}

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* As execvp: the first that can be executed, and a refusal is only told when nothing else is found. */
static int search_path(struct context *c, const char *name, const char *path, struct failure *f)
{
	static char candidate[PATH_MAX];
	bool denied = false;
	for (const char *at = path;; at++) {
		size_t length = strcspn(at, ":");
		int size = snprintf(candidate, sizeof candidate, "%.*s%s%s", (int)length, at, length ? "/" : "./", name);
		if (size < (int)sizeof candidate) {
			int error = check_executable(candidate);
			c->found = candidate;
			if (error == 0)
				return 0;
			denied |= error == EACCES;
		}
		at += length;
		if (!*at)
			break;
	}
	if (denied)
		return not_run(f, NOT_EXECUTABLE, EACCES, name, "");
	return not_run(f, NOT_FOUND, 0, name, "executable file not found in $PATH");
}

OPERATION(FIND)
{
	const char *name = text(c, a[FIND_NAME]), *path = optional_text(c, a[FIND_PATH]);
	if (!name[0])
		return not_run(f, NOT_FOUND, 0, name, "executable file not found in $PATH");
	if (strchr(name, '/'))
		return find_path(c, name, f);
	return search_path(c, name, path ? path : DEFAULT_PATH, f);
}

/* From READY on our death is not HOST's business, from RELEASE on HOST's is not ours. In between, the end of file on
 * the socket ends us. */
static int hand_over(struct context *c, struct failure *f)
{
	c->death_signal = 0;
	prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
	if (message_send(c, MESSAGE_READY, 0, 0, f) < 0 || message_await(c, MESSAGE_RELEASE, 0, NULL, f) < 0)
		return -1;
	close_descriptor(&c->peer);
	return 0;
}

/* Set-up is over and the wait may be long: give back the pages of code and constants. Those that run next come back by
 * themselves, in pieces of 64 KiB; so the C library must not be needed. */
static void shed_code(void)
{
	const ElfW(Phdr) *header = (const void *)getauxval(AT_PHDR);
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), base = 0;
	unsigned long count = header ? getauxval(AT_PHNUM) : 0;
	for (unsigned long i = 0; i < count; i++)
		if (header[i].p_type == PT_PHDR)
			base = (uintptr_t)header - header[i].p_vaddr;
	for (unsigned long i = 0; i < count; i++) {
		uintptr_t first = (base + header[i].p_vaddr) & ~(page - 1);
		uintptr_t end = base + header[i].p_vaddr + header[i].p_memsz;
		if (header[i].p_type == PT_LOAD && !(header[i].p_flags & PF_W))
			bare_call(SYS_madvise, (long)first, (long)(end - first), MADV_DONTNEED);
	}
}

/* Opening a fifo for writing waits for a reader. */
static int open_fifo(const struct context *c)
{
	char name[16];
	autoclose int dir = open_descriptors(c);
	snprintf(name, sizeof name, "%d", slot(c, SLOT_FIFO));
	if (dir < 0)
		return -1;
	shed_code();
	long fd;
	do
		fd = bare_call(SYS_openat, dir, (long)name, O_WRONLY | O_CLOEXEC);
	while (fd == -EINTR);
	errno = fd < 0 ? (int)-fd : 0;
	return fd < 0 ? -1 : (int)fd;
}

/* What is still needed while waiting and after: fewer descriptors are less to guard, and a low limit leaves few. */
static void close_done_slots(struct context *c)
{
	for (unsigned number = 0; number < PLAN_SLOTS; number++)
		if (number != SLOT_FIFO && number != SLOT_PROC && number != SLOT_SECCOMP_SOCKET)
			slot_set(c, number, -1, 0);
}

OPERATION(WAIT_START)
{
	UNUSED(a);
	close_done_slots(c);
	if (hand_over(c, f) < 0)
		return -1;
	c->report_fd = open_fifo(c);
	if (c->report_fd < 0)
		return fail(f, errno, "wait for start: open exec.fifo");
	slot_set(c, SLOT_FIFO, -1, 0);
	return 0;
}

static void default_signals(void)
{
	sigset_t none;
	for (int number = 1; number < NSIG; number++)
		if (number != SIGPIPE) /* while a failure may still have to be written */
			signal_default(number);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal_default(SIGPIPE);
}

/* Close all but stdio, the user's descriptors and the one that tells of a failing execve. */
static void close_all(struct context *c, uint64_t keep)
{
	int first = 3 + (int)keep;
	int *report = c->report_fd >= 0 ? &c->report_fd : &c->peer;
	if (*report >= 0) {
		if (*report != first && dup3(*report, first, O_CLOEXEC) == first)
			*report = first;
		first++;
	}
	if (sys_close_range((unsigned)first, ~0u, 0) == 0)
		return;
	for (int fd = first; fd < 1024; fd++) /* before Linux 5.9 */
		close(fd);
}

/* ENOENT for a file that is there: name the interpreter that is not. */
static void missing_interpreter(const char *path, char *out, size_t size)
{
	char head[256];
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t got = fd < 0 ? -1 : read(fd, head, sizeof head - 1);
	if (got < 0) {
		snprintf(out, size, "exec %s", path);
		return;
	}
	head[got] = 0;
	if (got > 2 && head[0] == '#' && head[1] == '!') {
		char *name = head + 2 + strspn(head + 2, " \t");
		size_t length = strcspn(name, " \t\r\n");
		bool carriage = name[length] == '\r' || memchr(head, '\r', (size_t)got);
		snprintf(out, size, "exec %s: its interpreter %.*s is missing%s", path, (int)length, name,
			 carriage ? " (the script has Windows line ends)" : "");
		return;
	}
	snprintf(out, size, "exec %s: its dynamic loader is missing", path);
}

static int exec_failed(const char *path, int error, struct failure *f)
{
	char line[400];
	if (error == ENOENT && access(path, F_OK) == 0) {
		missing_interpreter(path, line, sizeof line);
		fail(f, 0, "%s%s", line, lower_error(error));
	} else if (error == ENOEXEC) {
		fail(f, 0, "exec %s: exec format error", path);
	} else {
		fail(f, 0, "exec %s%s", path, lower_error(error));
	}
	f->exit_status = error == ENOENT || error == ENOTDIR ? NOT_FOUND : NOT_EXECUTABLE;
	return -1;
}

OPERATION(EXEC)
{
	size_t count;
	char **argv = list_array(c, a[EXEC_ARGS], &count), **envp = list_array(c, a[EXEC_ENV], &count);
	if (!argv || !envp || !c->found)
		return fail(f, errno, "prepare the command");
	if (c->death_signal) /* the command may outlive us */
		prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
	close_all(c, a[EXEC_KEEP_FDS]);
	default_signals();
	if (a[EXEC_FLAGS] & PLAN_EXEC_INIT)
		init_main(c->found, argv, envp);
	else
		execve(c->found, argv, envp);
	int error = errno;
	sigset_t pipe_only; /* nobody may be reading any more */
	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	sigprocmask(SIG_BLOCK, &pipe_only, NULL);
	return exec_failed(c->found, error, f);
}
