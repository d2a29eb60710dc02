/* Container init: the smallest process that can be pid 1. Every signal that can be forwarded stays blocked and is
 * taken by sigwaitinfo, so there are no handlers and no races. */
#include "init.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "signals.h"

/* Signals that report a fault of the receiver itself: forwarding them would lie. */
static const int faults[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS};

/* Written by the child while it shares our memory (vfork), read after it executed or left. */
static volatile int exec_error;

static void forwardable(sigset_t *set)
{
	sigfillset(set);
	for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++)
		sigdelset(set, faults[i]);
}

/* The child must begin as if we had not been there: no ignored signals, the given mask. SIGTTOU stays blocked until
 * the terminal is ours, else taking it would stop us. */
static void become_command(const char *path, char *const argv[], char *const envp[], const sigset_t *mask)
{
	setpgid(0, 0);
	tcsetpgrp(STDIN_FILENO, getpid()); /* no terminal is no error */
	signals_reset(mask);
	execve(path, argv, envp);
	exec_error = errno;
	_exit(127);
}

static pid_t spawn(const char *path, char *const argv[], char *const envp[], const sigset_t *mask)
{
	exec_error = 0;
	pid_t child = vfork();
	if (child == 0)
		become_command(path, argv, envp, mask);
	if (child > 0 && exec_error) {
		int error = exec_error;
		waitpid(child, NULL, 0);
		errno = error;
		return -1;
	}
	return child;
}

static int exit_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Reap everything that is ready. True when the command itself ended; its status is in *code then. */
static bool reap(pid_t child, int *code)
{
	bool ended = false;

	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);
		if (pid <= 0)
			return ended;
		if (pid == child) {
			*code = exit_status(status);
			ended = true;
		}
	}
}

static void forward(pid_t child, int number)
{
	/* Job control is between the terminal and its foreground group; we are never part of it. */
	if (number == SIGTSTP || number == SIGTTIN || number == SIGTTOU)
		return;
	kill(child, number);
}

int init_main(const char *path, char *const argv[], char *const envp[])
{
	sigset_t signals, mask;
	int code = 0;

	forwardable(&signals);
	sigprocmask(SIG_BLOCK, &signals, &mask);
	pid_t child = spawn(path, argv, envp, &mask);
	if (child < 0) {
		int error = errno;
		sigprocmask(SIG_SETMASK, &mask, NULL);
		errno = error;
		return -1;
	}
	/* Descriptors meant for the command must not be kept open by us. */
	syscall(SYS_close_range, 3u, ~0u, 0u);
	while (!reap(child, &code)) {
		siginfo_t info;
		int number = sigwaitinfo(&signals, &info);
		if (number > 0 && number != SIGCHLD)
			forward(child, number);
	}
	_exit(code);
}
