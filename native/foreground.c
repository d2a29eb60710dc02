#include "foreground.h"

#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "descriptor.h"
#include "kernel.h"
#include "terminal.h"

/* The slot of INIT's CONSOLE, or SLOT_NONE when HOST connects it itself or there is none. */
static uint64_t free_console_slot(const struct plan *plan)
{
	uint64_t wanted = SLOT_NONE;
	for (const struct step *s = plan_first(plan, PROGRAM_INIT); s; s = plan_next(plan, PROGRAM_INIT, s))
		if (strcmp(plan_instruction_name(s->code), "CONSOLE") == 0)
			wanted = s->words[CONSOLE_SOCKET];
	for (const struct step *s = plan_first(plan, PROGRAM_HOST); s; s = plan_next(plan, PROGRAM_HOST, s))
		if (strcmp(plan_instruction_name(s->code), "CONNECT") == 0 && s->words[CONNECT_SLOT] == wanted)
			wanted = SLOT_NONE;
	return wanted;
}

static int offer_console(struct foreground *g, struct context *c, struct failure *f)
{
	int pair[2];
	uint64_t number = free_console_slot(c->plan);
	if (number >= PLAN_SLOTS)
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return fail(f, errno, "make a console socket");
	c->slots[number] = pair[1];
	g->console = pair[0];
	return 0;
}

int foreground_begin(struct foreground *g, struct context *c, struct failure *f)
{
	sigset_t all;
	*g = (struct foreground){-1, -1, -1};
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	g->signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (g->signals < 0)
		return fail(f, errno, "make a signal descriptor");
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	return offer_console(g, c, f);
}

static int receive_descriptor(int socket)
{
	char name[64];
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = {name, sizeof name};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	message.msg_control = control.space;
	message.msg_controllen = sizeof control.space;
	if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) <= 0)
		return -1;
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int fd = -1;
	if (header && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof fd))
		memcpy(&fd, CMSG_DATA(header), sizeof fd);
	return fd;
}

int foreground_terminal(struct foreground *g, struct context *c, struct failure *f)
{
	if (g->console < 0)
		return 0;
	close_descriptor(&c->slots[free_console_slot(c->plan)]);
	g->master = receive_descriptor(g->console);
	close_descriptor(&g->console);
	if (g->master < 0)
		return fail(f, errno, "receive the container's terminal");
	terminal_begin(g->master);
	return 0;
}

static void forward(const struct context *c, int signal)
{
	if (signal == SIGTTIN || signal == SIGTTOU)
		return;
	if (c->child_pidfd < 0 || sys_pidfd_send_signal(c->child_pidfd, signal) < 0)
		kill(c->child, signal);
}

/* Reap everything that ended; true when the container's process was among it. */
static bool reap(const struct context *c, int *status)
{
	int one;
	pid_t pid;
	bool over = false;
	while ((pid = waitpid(-1, &one, WNOHANG)) > 0)
		if (pid == c->child) {
			*status = one;
			over = true;
		}
	if (pid < 0 && errno == ECHILD && !over) { /* someone else took its status */
		*status = 255 << 8;
		over = true;
	}
	return over;
}

static bool handle_signals(struct foreground *g, const struct context *c, int *status)
{
	struct signalfd_siginfo info;
	bool over = false;
	while (read(g->signals, &info, sizeof info) == (ssize_t)sizeof info) {
		int signal = (int)info.ssi_signo;
		if (signal == SIGCHLD)
			over |= reap(c, status);
		else if (signal == SIGWINCH && g->master >= 0)
			terminal_resize(g->master);
		else
			forward(c, signal);
	}
	return over;
}

int foreground_wait(struct foreground *g, struct context *c)
{
	int status = 0;
	bool over = reap(c, &status);
	while (!over) {
		struct pollfd events[1 + TERMINAL_EVENTS] = {{.fd = g->signals, .events = POLLIN}};
		terminal_events(g->master, events + 1);
		poll(events, 1 + TERMINAL_EVENTS, -1);
		terminal_pass(g->master, events + 1);
		if (events[0].revents)
			over = handle_signals(g, c, &status);
	}
	if (g->master >= 0)
		terminal_end(g->master);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
