/* Privileges: IDS, BOUNDING, CAPABILITIES, NO_NEW_PRIVS, SECCOMP, LSM. */
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>

#include "operations.h"
#include "procfs.h"

enum { CAPABILITIES_MAX = 64, CAPABILITY_VERSION = 0x20080522 };

struct capability_header {
	uint32_t version;
	int pid;
};

struct capability_words {
	uint32_t effective, permitted, inheritable;
};

static int get_capabilities(struct capability_words words[2])
{
	struct capability_header header = {.version = CAPABILITY_VERSION};
	return (int)syscall(SYS_capget, &header, words);
}

static int set_capabilities(const struct capability_words words[2])
{
	struct capability_header header = {.version = CAPABILITY_VERSION};
	return (int)syscall(SYS_capset, &header, words);
}

/* Leaving uid 0 clears the effective set; the steps that follow still need it. */
static int regain_effective(void)
{
	struct capability_words words[2];
	if (get_capabilities(words) < 0)
		return -1;
	for (int i = 0; i < 2; i++)
		words[i].effective = words[i].permitted;
	return set_capabilities(words);
}

OPERATION(IDS)
{
	uid_t uid = (uid_t)a[IDS_UID];
	gid_t gid = (gid_t)a[IDS_GID];
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return fail(f, errno, "keep capabilities");
	if (syscall(SYS_setresgid, gid, gid, gid) < 0)
		return fail(f, errno, "become group %u", gid);
	if (syscall(SYS_setresuid, uid, uid, uid) < 0)
		return fail(f, errno, "become user %u", uid);
	if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0 || regain_effective() < 0)
		return fail(f, errno, "keep capabilities");
	rearm(c);
	return 0;
}

OPERATION(BOUNDING)
{
	UNUSED(c);
	for (int capability = 0; capability < CAPABILITIES_MAX; capability++) {
		if (a[BOUNDING_MASK] >> capability & 1 || prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0)
			continue;
		if (errno == EINVAL)
			break; /* the kernel knows no more */
		if (prctl(PR_CAPBSET_READ, capability, 0, 0, 0) != 0)
			return fail(f, errno, "drop capability %d from the bounding set", capability);
	}
	return 0;
}

static int raise_ambient(uint64_t mask, struct failure *f)
{
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno == EINVAL)
		return 0; /* before Linux 4.3 */
	for (int capability = 0; capability < CAPABILITIES_MAX; capability++)
		if (mask >> capability & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0)
			return fail(f, errno, "raise ambient capability %d", capability);
	return 0;
}

OPERATION(CAPABILITIES)
{
	struct capability_words words[2];
	UNUSED(c);
	for (int i = 0; i < 2; i++) {
		words[i].effective = (uint32_t)(a[CAPABILITIES_EFFECTIVE] >> 32 * i);
		words[i].permitted = (uint32_t)(a[CAPABILITIES_PERMITTED] >> 32 * i);
		words[i].inheritable = (uint32_t)(a[CAPABILITIES_INHERITABLE] >> 32 * i);
	}
	if (set_capabilities(words) < 0)
		return fail(f, errno, "set capabilities (some of those asked for may not be ours to give)");
	return raise_ambient(a[CAPABILITIES_AMBIENT], f);
}

OPERATION(NO_NEW_PRIVS)
{
	UNUSED(c), UNUSED(a);
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? fail(f, errno, "set no_new_privs") : 0;
}

enum { SECCOMP_FILTER = 1, SECCOMP_LISTENER_FLAG = 8, PARTS_MAX = 64 };

struct filter {
	uint16_t count;
	const void *program;
};

/* Every byte 1 in the text stands for the pid. */
static size_t with_pid(const char *at, const char *pid, struct iovec *parts, size_t count)
{
	while (count + 2 < PARTS_MAX) {
		size_t length = strcspn(at, "\1");
		parts[count++] = (struct iovec){(char *)(uintptr_t)at, length};
		if (!at[length])
			break;
		parts[count++] = (struct iovec){(char *)(uintptr_t)pid, strlen(pid)};
		at += length + 1;
	}
	return count;
}

static int send_listener(const struct context *c, const uint64_t *a, int listener)
{
	char pid[16];
	struct iovec parts[PARTS_MAX];
	snprintf(pid, sizeof pid, "%d", c->host_pid);
	size_t count = with_pid(text(c, a[SECCOMP_HEAD]), pid, parts, 0);
	parts[count++] = (struct iovec){pid, strlen(pid)};
	count = with_pid(text(c, a[SECCOMP_TAIL]), pid, parts, count);
	return send_descriptor(slot(c, a[SECCOMP_LISTENER]), listener, parts, count);
}

OPERATION(SECCOMP)
{
	size_t size;
	struct filter filter;
	filter.program = plan_bytes(c->plan, a[SECCOMP_PROGRAM], &size);
	filter.count = (uint16_t)(size / 8);
	if (size / 8 > UINT16_MAX)
		return fail(f, E2BIG, "load the seccomp filter");
	long result = syscall(SYS_seccomp, SECCOMP_FILTER, a[SECCOMP_FLAGS], &filter);
	if (result < 0 && errno == ENOSYS && a[SECCOMP_FLAGS] == 0)
		result = prctl(PR_SET_SECCOMP, 2 /* SECCOMP_MODE_FILTER */, &filter, 0, 0);
	if (result < 0)
		return fail(f, errno, "load the seccomp filter");
	if (!(a[SECCOMP_FLAGS] & SECCOMP_LISTENER_FLAG))
		return result == 0 ? 0 : fail(f, 0, "load the seccomp filter: thread %ld has another one", result);
	autoclose int listener = (int)result;
	if (send_listener(c, a, listener) < 0)
		return fail(f, errno, "send the seccomp listener");
	slot_set(c, a[SECCOMP_LISTENER], -1, 0);
	return 0;
}

OPERATION(LSM)
{
	const char *attribute = text(c, a[LSM_ATTRIBUTE]), *label = text(c, a[LSM_LABEL]);
	if (procfs_write_self(c, attribute, label, strlen(label)) < 0)
		return fail(f, errno, "write \"%.200s\" to /proc/self/%s", label, attribute);
	return 0;
}
