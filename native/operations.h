/* The operations of the instruction set: `OPERATION(MKDIR) { … }` defines the one named MKDIR. */
#pragma once

#include <errno.h>

#include "descriptor.h"
#include "execute.h"
#include "kernel.h"

#define OPERATION(name) int operate_##name(struct context *c, const uint64_t *a, struct failure *f)

#define DECLARE(code, name, kinds) OPERATION(name);
INSTRUCTIONS(DECLARE)
#undef DECLARE

/* For operations that do not need all of their parameters. */
#define UNUSED(value) (void)(value)

/* A text argument. */
static inline const char *text(const struct context *c, uint64_t word)
{
	return (const char *)c->plan->data + (uint32_t)word;
}

/* One that may be absent: NULL. */
static inline const char *optional_text(const struct context *c, uint64_t word)
{
	return plan_text(c->plan, word);
}

/* The descriptor in a slot, -1 if it is empty or SLOT_NONE. */
static inline int slot(const struct context *c, uint64_t number)
{
	return number < PLAN_SLOTS ? c->slots[number] : -1;
}

/* Put a descriptor into a slot, closing what it held. */
void slot_set(struct context *c, uint64_t number, int fd, uint8_t flags);

/* The process that attributes apply to: HOST's child once there is one, else oneself. */
static inline pid_t subject(const struct context *c)
{
	return c->program == PROGRAM_HOST ? c->child : 0;
}

/* A list argument as a NULL-terminated array in an anonymous mapping (nothing is allocated after clone). */
char **list_array(const struct context *c, uint64_t word, size_t *count);

/* Arm PDEATHSIG and dumpability again: changing ids resets both. Ends the process if its parent is gone. */
void rearm(const struct context *c);

/* INIT, STAGE: true when the process at the other end of `peer` is gone. */
bool peer_gone(const struct context *c);

/* HOST: wait until INIT is ready, if it is not known yet. */
int await_ready(struct context *c, struct failure *f);

/* What runs in a new process: a program, to its end or to execve. */
_Noreturn void child_main(struct context *c, unsigned program);
