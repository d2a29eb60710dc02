/* What HOST and the processes it cloned tell each other: one datagram is a token, a pid, or a failure. */
#pragma once

#include "execute.h"

enum message_kind {
	MESSAGE_TOKEN = 1,
	MESSAGE_PID,     /* STAGE: INIT's pid */
	MESSAGE_READY,   /* INIT: waits for `start` */
	MESSAGE_RELEASE, /* HOST: all is recorded, INIT may outlive us */
	MESSAGE_FAILURE,
};

int message_send(struct context *c, enum message_kind kind, uint32_t token, pid_t pid, struct failure *f);
/* Wait for exactly this message; a failure record becomes *f. INIT and STAGE end when the other side is gone. */
int message_await(struct context *c, enum message_kind kind, uint32_t token, pid_t *pid, struct failure *f);
/* HOST: wait for the end of file that a successful execve brings; a failure record becomes *f. */
int message_await_end(struct context *c, struct failure *f);
/* Tell HOST (or `start`, or stderr) what went wrong here. */
void message_failure(struct context *c, const struct failure *f);
