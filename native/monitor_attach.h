/* The attach protocol inside the monitor: monitor_clients.c sends frames, monitor_attach.c obeys requests. */
#pragma once

#include "monitor.h"

enum request {
	STDIN = 1, STDIN_CLOSE, RESIZE, FOLLOW, DETACH, START, NO_RESTART, REOPEN_LOG, KILL, CLAIM,
	CLEANED,
};

enum event {
	DONE = 0x80, DROPPED = 0x83, FOLLOWING, STARTED, EXITED, ERROR, HEALTH,
};

/* 1: sent, 0: no room, -1: the client is gone. */
int client_send(const struct client *c, uint8_t type, const void *payload, size_t size);
void client_done(const struct client *c, uint8_t request);
void client_refuse(const struct client *c, uint8_t request, int status, const char *text);
void client_leave(struct monitor *m, struct client *c);
/* A little-endian number. */
void client_put(uint8_t *at, uint64_t value, unsigned bytes);
