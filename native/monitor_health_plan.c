/* The exec plan of health checks: a copy of our own, aimed at whatever process the container is now. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "descriptor.h"
#include "monitor.h"
#include "state.h"

enum { LARGEST = 1 << 20 };

static int copy_to_memory(int from)
{
	uint8_t buffer[4096];
	ssize_t n;
	int fd = memfd_create("health-plan", MFD_CLOEXEC);

	while (fd >= 0 && (n = read(from, buffer, sizeof buffer)) > 0)
		if (write_all(fd, buffer, (size_t)n) < 0)
			close_descriptor(&fd);
	return fd;
}

int health_plan_open(const char *path)
{
	autoclose int file = open(path, O_RDONLY | O_CLOEXEC);

	return file < 0 ? -1 : copy_to_memory(file);
}

/* PIDFD is the step that names the container: its pid, and its start time against reuse of that pid. */
static int aim(uint8_t *data, size_t size, pid_t pid)
{
	struct plan plan;
	const char *why;

	if (plan_verify(&plan, data, size, &why) < 0)
		return -1;
	for (const struct step *s = plan_first(&plan, PROGRAM_HOST); s; s = plan_next(&plan, PROGRAM_HOST, s)) {
		if (strcmp(plan_instruction_name(s->code), "PIDFD") != 0)
			continue;
		uint64_t *words = (uint64_t *)(void *)(data + ((const uint8_t *)s->words - data));
		words[PIDFD_PID] = (uint64_t)pid;
		words[PIDFD_START_TIME] = process_start_time(pid);
	}
	plan_seal(data);
	return 0;
}

int health_plan_aim(int fd, pid_t pid)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > LARGEST)
		return -1;
	size_t size = (size_t)st.st_size;
	void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED)
		return -1;
	int status = aim(data, size, pid);
	munmap(data, size);
	return status;
}
