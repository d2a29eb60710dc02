#include "descriptor.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "kernel.h"

void close_descriptor(int *fd)
{
	int error = errno;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = error;
}

void close_automatically(int *fd)
{
	close_descriptor(fd);
}

int take_descriptor(int *fd)
{
	int taken = *fd;
	*fd = -1;
	return taken;
}

static void plug(int number)
{
	if (fcntl(number, F_GETFD) >= 0)
		return;
	int flags = number < 3 ? O_RDWR : O_PATH | O_CLOEXEC;
	int fd = open("/dev/null", flags);
	if (fd >= 0 && fd != number) {
		dup3(fd, number, flags & O_CLOEXEC);
		close(fd);
	}
}

void descriptors_prepare(int preserved)
{
	for (int number = 0; number < 3 + preserved; number++)
		plug(number);
	if (sys_close_range(3 + (unsigned)preserved, ~0u, CLOSE_ON_EXEC_RANGE) == 0)
		return;
	for (int number = 3 + preserved; number < 1024; number++) /* before Linux 5.11 */
		fcntl(number, F_SETFD, FD_CLOEXEC);
}

ssize_t read_small(int dir, const char *path, char *buffer, size_t size)
{
	autoclose int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	size_t length = 0;
	while (length < size - 1) {
		ssize_t got = read(fd, buffer + length, size - 1 - length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		length += (size_t)got;
	}
	while (length > 0 && buffer[length - 1] == '\n')
		length--;
	buffer[length] = 0;
	return (ssize_t)length;
}

int write_small(int dir, const char *path, const void *data, size_t size)
{
	autoclose int fd = openat(dir, path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t written;
	do
		written = write(fd, data, size);
	while (written < 0 && errno == EINTR);
	if (written >= 0 && (size_t)written != size)
		errno = EIO;
	return written >= 0 && (size_t)written == size ? 0 : -1;
}

int write_all(int fd, const void *data, size_t size)
{
	const char *at = data;
	while (size > 0) {
		ssize_t written = write(fd, at, size);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -1;
		at += written;
		size -= (size_t)written;
	}
	return 0;
}

int send_descriptor(int socket, int fd, struct iovec *parts, size_t count)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	memset(&control, 0, sizeof control);
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
	message.msg_control = control.space;
	message.msg_controllen = sizeof control.space;
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(header), &fd, sizeof fd);
	ssize_t sent;
	do
		sent = sendmsg(socket, &message, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -1 : 0;
}
