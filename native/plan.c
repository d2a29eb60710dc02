#include "plan.h"

#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct header {
	uint32_t magic;
	uint16_t version;
	uint16_t programs;
	uint32_t size;
	uint32_t checksum;
};

struct entry {
	uint32_t id;
	uint32_t steps;
	uint32_t offset;
	uint32_t size;
};

struct instruction {
	const char *name;
	const char *kinds;
};

#define CODES 128
#define INSTRUCTION(code, name, kinds) [code] = {#name, kinds},
static const struct instruction instructions[CODES] = {INSTRUCTIONS(INSTRUCTION)};
#undef INSTRUCTION

/* The checksum of zlib and gzip: reflected polynomial 0xEDB88320. */
static void fill_table(uint32_t table[256])
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t value = i;
		for (int bit = 0; bit < 8; bit++)
			value = value >> 1 ^ (value & 1 ? 0xEDB88320u : 0);
		table[i] = value;
	}
}

/* Of the whole plan but the checksum itself. */
static uint32_t checksum(const uint8_t *data, size_t size)
{
	uint32_t table[256], sum = ~0u;
	fill_table(table);
	for (size_t i = 0; i < offsetof(struct header, checksum); i++)
		sum = sum >> 8 ^ table[(sum ^ data[i]) & 0xff];
	for (size_t i = sizeof(struct header); i < size; i++)
		sum = sum >> 8 ^ table[(sum ^ data[i]) & 0xff];
	return ~sum;
}

static bool text_ok(const struct plan *plan, uint64_t word)
{
	size_t at = (uint32_t)word, length = (size_t)(word >> 32);
	if (at >= plan->size || length >= plan->size - at || plan->data[at + length] != 0)
		return false;
	return !memchr(plan->data + at, 0, length);
}

static bool bytes_ok(const struct plan *plan, uint64_t word)
{
	size_t at = (uint32_t)word, length = (size_t)(word >> 32);
	return at <= plan->size && length <= plan->size - at && at % 8 == 0;
}

static bool list_ok(const struct plan *plan, uint64_t word)
{
	size_t at = (uint32_t)word, length = (size_t)(word >> 32);
	return bytes_ok(plan, word) && (length == 0 || plan->data[at + length - 1] == 0);
}

static bool argument_ok(const struct plan *plan, char kind, uint64_t word)
{
	switch (kind) {
	case 'f':
		return word < PLAN_SLOTS || word == SLOT_NONE;
	case 's':
		return text_ok(plan, word);
	case 'o':
		return word == UINT64_MAX || text_ok(plan, word);
	case 'b':
		return bytes_ok(plan, word);
	case 'l':
		return list_ok(plan, word);
	default:
		return true;
	}
}

static bool step_ok(const struct plan *plan, const struct step *step, const char **why)
{
	*why = "unknown instruction";
	if (step->code >= CODES || !instructions[step->code].name)
		return false;
	const char *kinds = instructions[step->code].kinds;
	*why = "wrong number of arguments";
	if (step->arguments != strlen(kinds))
		return false;
	*why = "label out of bounds";
	if (step->label >= plan->size || !memchr(plan->data + step->label, 0, plan->size - step->label))
		return false;
	*why = "bad argument";
	for (unsigned i = 0; i < step->arguments; i++)
		if (!argument_ok(plan, kinds[i], step->words[i]))
			return false;
	return true;
}

static bool steps_ok(const struct plan *plan, const struct program *program, const char **why)
{
	size_t at = 0;
	for (uint32_t i = 0; i < program->count; i++) {
		const struct step *step = (const void *)(program->steps + at);
		*why = "a step is out of bounds";
		if (program->size - at < sizeof *step)
			return false;
		size_t size = sizeof *step + 8u * step->arguments;
		if (program->size - at < size || !step_ok(plan, step, why))
			return false;
		at += size;
	}
	*why = "a program is longer than its steps";
	return at == program->size;
}

static bool programs_ok(struct plan *plan, unsigned count, const char **why)
{
	*why = "program table out of bounds";
	if (count > PROGRAM_COUNT || plan->size - sizeof(struct header) < count * sizeof(struct entry))
		return false;
	for (unsigned i = 0; i < count; i++) {
		const struct entry *entry =
			(const void *)(plan->data + sizeof(struct header) + i * sizeof(struct entry));
		*why = "unknown or repeated program";
		if (entry->id >= PROGRAM_COUNT || plan->programs[entry->id].steps)
			return false;
		*why = "a program is out of bounds";
		if (entry->offset % 8 || entry->offset > plan->size || entry->size > plan->size - entry->offset)
			return false;
		struct program *program = &plan->programs[entry->id];
		*program = (struct program){plan->data + entry->offset, entry->steps, entry->size};
		if (!steps_ok(plan, program, why))
			return false;
	}
	return true;
}

int plan_verify(struct plan *plan, const uint8_t *data, size_t size, const char **why)
{
	memset(plan, 0, sizeof *plan);
	plan->data = data;
	plan->size = size;
	const struct header *header = (const void *)data;
	*why = "it is shorter than its header";
	if (size < sizeof *header)
		return -1;
	*why = "it does not begin with the plan's mark";
	if (header->magic != PLAN_MAGIC)
		return -1;
	*why = "it was made by another version";
	if (header->version != PLAN_VERSION)
		return -1;
	*why = "its checksum does not match";
	if (header->size != size || header->checksum != checksum(data, size))
		return -1;
	return programs_ok(plan, header->programs, why) ? 0 : -1;
}

void plan_seal(uint8_t *data)
{
	struct header *header = (void *)data;
	header->checksum = checksum(data, header->size);
}

int plan_open(struct plan *plan, int fd, const char **why)
{
	struct stat status;
	memset(plan, 0, sizeof *plan);
	*why = "it cannot be read";
	if (fstat(fd, &status) < 0)
		return -1;
	*why = "its size is wrong";
	if (status.st_size < (off_t)sizeof(struct header) || status.st_size > 1 << 30)
		return -1;
	size_t size = (size_t)status.st_size;
	void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	*why = "it cannot be mapped";
	if (data == MAP_FAILED)
		return -1;
	if (plan_verify(plan, data, size, why) == 0)
		return 0;
	munmap(data, size);
	memset(plan, 0, sizeof *plan);
	return -1;
}

void plan_close(struct plan *plan)
{
	if (plan->data)
		munmap((void *)(uintptr_t)plan->data, plan->size);
	memset(plan, 0, sizeof *plan);
}

const struct step *plan_first(const struct plan *plan, unsigned program)
{
	const struct program *p = &plan->programs[program];
	return p->count ? (const void *)p->steps : NULL;
}

const struct step *plan_next(const struct plan *plan, unsigned program, const struct step *step)
{
	const struct program *p = &plan->programs[program];
	const uint8_t *next = (const uint8_t *)step + sizeof *step + 8u * step->arguments;
	return next < p->steps + p->size ? (const void *)next : NULL;
}

const char *plan_instruction_name(unsigned code)
{
	return code < CODES && instructions[code].name ? instructions[code].name : "?";
}

const char *plan_meta(const struct plan *plan, const char *key)
{
	for (const struct step *s = plan_first(plan, PROGRAM_META); s; s = plan_next(plan, PROGRAM_META, s)) {
		const char *name = plan_text(plan, s->words[META_KEY]);
		if (s->code == 1 && name && strcmp(name, key) == 0)
			return plan_text(plan, s->words[META_VALUE]);
	}
	return "";
}
