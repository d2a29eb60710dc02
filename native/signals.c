#include "signals.h"

#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <signal.h>
#include <stdlib.h>
#include <strings.h>

enum { REALTIME_FIRST = 34, REALTIME_LAST = 64 }; /* as libraries count, after the two that they keep */

static const struct {
	const char *name;
	int number;
} names[] = {
	{"HUP", SIGHUP},   {"INT", SIGINT},       {"QUIT", SIGQUIT},   {"ILL", SIGILL},     {"TRAP", SIGTRAP},
	{"ABRT", SIGABRT}, {"IOT", SIGABRT},      {"BUS", SIGBUS},     {"FPE", SIGFPE},     {"KILL", SIGKILL},
	{"USR1", SIGUSR1}, {"SEGV", SIGSEGV},     {"USR2", SIGUSR2},   {"PIPE", SIGPIPE},   {"ALRM", SIGALRM},
	{"TERM", SIGTERM}, {"STKFLT", SIGSTKFLT}, {"CHLD", SIGCHLD},   {"CLD", SIGCHLD},    {"CONT", SIGCONT},
	{"STOP", SIGSTOP}, {"TSTP", SIGTSTP},     {"TTIN", SIGTTIN},   {"TTOU", SIGTTOU},   {"URG", SIGURG},
	{"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ},     {"VTALRM", SIGVTALRM}, {"PROF", SIGPROF}, {"WINCH", SIGWINCH},
	{"IO", SIGIO},     {"POLL", SIGIO},       {"PWR", SIGPWR},     {"SYS", SIGSYS},
	{"RTMIN", REALTIME_FIRST}, {"RTMAX", REALTIME_LAST},
};

/* A whole decimal number in 0 … 64 counted from `base` on; -1 for anything else. */
static int offset(const char *text, int base)
{
	char *end;
	long number = strtol(text, &end, 10);

	if (end == text || *end || base + number < 0 || base + number > REALTIME_LAST)
		return -1;
	return base + (int)number;
}

int signal_number(const char *text)
{
	if (*text >= '0' && *text <= '9')
		return offset(text, 0);
	if (!strncasecmp(text, "SIG", 3))
		text += 3;
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		if (!strcasecmp(text, names[i].name))
			return names[i].number;
	if (!strncasecmp(text, "RTMIN+", 6))
		return offset(text + 5, REALTIME_FIRST);
	if (!strncasecmp(text, "RTMAX-", 6))
		return offset(text + 5, REALTIME_LAST);
	return -1;
}

/* By the system call: musl's sigaction refuses the numbers that its threads use, which a parent may have ignored. */
void signal_default(int number)
{
	struct {
		void (*handler)(int);
		unsigned long flags;
		void (*restorer)(void);
		uint64_t mask;
	} standard = {.handler = SIG_DFL};

	syscall(SYS_rt_sigaction, number, &standard, NULL, sizeof standard.mask);
}

void signals_reset(const sigset_t *mask)
{
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		signal_default(number);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, mask ? mask : &none, NULL);
}
