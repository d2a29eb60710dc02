/* Just enough rtnetlink: requests with acknowledgement, dumps, attributes. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct netlink_header {
	uint32_t length;
	uint16_t type;
	uint16_t flags;
	uint32_t sequence;
	uint32_t port;
};

struct link_message {
	uint8_t family, padding;
	uint16_t type;
	int32_t index;
	uint32_t flags, change;
};

struct address_message {
	uint8_t family, prefix, flags, scope;
	uint32_t index;
};

struct attribute {
	uint16_t length, type;
};

enum {
	LINK_NEW = 16,
	LINK_GET = 18,
	LINK_SET = 19,
	ADDRESS_NEW = 20,
	ADDRESS_GET = 22,

	REQUEST = 1,
	ACKNOWLEDGE = 4,
	DUMP = 0x300,
	CREATE = 0x400,
	EXCLUSIVE = 0x200,

	LINK_NAME = 3,
	LINK_NAMESPACE = 28, /* IFLA_NET_NS_FD */
	LOOPBACK_INDEX = 1,
};

struct request {
	struct netlink_header header;
	_Alignas(4) uint8_t body[496];
};

int netlink_open(void);
/* Begin a request whose body starts with `size` bytes of `message`. */
void request_begin(struct request *r, uint16_t type, uint16_t flags, const void *message, size_t size);
void request_add(struct request *r, uint16_t type, const void *data, size_t size);
/* Send one message and wait for its acknowledgement. -1 with errno. */
int netlink_request(int socket, const void *message, size_t size);
/* Send a dump request; every answer is given to `each`. */
typedef int netlink_answer(const struct netlink_header *answer, void *data);
int netlink_dump(int socket, const struct request *r, netlink_answer *each, void *data);
