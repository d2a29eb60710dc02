/* The monitor: the long-lived parent of one container.
 *
 *     monitor.c           beginning and end        monitor_log.c      the log
 *     monitor_options.c   the command line         monitor_clients.c  clients; monitor_attach.c requests
 *     monitor_setup.c     folders, lock, report    monitor_exit.c     exit.json, monitor.json
 *     monitor_run.c       one run, restarts        monitor_restart.c  the policy
 *     monitor_start.c     the start                monitor_health.c   checks; monitor_health_plan.c
 *     monitor_loop.c      events                   monitor_adopt.c    taking over
 *     monitor_stdio.c     streams, terminal        monitor_text.c     JSON texts, atomic files; monitor_memory.c
 *
 * Nothing here allocates from a heap: buffers are anonymous mappings, given back to the kernel when the container is
 * quiet. */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "execute.h"
#include "failure.h"
#include "plan.h"

enum {
	MONITOR_CLIENTS = 32,
	MONITOR_FRAME = 32768,        /* largest payload of an attach frame */
	MONITOR_READ = 65536,         /* a pipe's capacity: one read empties it */
	MONITOR_LINE = 16384,         /* longer lines are logged in parts */
	MONITOR_PARTIAL_MS = 200,     /* an unfinished line is logged after this */
	MONITOR_RETRY_MS = 250,
	MONITOR_QUIET_MS = 1000,      /* buffers go back to the kernel after this */
	MONITOR_LINGER_MS = 10000,    /* how long a slow client can delay our end */
	MONITOR_HEALTH_RESULTS = 5,
	MONITOR_HEALTH_OUTPUT = 4096,
	MONITOR_ARGUMENTS = 64,
	MONITOR_OWN = 8,
};

#define NEVER INT64_MAX
#define NO_FAILURE {.program = UINT16_MAX}

enum log_driver { LOG_NONE, LOG_K8S, LOG_JSON, LOG_PASSTHROUGH };
enum restart_policy { RESTART_NO, RESTART_ON_FAILURE, RESTART_ALWAYS, RESTART_UNLESS_STOPPED };
enum on_unhealthy { UNHEALTHY_NONE, UNHEALTHY_KILL, UNHEALTHY_RESTART };

struct monitor_options {
	const char *root, *id, *dir;
	const char *log_file, *log_format; /* of our own messages */
	const char *log_path, *memory_cgroup, *health_plan;
	char *on_exit[MONITOR_ARGUMENTS + 1];
	unsigned on_exit_count;
	enum log_driver log_driver;
	uint64_t log_max_size;
	unsigned log_max_files;
	enum restart_policy restart;
	uint64_t restart_limit; /* on-failure: 0 is no limit */
	enum on_unhealthy on_unhealthy;
	int64_t health_interval_ms, health_timeout_ms, health_start_period_ms, health_start_interval_ms;
	unsigned health_retries;
	int report_fd, lock_fd, plan_fd, preserve_fds;
	int stdio_uid, stdio_gid; /* host ids that own the streams: root of a user namespace; -1: ours */
	bool tty, keep_stdin, stdin_once, detach_start, delete_at_end, foreground, adopt;
};

/* One of the container's outputs; `buffer` holds the bytes of a line that is not complete yet. */
struct stream {
	int fd;             /* -1 when at end of file */
	uint8_t frame_type;
	const char *name;   /* "stdout", "stderr" */
	uint8_t *buffer;    /* MONITOR_READ + MONITOR_LINE bytes, mapped on first use */
	size_t held;
	int64_t flush_at;   /* when held bytes are logged as a partial line */
	int64_t retry_at;   /* a terminal that nobody has open is looked at again then */
};

struct log {
	enum log_driver driver;
	const char *path;
	uint64_t max_size, size, inode;
	unsigned max_files;
	int fd;
	uint8_t *out;
	size_t used;
};

struct client {
	int fd;             /* -1: free */
	uint8_t follow;     /* FOLLOW_* */
	bool gave_stdin, stdin_waits, wants_exit;
	bool claims;        /* it will clean up in place of --on-exit */
	uint64_t dropped;   /* bytes not sent since the last DROPPED frame */
};

