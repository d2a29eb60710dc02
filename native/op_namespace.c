/* Namespaces: SETNS, UNSHARE, TIME_OFFSETS, KEYRING, HOSTNAME, DOMAINNAME, SYSCTL. */
#include <string.h>
#include <sys/prctl.h>

#include "operations.h"
#include "procfs.h"

OPERATION(SETNS)
{
	if (setns(slot(c, a[SETNS_SLOT]), (int)a[SETNS_FLAGS]) < 0)
		return fail(f, errno, "join the namespace");
	rearm(c);
	return 0;
}

OPERATION(UNSHARE)
{
	UNUSED(c);
	if (unshare((int)a[UNSHARE_FLAGS]) < 0)
		return fail(f, errno, "create namespaces");
	return 0;
}

OPERATION(TIME_OFFSETS)
{
	const char *offsets = text(c, a[TIME_OFFSETS_DATA]);
	int dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* else the file belongs to root of the host */
	int result = procfs_write_self(c, "timens_offsets", offsets, strlen(offsets));
	int error = errno;
	prctl(PR_SET_DUMPABLE, dumpable, 0, 0, 0);
	return result < 0 ? fail(f, error, "write the offsets of the time namespace") : 0;
}

enum { KEYCTL_JOIN = 1, KEYCTL_PERMISSIONS = 5, KEY_POSSESSOR_ALL = 0x3f000000, KEY_USER_ALL = 0x3f0000 };

OPERATION(KEYRING)
{
	long key = syscall(SYS_keyctl, KEYCTL_JOIN, text(c, a[KEYRING_NAME]));
	if (key < 0 && errno == ENOSYS)
		return 0;
	if (key < 0)
		return fail(f, errno, "join a new session keyring%s",
			    errno == EDQUOT ? " (the user's key quota is used up: see /proc/sys/kernel/keys)" : "");
	/* A refusal only costs `exec` the keyring. */
	syscall(SYS_keyctl, KEYCTL_PERMISSIONS, key, KEY_POSSESSOR_ALL | KEY_USER_ALL);
	return 0;
}

OPERATION(HOSTNAME)
{
	const char *name = text(c, a[HOSTNAME_NAME]);
	return sethostname(name, strlen(name)) < 0 ? fail(f, errno, "set the host name to %s", name) : 0;
}

OPERATION(DOMAINNAME)
{
	const char *name = text(c, a[DOMAINNAME_NAME]);
	return setdomainname(name, strlen(name)) < 0 ? fail(f, errno, "set the domain name to %s", name) : 0;
}

OPERATION(SYSCTL)
{
	char path[300] = "sys/";
	const char *name = text(c, a[SYSCTL_PATH]), *value = text(c, a[SYSCTL_VALUE]);
	strncat(path, name, sizeof path - 5);
	if (strlen(name) > sizeof path - 5 || procfs_write(c, path, value, strlen(value)) < 0)
		return fail(f, errno, "write \"%.100s\" to /proc/sys/%s", value, name);
	return 0;
}
