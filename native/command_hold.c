/* `@hold`: a process that a systemd scope can be made for before the container exists. It ends when a byte arrives on
 * stdin (a step of HOST, once the container's process is in the scope) or when the process that started it ends. */
#include <poll.h>
#include <sys/prctl.h>

#include "commands.h"
#include "kernel.h"

int command_hold(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	pid_t parent = getppid();
	struct pollfd ends[] = {
		{.fd = STDIN_FILENO, .events = POLLIN},
		{.fd = (int)syscall(NR_PIDFD_OPEN, parent, 0), .events = POLLIN},
	};

	if (ends[1].fd < 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		return 0;
	while (poll(ends, 2, -1) < 0 && errno == EINTR)
		continue;
	return 0;
}