enum { FOLLOW_STDOUT = 1, FOLLOW_STDERR = 2, FOLLOW_LOSSLESS = 4 };

struct health_result {
	char start[40], end[40];
	int exit_code;
	size_t size;
};

enum health_status { HEALTH_STARTING, HEALTH_HEALTHY, HEALTH_UNHEALTHY };

struct health {
	int plan_fd;        /* a memfd; -1: no health check */
	enum health_status status;
	unsigned streak, first, count; /* ring of results */
	struct health_result results[MONITOR_HEALTH_RESULTS];
	uint8_t *outputs;   /* mapped: one MONITOR_HEALTH_OUTPUT per result, and a scratch */
	pid_t pid;
	int pipe;
	int64_t next_at, kill_at, grace_until;
	bool timed_out, broken; /* broken: the plan is damaged, each check fails with 126 */
	char start[40];
	size_t seen;        /* bytes of output of the running check; only the last ones are kept */
};

enum phase { PHASE_CREATED, PHASE_RUNNING, PHASE_WAITING, PHASE_OVER };

struct exit_record {
	int code, signal;
	bool oom, final;
	char started[40], finished[40];
	char error[600];
};

struct monitor {
	struct monitor_options options;
	struct plan plan;
	bool plan_mapped;
	struct context context;
	enum phase phase;
	int dir, state_dir, lock, signals, listener, null;
	int fifo;           /* exec.fifo while we are letting INIT go: end of file when the command runs */
	int watch;          /* inotify on the state folder: `start` removes exec.fifo */
	struct client *starter; /* who asked for the start and waits for the answer */
	int own[MONITOR_OWN]; /* descriptors that the container's process must not keep */
	int input;          /* write end of the container's stdin, or -1 */
	int master;         /* terminal, or -1 */
	struct stream streams[2];
	struct log log;
	struct client clients[MONITOR_CLIENTS];
	bool stalled;       /* a lossless client is full: outputs are not read */
	uint8_t *frame;     /* the request being read */
	uint8_t *pending;   /* stdin not yet taken by the container */
	size_t pending_at, pending_end;
	bool close_input;   /* after the pending bytes */
	uint64_t oom_before;
	struct exit_record record;
	uint64_t restarts;
	int64_t started_ms, restart_at, back_off_ms;
	char restart_time[40];
	bool adopted;       /* the container is not our child */
	bool cleaned;       /* a client has done what --on-exit is for */
	bool owner, no_restart, force_restart, active;
	int64_t quiet_at;
	struct health health;
};

int command_monitor(int argc, char **argv);

/* monitor_options.c */
int monitor_parse(struct monitor_options *o, int argc, char **argv, struct failure *f);

/* monitor_text.c */
int64_t now_ms(void);
void timestamp(char out[40]);
/* JSON string body for any bytes: invalid UTF-8 becomes U+FFFD. Returns the new end; never writes past `limit`
 * (stops at the last whole character that fits). *taken is how many bytes of `data` were used. */
char *json_escape(char *out, const char *limit, const uint8_t *data, size_t size, size_t *taken);
/* How many bytes at the end of `data` are the beginning of a UTF-8 character that is not complete (0 to 3). */
size_t utf8_tail(const uint8_t *data, size_t size);
/* Temporary name, (fsync,) rename(, fsync of the folder). */
int write_atomically(int dir, const char *name, const char *data, size_t size, bool durable, struct failure *f);

/* monitor_memory.c */
uint8_t *map_buffer(size_t size);
void unmap_buffer(uint8_t *buffer, size_t size);
/* Give the pages back and keep the addresses. */
void release_buffer(uint8_t *buffer, size_t size);

