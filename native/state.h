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
	int lock;              /* descriptor of the lock while we hold it, else -1 */
	struct plan plan;      /* .data is NULL when a killed creation left none, or when it is damaged */
	const char *damage;    /* what is wrong with the plan, or NULL */
};

/* The text of the failure that state_open gives for a container that is not there. */
#define NO_CONTAINER "container does not exist"

/* Where containers are kept: `given` (--root) made absolute, or the default of this user, which is refused when it
 * lies in /tmp and is not ours alone. `root` has room for PATH_MAX. */
int state_root(char *root, const char *given, struct failure *f);

/* Refuse what is not a container's name: [A-Za-z0-9_+.-]+, neither "." nor "..". */
int state_check_id(const char *id, struct failure *f);

/* Open `<root>/<id>` and read its files. ENOENT gives "container does not exist". */
int state_open(struct state *s, const char *root, const char *id, struct failure *f);
void state_close(struct state *s);

/* Take the container's lock (flock on `lock`), waiting at most timeout_ms, and read the files again: whoever held it
 * may have changed them. Returns its descriptor, which state_close closes. */
int state_lock(struct state *s, int timeout_ms, struct failure *f);

/* What the container is doing now; reads the kernel, not a file that says so. */
enum status state_status(const struct state *s);
const char *status_name(enum status status);

/* Write state.json: temporary name, rename. */
int state_save(int dir, pid_t pid, struct failure *f);

/* A META fact of the container's plan, or "". */
const char *state_meta(const struct state *s, const char *key);

/* A descriptor of the container's init for signals and poll, -1 when it is gone (a zombie counts as gone). */
int state_pidfd(const struct state *s);

/* A process's start time, or 0 when it is gone. */
uint64_t process_start_time(pid_t pid);

/* The letter ps shows for a process ('R', 'S', 'D', 'Z' …), or 0 when it is gone. */
char process_letter(pid_t pid);

/* Remove the files of the folder and the folder; what is missing is no error. */
int state_remove(const char *root, const char *id, struct failure *f);
/* Remove what creators of this id that were killed had prepared. */
void state_remove_drafts(const char *root, const char *id);
