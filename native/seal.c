#include "seal.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "descriptor.h"
#include "kernel.h"

extern char **environ;

#define MARK "WHERRY_SEALED"

enum {
	MEMORY_CLOEXEC = 1, /* MFD_* */
	MEMORY_SEALING = 2,
	MEMORY_EXECUTABLE = 16,
	GET_SEALS = 1034, /* F_* */
	ADD_SEALS = 1033,
	SEAL_WRITE = 8,
	SEAL_EVERYTHING = 1 | 2 | 4 | 8, /* seals, shrinking, growing, writing */
};

static bool is_sealed(void)
{
	struct statvfs status;
	autoclose int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	int seals = fcntl(fd, GET_SEALS);
	if (seals >= 0)
		return seals & SEAL_WRITE;
	return fstatvfs(fd, &status) == 0 && status.f_flag & ST_RDONLY;
}

static int read_only_mount(void)
{
	struct mount_attributes attributes = {.set = ATTRIBUTE_RDONLY};
	autoclose int tree = sys_open_tree(AT_FDCWD, "/proc/self/exe", TREE_CLONE | TREE_CLOEXEC);
	if (tree < 0 || sys_mount_setattr(tree, 0, &attributes) < 0)
		return -1;
	return take_descriptor(&tree);
}

static int memory_file(void)
{
	unsigned flags = MEMORY_CLOEXEC | MEMORY_SEALING;
	int fd = (int)syscall(SYS_memfd_create, "wherry-runtime", flags | MEMORY_EXECUTABLE);
	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		fd = (int)syscall(SYS_memfd_create, "wherry-runtime", flags);
	return fd;
}

static int sealed_copy(void)
{
	struct stat status;
	autoclose int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	autoclose int to = memory_file();
	if (from < 0 || to < 0 || fstat(from, &status) < 0)
		return -1;
	for (off_t left = status.st_size; left > 0;) {
		ssize_t sent = sendfile(to, from, NULL, (size_t)left);
		if (sent <= 0)
			return -1;
		left -= sent;
	}
	if (fchmod(to, 0700) < 0 || fcntl(to, ADD_SEALS, SEAL_EVERYTHING) < 0)
		return -1;
	return take_descriptor(&to);
}

static void execute(int fd, char **argv)
{
	if (fd >= 0)
		syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH);
}

int seal(char **argv, struct failure *f)
{
	if (is_sealed()) {
		unsetenv(MARK);
		prctl(PR_SET_NAME, "wherry-runtime"); /* else it is the number of a descriptor */
		return 0;
	}
	if (geteuid() != 0 && access("/proc/self/exe", W_OK) < 0) /* what we cannot write, what we start cannot */
		return 0;
	if (getenv(MARK)) /* a copy of ourselves that does not look protected: stop rather than go round */
		return fail(f, 0, "cannot protect the executable: is /proc mounted?");
	if (setenv(MARK, "1", 1) < 0)
		return fail(f, errno, "protect the executable");
	autoclose int mounted = read_only_mount();
	execute(mounted, argv);
	autoclose int copy = sealed_copy();
	execute(copy, argv);
	return fail(f, errno, "protect the executable");
}
