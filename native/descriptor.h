/* Small helpers around descriptors. None of them allocates. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* `autoclose int fd = -1;` is closed when its scope ends; errno survives. */
#define autoclose __attribute__((cleanup(close_automatically)))
void close_automatically(int *fd);

/* Close *fd unless it is negative, and make it -1. */
void close_descriptor(int *fd);
/* Give up ownership: the value, leaving -1 behind. */
int take_descriptor(int *fd);

/* Open whatever of 0 … 2 + preserved is closed, so that no descriptor of ours gets such a number: stdio on
 * /dev/null, the others close-on-exec. Marks everything from 3 + preserved on close-on-exec. */
void descriptors_prepare(int preserved);

/* The whole of a small file as NUL-terminated text, without trailing newline. Returns its length, or -1. */
ssize_t read_small(int dir, const char *path, char *buffer, size_t size);
/* One write(2) of the whole content. */
int write_small(int dir, const char *path, const void *data, size_t size);
/* write(2) until all is written. */
int write_all(int fd, const void *data, size_t size);

/* Send `text` (its parts, one after another) with one descriptor over a unix socket. */
struct iovec;
int send_descriptor(int socket, int fd, struct iovec *parts, size_t count);
