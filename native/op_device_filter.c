/* DEVICE_FILTER: an eBPF program decides about devices in a v2 control group. */
#include <stdio.h>
#include <string.h>

#include "operations.h"

enum {
	BPF_LOAD = 5,
	BPF_ATTACH = 8,
	BPF_DETACH = 9,
	BPF_FD_BY_ID = 13,
	BPF_QUERY = 16,
	TYPE_CGROUP_DEVICE = 15,
	ATTACH_CGROUP_DEVICE = 6,
	ALLOW_MULTI = 2,
	REPLACE = 4,
	PROGRAMS_MAX = 64,
};

struct load {
	uint32_t type, instructions_count;
	uint64_t instructions, license;
	uint32_t log_level, log_size;
	uint64_t log;
	uint32_t kernel_version, flags;
};

struct attach {
	uint32_t target, program, type, flags, replaced;
};

struct query {
	uint32_t target, type, flags, attached_flags;
	uint64_t ids;
	uint32_t count, padding;
};

static int bpf(int command, void *attributes, size_t size)
{
	return (int)syscall(SYS_bpf, command, attributes, size);
}

static int load_program(const uint8_t *code, size_t size)
{
	struct load load = {
		.type = TYPE_CGROUP_DEVICE,
		.instructions_count = (uint32_t)(size / 8),
		.instructions = (uint64_t)(uintptr_t)code,
		.license = (uint64_t)(uintptr_t)"Apache-2.0",
	};
	return bpf(BPF_LOAD, &load, sizeof load);
}

static int program_by_id(uint32_t id)
{
	uint32_t words[4] = {id};
	return bpf(BPF_FD_BY_ID, words, sizeof words);
}

static int attach_program(int group, int program, int replaced)
{
	struct attach attach = {
		.target = (uint32_t)group,
		.program = (uint32_t)program,
		.type = ATTACH_CGROUP_DEVICE,
		.flags = ALLOW_MULTI | (replaced >= 0 ? REPLACE : 0),
		.replaced = replaced >= 0 ? (uint32_t)replaced : 0,
	};
	return bpf(BPF_ATTACH, &attach, replaced >= 0 ? sizeof attach : offsetof(struct attach, replaced));
}

static void detach_program(int group, uint32_t id)
{
	autoclose int program = program_by_id(id);
	struct attach detach = {.target = (uint32_t)group, .program = (uint32_t)program, .type = ATTACH_CGROUP_DEVICE};
	if (program >= 0)
		bpf(BPF_DETACH, &detach, offsetof(struct attach, replaced));
}

static uint32_t attached_programs(int group, uint32_t ids[PROGRAMS_MAX])
{
	struct query query = {
		.target = (uint32_t)group,
		.type = ATTACH_CGROUP_DEVICE,
		.ids = (uint64_t)(uintptr_t)ids,
		.count = PROGRAMS_MAX,
	};
	return bpf(BPF_QUERY, &query, sizeof query) < 0 ? 0 : query.count;
}

/* One older program is replaced in one step; several (another runtime's) are detached after ours is there. */
static int install(int group, int program)
{
	uint32_t ids[PROGRAMS_MAX];
	uint32_t count = attached_programs(group, ids);
	if (count == 1) {
		autoclose int old = program_by_id(ids[0]);
		if (old >= 0 && attach_program(group, program, old) == 0)
			return 0;
	}
	if (attach_program(group, program, -1) < 0)
		return -1;
	for (uint32_t i = 0; i < count; i++)
		detach_program(group, ids[i]);
	return 0;
}

OPERATION(DEVICE_FILTER)
{
	size_t size;
	const uint8_t *code = plan_bytes(c->plan, a[DEVICE_FILTER_PROGRAM], &size);
	int path = slot(c, a[DEVICE_FILTER_SLOT]);
	if (path < 0 && c->slot_flags[a[DEVICE_FILTER_SLOT] % PLAN_SLOTS] & SLOT_GROUP_OPTIONAL)
		return 0;
	autoclose int group = openat(path, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autoclose int program = load_program(code, size);
	if (program < 0)
		return fail(f, errno, "load the device filter");
	if (group < 0 || install(group, program) < 0)
		return fail(f, errno, "attach the device filter to the control group");
	return 0;
}