/* monitor_stdio.c */
int stdio_prepare(struct monitor *m, struct failure *f);
int stdio_receive(struct monitor *m, struct failure *f);
void stdio_hide(struct monitor *m);
void stdio_close(struct monitor *m);
void stdio_read(struct monitor *m, struct stream *s);
void stdio_drain(struct monitor *m);
/* Queue bytes for the container's stdin; false when the last ones are still waiting. */
bool stdin_give(struct monitor *m, const uint8_t *data, size_t size);
void stdin_push(struct monitor *m);
void stdin_close(struct monitor *m);

/* monitor_log.c */
int log_start(struct log *l, struct failure *f);
/* Take what `s->buffer` holds (s->held bytes, `fresh` of them new): complete lines are logged, the rest is kept. */
void log_take(struct log *l, struct stream *s, size_t fresh);
void log_partial(struct log *l, struct stream *s, bool end);
void log_write(struct log *l);
void log_reopen(struct log *l);
void log_release(struct log *l);

/* monitor_attach.c */
int attach_listen(struct monitor *m, struct failure *f);
void attach_accept(struct monitor *m);
void attach_read(struct monitor *m, struct client *c);
void attach_output(struct monitor *m, uint8_t type, const uint8_t *data, size_t size);
void attach_writable(struct monitor *m, struct client *c);
/* True when every lossless client can take another read's worth. */
bool attach_room(struct monitor *m);
void attach_started(struct monitor *m);
/* Answer the client that asked for the start; `failure` is NULL for success. */
void attach_answer_start(struct monitor *m, const struct failure *failure);
void attach_exit(struct monitor *m);
void attach_health(struct monitor *m);
/* Close all clients; wait, bounded, for those that have no room for their EXIT frame yet, and without bound for those that
 * clean up in place of --on-exit. */
void attach_finish(struct monitor *m);
/* Listen no more. */
void attach_close(struct monitor *m);

/* monitor_exit.c */
uint64_t oom_kills(const char *memory_cgroup);
void record_exit(struct monitor *m, int status);
void record_failure(struct monitor *m, const struct failure *f);
void record_unknown(struct monitor *m);
void save_exit(struct monitor *m);
void save_monitor(struct monitor *m);

/* monitor_restart.c */
/* Decide after an exit: true when the container is to be started again, at m->restart_at. */
bool restart_wanted(struct monitor *m);
bool restart_forbidden(struct monitor *m);

/* monitor_health.c */
void health_open(struct monitor *m);
void health_begin(struct monitor *m);
void health_end(struct monitor *m);
void health_tick(struct monitor *m, int64_t now);
int64_t health_deadline(const struct health *h);
void health_read(struct monitor *m);
bool health_reaped(struct monitor *m, pid_t pid, int status);

/* monitor_health_plan.c */
int health_plan_open(const char *path);
int health_plan_aim(int fd, pid_t pid);

/* monitor_adopt.c */
int adopt(struct monitor *m, struct failure *f);
/* The wait status of an adopted container that ended; false when nobody can tell. */
bool adopted_status(struct monitor *m, int *status);

/* monitor_setup.c */
/* Write a report line. False when nobody can hear it any more. */
bool starter_tell(struct monitor *m, const char *line);
void starter_tell_failure(struct monitor *m, const struct failure *f);
void lower_oom_score(void);
void restore_oom_score(void);
int monitor_prepare(struct monitor *m, struct failure *f);

/* monitor_run.c */
int run_map_plan(struct monitor *m, struct failure *f);
int run_create(struct monitor *m, struct failure *f);
void run_undo(struct monitor *m);
void run_started(struct monitor *m);
void run_going_on(struct monitor *m);
void run_failed(struct monitor *m, struct failure *f);
void run_ended(struct monitor *m);
void run_again(struct monitor *m);
bool run_tear_down(struct monitor *m);
void monitor_forbid_restart(struct monitor *m);
/* Signal the container's process; never another that has its number. */
int monitor_signal(const struct monitor *m, int number);

/* monitor_start.c */
void monitor_let_go(struct monitor *m);
void start_watch(struct monitor *m);
void start_answered(struct monitor *m);
void start_noticed(struct monitor *m);
void start_missed(struct monitor *m);

/* monitor_loop.c */
void monitor_watch(struct monitor *m);
