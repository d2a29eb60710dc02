/* The state folder of a container: `<root>/<id>/{plan,config.json,state.json,exec.fifo,lock}`. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "failure.h"
#include "plan.h"

enum status { STATUS_CREATING, STATUS_CREATED, STATUS_RUNNING, STATUS_PAUSED, STATUS_STOPPED };

struct state {
	int dir;               /* O_PATH | O_DIRECTORY */
	pid_t pid;             /* 0 before SAVE_STATE */
	uint64_t start_time;   /* field 22 of /proc/PID/stat, guards against pid reuse */
	char created[40];      /* RFC 3339 with nanoseconds, UTC */
	struct plan plan;
};

/* Open `<root>/<id>` and read its files. ENOENT gives "container does not exist". */
int state_open(struct state *s, const char *root, const char *id, struct failure *f);
void state_close(struct state *s);

/* Take the container's lock (flock on `lock`), waiting at most timeout_ms. Returns its descriptor. */
int state_lock(const struct state *s, int timeout_ms, struct failure *f);

/* What the container is doing now; reads the kernel, not a file that says so. */
enum status state_status(const struct state *s);
const char *status_name(enum status status);

/* Write state.json: temporary name, rename. */
int state_save(int dir, pid_t pid, struct failure *f);
/* A process's start time, or 0 when it is gone. */
uint64_t process_start_time(pid_t pid);

/* Remove the files of the folder and the folder; what is missing is no error. */
int state_remove(const char *root, const char *id, struct failure *f);
