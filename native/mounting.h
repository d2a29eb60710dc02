/* Shared by the operations that put mounts into the container's root. */
#pragma once

#include "execute.h"
#include "resolve.h"

/* Attach a detached mount (or bind a path's descriptor, see SLOT_TREE_PATH) on `target`, an O_PATH descriptor that `path`
 * resolved to, and verify that `path` now shows it: someone may have moved the target meanwhile. A mount on "/" becomes
 * the new ROOT. `flags` are SLOT_TREE_*; `strict` resolves without following a last link. */
int attach(struct context *c, int tree, int target, const char *path, unsigned flags, bool strict, struct failure *f);

/* The same for something that mount(2) put on `path`, which was `before`: open it again and verify that it changed. */
int verify_mounted(struct context *c, int before, const char *path, bool strict, struct failure *f);

bool is_root_path(const char *path);

/* Mount attributes (MOUNT_ATTR_*) of what is mounted on an open path, keeping the others. */
int set_attributes(struct context *c, int fd, uint64_t set, uint64_t clear, bool whole_tree);
/* MS_* words as MOUNT_ATTR_* and back. */
uint64_t attributes_of_flags(uint64_t ms);
unsigned long flags_of_attributes(uint64_t attributes);

/* mount(2) propagation words (one of MS_PRIVATE …, MS_REC) on an open path. */
int set_propagation(struct context *c, int fd, uint64_t flags);

/* Fill a new tmpfs with a copy of a directory. */
int copy_up(int from, int to);
