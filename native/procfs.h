/* Files of procfs, through the private one in slot PROC: never through what a container may have mounted. */
#pragma once

#include <stddef.h>

#include "execute.h"

/* Open a file below procfs' root ("sys/net/…"). In PROC no link, mount or magic link is followed. */
int procfs_open(const struct context *c, const char *path, int flags);
/* The same below our own directory ("attr/exec"). */
int procfs_open_self(const struct context *c, const char *path, int flags);
/* One write(2). */
int procfs_write(const struct context *c, const char *path, const void *data, size_t size);
int procfs_write_self(const struct context *c, const char *path, const void *data, size_t size);

/* The directory of our descriptors: its entries, by number, can be opened again. */
int open_descriptors(const struct context *c);
/* Open again, with other flags, what an O_PATH descriptor stands for. */
int reopen(const struct context *c, int fd, int flags);

/* For system calls that only take paths: go where `fd_path` names a descriptor, e.g. "self/fd/7". Changes the working
 * directory when there is a private procfs. */
#define FD_PATH_SIZE 32
const char *fd_path(const struct context *c, int fd, char buffer[FD_PATH_SIZE]);
