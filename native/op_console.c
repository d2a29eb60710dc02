/* CONSOLE: a terminal from the container's devpts. */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#include "mounting.h"
#include "operations.h"
#include "procfs.h"

enum { GET_PEER = 0x5441 /* TIOCGPTPEER */, PTY_MAJOR_FIRST = 136, PTY_MAJOR_LAST = 143 };

static bool on_devpts(int fd)
{
	struct statfs file_system;
	return fstatfs(fd, &file_system) == 0 && file_system.f_type == DEVPTS_MAGIC;
}

/* The multiplexer of a devpts: not something else with its name, not one from elsewhere. */
static bool is_multiplexer(int fd)
{
	struct stat status;
	return on_devpts(fd) && fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) &&
	       status.st_rdev == makedev(5, 2) && status.st_ino == 2;
}

static bool is_terminal(int fd)
{
	struct stat status;
	return on_devpts(fd) && fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) &&
	       major(status.st_rdev) >= PTY_MAJOR_FIRST && major(status.st_rdev) <= PTY_MAJOR_LAST;
}

static int open_master(const struct context *c, struct failure *f)
{
	autoclose int path = root_open(slot(c, SLOT_ROOT), "/dev/pts/ptmx", O_PATH | O_NOFOLLOW);
	if (path < 0)
		return fail(f, errno, "open /dev/pts/ptmx (a terminal needs a devpts mount on /dev/pts)");
	if (!is_multiplexer(path))
		return fail(f, 0, "/dev/pts/ptmx is not the multiplexer of a devpts");
	int master = reopen(c, path, O_RDWR | O_NOCTTY);
	return master < 0 ? fail(f, errno, "open a new terminal") : master;
}

static int open_peer(int master, struct failure *f)
{
	int unlock = 0;
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return fail(f, errno, "unlock the terminal");
	int peer = ioctl(master, GET_PEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (peer < 0)
		return fail(f, errno, "open the terminal");
	if (is_terminal(peer))
		return peer;
	close_descriptor(&peer);
	return fail(f, 0, "the new terminal is not one of a devpts");
}

static void set_size(int peer, const uint64_t *a)
{
	struct winsize size = {
		.ws_row = (unsigned short)a[CONSOLE_HEIGHT],
		.ws_col = (unsigned short)a[CONSOLE_WIDTH],
	};
	if (size.ws_row || size.ws_col)
		ioctl(peer, TIOCSWINSZ, &size);
}

static int bind_console(struct context *c, int peer, struct failure *f)
{
	autoclose int target = root_make(slot(c, SLOT_ROOT), "/dev/console", ROOT_FILE, 0620);
	if (target < 0)
		return fail(f, errno, "make /dev/console");
	autoclose int tree = sys_open_tree(peer, "", TREE_CLONE | TREE_CLOEXEC | AT_EMPTY_PATH);
	if (tree < 0 && errno != ENOSYS && errno != EPERM)
		return fail(f, errno, "mount the terminal on /dev/console");
	return attach(c, tree < 0 ? peer : tree, target, "/dev/console", tree < 0 ? SLOT_TREE_PATH : 0, false, f);
}

static int take_control(int peer, struct failure *f)
{
	setsid(); /* fails if we lead a session already */
	if (ioctl(peer, TIOCSCTTY, 0) < 0)
		return fail(f, errno, "make the terminal the controlling one");
	for (int fd = 0; fd < 3; fd++)
		if (dup2(peer, fd) < 0)
			return fail(f, errno, "make the terminal standard stream %d", fd);
	return 0;
}

static int send_master(const struct context *c, const uint64_t *a, int master, struct failure *f)
{
	char name[32];
	unsigned number = 0;
	ioctl(master, TIOCGPTN, &number);
	size_t length = (size_t)snprintf(name, sizeof name, "/dev/pts/%u", number);
	struct iovec part = {name, length};
	if (send_descriptor(slot(c, a[CONSOLE_SOCKET]), master, &part, 1) < 0)
		return fail(f, errno, "send the terminal over the console socket");
	return 0;
}

OPERATION(CONSOLE)
{
	autoclose int master = open_master(c, f);
	autoclose int peer = master < 0 ? -1 : open_peer(master, f);
	if (peer < 0)
		return -1;
	set_size(peer, a);
	if (fchown(peer, (uid_t)a[CONSOLE_UID], (gid_t)a[CONSOLE_GID]) < 0 && errno != EPERM && errno != EINVAL)
		return fail(f, errno, "give the terminal to the container's user");
	if (a[CONSOLE_FLAGS] & PLAN_CONSOLE_BIND && bind_console(c, peer, f) < 0)
		return -1;
	if (send_master(c, a, master, f) < 0 || take_control(peer, f) < 0)
		return -1;
	slot_set(c, a[CONSOLE_SOCKET], -1, 0);
	return 0;
}
