/* Paths inside a directory tree that someone hostile may be changing.
 *
 * Every function resolves `path` as if `root` were "/": symbolic links and ".." stay inside, magic links are refused.
 * openat2 does it; where it is missing (ENOSYS, or a filter's EPERM) a walk from descriptor to descriptor. They return
 * a descriptor, or -1 with errno. */
#pragma once

#include <limits.h>
#include <stdint.h>
#include <sys/types.h>

enum root_kind { ROOT_DIRECTORY, ROOT_FILE };

/* Open something that exists. `flags` as for open(2), e.g. O_PATH; O_NOFOLLOW concerns the last component. */
int root_open(int root, const char *path, int flags);

/* The same, refusing symbolic links anywhere on the way. */
int root_open_strictly(int root, const char *path, int flags);

/* O_PATH descriptor of a directory or file, made with missing parents (0755) if it is not there. An existing one may be
 * of the other kind. Dangling links are followed and their target is made. */
int root_make(int root, const char *path, enum root_kind kind, mode_t mode);

/* O_PATH descriptor of the directory that holds (or would hold) the last component, made with its parents; the last
 * component itself is copied to `name` and not looked at. EISDIR for "/" and "..". */
int root_parent(int root, const char *path, char name[NAME_MAX + 1]);
