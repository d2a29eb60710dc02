/* The interpreter: one process runs one program of a plan. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "failure.h"
#include "plan.h"

struct context {
	const struct plan *plan;
	unsigned program;      /* PROGRAM_* being run */
	int slots[PLAN_SLOTS]; /* -1 when empty */
	int peer;              /* SOCK_SEQPACKET to the process that cloned us, or that we cloned; -1 */
	pid_t child;           /* HOST: the container's process in our pid namespace, 0 before CLONE */
	int child_pidfd;
	pid_t host_pid;        /* INIT: our pid as HOST sees it, told by POST */
	int state_dir;         /* directory descriptor of the container's state folder; -1 in exec */
	int preserved_fds;     /* descriptors 3 … 2+n belong to the user */
	bool deadline_passed;
	const char *found;     /* INIT: the command that FIND found */
};

void context_init(struct context *c, const struct plan *plan, int state_dir);

/* Run a program to its end. For HOST this returns when INIT has reported ready (WAIT_START) and HOST's last
 * step is done. Failure records from the child come back as this function's failure. */
int run_program(struct context *c, unsigned program, struct failure *f);

/* Undo a HOST that failed or whose container is over: kill and reap the child, run DELETE (errors of single
 * steps are reported as warnings, the rest goes on), close all slots. */
int undo(struct context *c, struct failure *f);

/* Let a created INIT go (opens the state folder's exec.fifo), then run START. If the sync socket is still open
 * (run, monitor) a failing execve comes back as failure, with exit_status 126 or 127. */
int let_go(struct context *c, struct failure *f);
