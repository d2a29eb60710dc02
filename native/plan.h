/* A launch plan in memory: verified once, then read without further checks. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "instructions.h"

struct step {
	uint16_t code;
	uint16_t arguments;
	uint32_t label;
	uint64_t words[];
};

struct program {
	const uint8_t *steps;
	uint32_t count;
	uint32_t size;
};

struct plan {
	const uint8_t *data;
	size_t size;
	struct program programs[PROGRAM_COUNT];
};

/* Map and verify a plan. Everything is checked here: magic, version, checksum, bounds, alignment, known codes,
 * argument counts, NUL ends, slot numbers. Returns 0, or -1 with a constant text of what is wrong in *why. */
int plan_open(struct plan *plan, int fd, const char **why);
int plan_verify(struct plan *plan, const uint8_t *data, size_t size, const char **why);
void plan_close(struct plan *plan);
/* Renew the checksum of a verified plan in which a number was changed. */
void plan_seal(uint8_t *data);

/* Walk: `for (s = plan_first(p, id); s; s = plan_next(p, id, s))`. */
const struct step *plan_first(const struct plan *plan, unsigned program);
const struct step *plan_next(const struct plan *plan, unsigned program, const struct step *step);

const char *plan_instruction_name(unsigned code);

/* The value of a META fact, or "" when it is absent. */
const char *plan_meta(const struct plan *plan, const char *key);

static inline const char *plan_text(const struct plan *plan, uint64_t word)
{
	return word == UINT64_MAX ? NULL : (const char *)plan->data + (uint32_t)word;
}

static inline const uint8_t *plan_bytes(const struct plan *plan, uint64_t word, size_t *size)
{
	*size = (size_t)(word >> 32);
	return plan->data + (uint32_t)word;
}

static inline const char *plan_label(const struct plan *plan, const struct step *step)
{
	return (const char *)plan->data + step->label;
}

/* Texts of a list argument, one after another; `end` is past the last NUL. */
static inline const char *plan_list(const struct plan *plan, uint64_t word, const char **end)
{
	const char *first = (const char *)plan->data + (uint32_t)word;
	*end = first + (size_t)(word >> 32);
	return first;
}
