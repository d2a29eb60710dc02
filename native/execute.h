/* The interpreter: one process runs one program of a plan. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "failure.h"
#include "plan.h"

/* What a slot holds beyond a descriptor. */
enum {
	SLOT_TREE_PATH = 1,       /* not a detached mount but a path to be bound (no open_tree) */
	SLOT_TREE_WHOLE = 2,      /* with all mounts below */
	SLOT_TREE_PENDING = 4,    /* TREE_ATTR could not be done (no mount_setattr): ATTACH remounts */
	SLOT_GROUP_OPTIONAL = 8,  /* a control group that may be missing */
};

#define CONTEXT_GROUPS 40

struct context {
	const struct plan *plan;
	unsigned program;      /* PROGRAM_* being run */
	const struct step *step; /* being run */
	int slots[PLAN_SLOTS]; /* -1 when empty */
	uint8_t slot_flags[PLAN_SLOTS];
	int peer;              /* SOCK_SEQPACKET to the process that cloned us, or that we cloned; -1 */
	pid_t child;           /* HOST: the container's process in our pid namespace, 0 before CLONE */
	pid_t stage;           /* HOST: STAGE, until ADOPT */
	int child_pidfd;
	uint64_t birth_group;  /* HOST: slot of the v2 group that the child was born in, or SLOT_NONE */
	bool ready;            /* HOST: INIT has reported ready, or executed its command */
	bool undoing;          /* DELETE of a start that failed: only touch groups we made */
	pid_t host_pid;        /* INIT: our pid as HOST sees it, told by POST */
	int state_dir;         /* directory descriptor of the container's state folder; -1 in exec */
	int lock_fd;           /* the creation lock, let go in children; -1 */
	const int *host_only;  /* HOST: more descriptors that children close at once */
	unsigned host_only_count;
	int report_fd;         /* INIT: exec.fifo while the command is started; -1 */
	int preserved_fds;     /* descriptors 3 … 2+n belong to the user */
	mode_t umask;          /* ours before set-up made it 0; hooks get it back */
	int death_signal;      /* INIT: PDEATHSIG, armed again after each change of ids */
	int dumpable;          /* INIT: PR_SET_DUMPABLE as asked, or -1 */
	const char *rootfs;    /* INIT: path of the root directory on the host */
	int null_device;       /* INIT: verified /dev/null for MASK, opened on first use */
	int empty_tree;        /* INIT: an empty read-only directory for MASK */
	const char *found;     /* INIT: the command that FIND found */
	const char *groups[CONTEXT_GROUPS]; /* HOST: control groups opened by CGROUP_DIR */
	unsigned group_count;
};

void context_init(struct context *c, const struct plan *plan, int state_dir);

/* Run a program to its end. For HOST this returns when INIT has reported ready (WAIT_START), or in a plan without
 * WAIT_START has executed its command, and HOST's last step is done. Failure records from the child come back as this
 * function's failure. */
int run_program(struct context *c, unsigned program, struct failure *f);

/* Run every step of a program whatever fails; failures are reported as warnings. */
void run_all_steps(struct context *c, unsigned program);

/* Undo a HOST that failed or whose container is over: kill and reap the child, run DELETE (errors of single
 * steps are reported as warnings, the rest goes on), close all slots. */
int undo(struct context *c, struct failure *f);

/* Let a created INIT go (opens the state folder's exec.fifo), wait until it has executed its command, then run START. A
 * command that cannot be executed comes back as failure, with exit_status 126 or 127. */
int let_go(struct context *c, struct failure *f);
