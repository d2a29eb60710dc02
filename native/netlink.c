#include "netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROUTE = 0, ANSWER_ERROR = 2, ANSWER_DONE = 3, ALIGNMENT = 4 };

static size_t align(size_t size)
{
	return (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
}

int netlink_open(void)
{
	return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, ROUTE);
}

void request_begin(struct request *r, uint16_t type, uint16_t flags, const void *message, size_t size)
{
	memset(r, 0, sizeof *r);
	r->header.type = type;
	r->header.flags = flags;
	memcpy(r->body, message, size);
	r->header.length = (uint32_t)(sizeof r->header + align(size));
}

void request_add(struct request *r, uint16_t type, const void *data, size_t size)
{
	struct attribute head = {.length = (uint16_t)(sizeof head + size), .type = type};
	uint8_t *at = (uint8_t *)r + r->header.length;
	memcpy(at, &head, sizeof head);
	memcpy(at + sizeof head, data, size);
	r->header.length += (uint32_t)align(head.length);
}

static ssize_t receive(int socket, void *buffer, size_t size)
{
	ssize_t got;
	do
		got = recv(socket, buffer, size, 0);
	while (got < 0 && errno == EINTR);
	return got;
}

/* 0, or the error that the kernel answers with. */
static int error_of(const struct netlink_header *answer)
{
	int32_t error = 0;
	if (answer->length >= sizeof *answer + sizeof error)
		memcpy(&error, answer + 1, sizeof error);
	return -error;
}

int netlink_request(int socket, const void *message, size_t size)
{
	_Alignas(4) uint8_t buffer[4096];
	if (send(socket, message, size, MSG_NOSIGNAL) < 0)
		return -1;
	for (;;) {
		ssize_t got = receive(socket, buffer, sizeof buffer);
		const struct netlink_header *answer = (const void *)buffer;
		if (got < (ssize_t)sizeof *answer) {
			errno = got < 0 ? errno : EIO;
			return -1;
		}
		if (answer->type != ANSWER_ERROR)
			continue;
		errno = error_of(answer);
		return errno ? -1 : 0;
	}
}

/* 1: more to come, 0: done. */
static int take_answers(const uint8_t *buffer, size_t size, netlink_answer *each, void *data)
{
	const struct netlink_header *answer = (const void *)buffer;
	while (size >= sizeof *answer && answer->length >= sizeof *answer && answer->length <= size) {
		if (answer->type == ANSWER_DONE)
			return 0;
		if (answer->type == ANSWER_ERROR) {
			errno = error_of(answer);
			return -1;
		}
		if (each(answer, data) < 0)
			return -1;
		size_t step = align(answer->length);
		size -= step < size ? step : size;
		answer = (const void *)((const uint8_t *)answer + step);
	}
	return 1;
}

int netlink_dump(int socket, const struct request *r, netlink_answer *each, void *data)
{
	_Alignas(4) uint8_t buffer[16384];
	int more = send(socket, r, r->header.length, MSG_NOSIGNAL) < 0 ? -1 : 1;
	while (more > 0) {
		ssize_t got = receive(socket, buffer, sizeof buffer);
		more = got < 0 ? -1 : take_answers(buffer, (size_t)got, each, data);
	}
	return more;
}
