/* `@unshare [--uid-map M --gid-map M --newuidmap P --newgidmap P] -- ARGV`, `@unshare --join PID -- ARGV`
 *
 * Become ARGV as root of a user and mount namespace, for an engine without privileges: of new ones with the maps
 * given (else only the caller's own ids are mapped), or of those that process PID is in. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "commands.h"
#include "descriptor.h"
#include "kernel.h"
#include "maps.h"
#include "report.h"

struct request {
	struct maps maps;
	const char *join;
	char **argv;
};

static int parse(struct request *r, int argc, char **argv)
{
	static const struct option options[] = {
		{"uid-map", required_argument, NULL, 'u'},   {"gid-map", required_argument, NULL, 'g'},
		{"newuidmap", required_argument, NULL, 'U'}, {"newgidmap", required_argument, NULL, 'G'},
		{"join", required_argument, NULL, 'j'},      {NULL, 0, NULL, 0},
	};
	for (int option; (option = getopt_long(argc, argv, "+", options, NULL)) != -1;)
		switch (option) {
		case 'u': r->maps.uid_map = optarg; break;
		case 'g': r->maps.gid_map = optarg; break;
		case 'U': r->maps.uid_helper = optarg; break;
		case 'G': r->maps.gid_helper = optarg; break;
		case 'j': r->join = optarg; break;
		default: return -1;
		}
	r->argv = argv + optind;
	return optind < argc ? 0 : -1;
}

/* The set-id helpers must run outside: a child made before the namespace waits for our word. */
static int unshare_mapped(struct maps *maps, struct failure *f)
{
	int word[2];
	pid_t self = getpid();
	char byte = 0;
	if (pipe2(word, O_CLOEXEC) < 0)
		return fail(f, errno, "make a pipe");
	pid_t mapper = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
	if (mapper == 0) {
		close(word[1]);
		if (read(word[0], &byte, 1) != 1)
			_exit(1);
		struct failure mine = {0};
		if (maps_write(maps, self, &mine) == 0)
			_exit(0);
		report_failure(&mine);
		_exit(1);
	}
	close(word[0]);
	if (mapper < 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) {
		int error = errno;
		close(word[1]);
		return fail(f, error, "create a user namespace");
	}
	int status = 1;
	ssize_t sent = write(word[1], &byte, 1);
	close(word[1]);
	while (waitpid(mapper, &status, 0) < 0 && errno == EINTR)
		;
	if (sent == 1 && status == 0)
		return 0;
	return fail(f, 0, "cannot map the ids that /etc/subuid and /etc/subgid give this user; correct them there");
}

static int join(const char *pid, struct failure *f)
{
	int pidfd = sys_pidfd_open(atoi(pid));
	if (pidfd < 0)
		return fail(f, errno, "open process %s", pid);
	int result = setns(pidfd, CLONE_NEWUSER | CLONE_NEWNS);
	int error = errno;
	close(pidfd);
	return result < 0 ? fail(f, error, "join the namespaces of process %s", pid) : 0;
}

static int become_root(struct failure *f)
{
	if (syscall(SYS_setresgid, 0, 0, 0) < 0 || syscall(SYS_setresuid, 0, 0, 0) < 0)
		return fail(f, errno, "become root of the user namespace");
	return 0;
}

int command_unshare(int argc, char **argv)
{
	char own_uid[48], own_gid[48];
	struct request r = {0};
	struct failure f = {0};
	if (parse(&r, argc, argv) < 0) {
		report_error("@unshare: bad arguments");
		return 1;
	}
	if (!r.maps.uid_map) {
		snprintf(own_uid, sizeof own_uid, "0 %u 1", geteuid());
		snprintf(own_gid, sizeof own_gid, "0 %u 1", getegid());
		r.maps = (struct maps){.uid_map = own_uid, .gid_map = own_gid, .deny_setgroups = true};
	}
	int result = r.join ? join(r.join, &f) : unshare_mapped(&r.maps, &f);
	if (result == 0 && !r.join && mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		result = fail(&f, errno, "make mounts private");
	if (result == 0 && become_root(&f) == 0) {
		execvp(r.argv[0], r.argv);
		fail(&f, errno, "execute %s", r.argv[0]);
	}
	report_failure(&f);
	return 125;
}
