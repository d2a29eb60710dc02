/* Network interfaces: NETLINK, NETDEV. */
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "netlink.h"
#include "operations.h"

/* "The loopback interface" of a message that was made before its namespace. */
static void name_loopback(struct netlink_header *header, uint8_t *body, size_t size)
{
	int32_t index;
	size_t at = header->type == ADDRESS_NEW ? offsetof(struct address_message, index)
						: offsetof(struct link_message, index);
	if (header->type < LINK_NEW || header->type > ADDRESS_GET || size < at + sizeof index)
		return;
	memcpy(&index, body + at, sizeof index);
	if (index != -1)
		return;
	index = LOOPBACK_INDEX;
	memcpy(body + at, &index, sizeof index);
}

static int send_one(int socket, const uint8_t *message, size_t size)
{
	_Alignas(4) uint8_t copy[2048];
	struct netlink_header *header = (void *)copy;
	if (size > sizeof copy) {
		errno = EMSGSIZE;
		return -1;
	}
	memcpy(copy, message, size);
	header->flags |= REQUEST | ACKNOWLEDGE;
	name_loopback(header, copy + sizeof *header, size - sizeof *header);
	return netlink_request(socket, copy, size);
}

OPERATION(NETLINK)
{
	size_t size;
	const uint8_t *at = plan_bytes(c->plan, a[NETLINK_MESSAGES], &size);
	autoclose int socket = netlink_open();
	if (socket < 0)
		return fail(f, errno, "open a netlink socket");
	for (unsigned number = 0; size >= sizeof(struct netlink_header); number++) {
		uint32_t length;
		memcpy(&length, at, sizeof length);
		if (length < sizeof(struct netlink_header) || length > size)
			return fail(f, EBADMSG, "set up the network: request %u", number);
		if (send_one(socket, at, length) < 0)
			return fail(f, errno, "set up the network: request %u", number);
		size_t step = (length + 3u) & ~3u;
		size -= step < size ? step : size;
		at += step;
	}
	return 0;
}

/* An address that goes with its device. */
struct kept_address {
	struct address_message message;
	uint8_t length;
	uint8_t local[16], address[16];
	bool has_local;
};

struct kept {
	uint32_t index;
	unsigned count;
	struct kept_address addresses[32];
};

enum { PERMANENT = 0x80, GLOBAL = 0, ADDRESS = 1, LOCAL = 2 };

static int keep_address(const struct netlink_header *answer, void *data)
{
	struct kept *kept = data;
	const struct address_message *message = (const void *)(answer + 1);
	const uint8_t *at = (const uint8_t *)(message + 1), *end = (const uint8_t *)answer + answer->length;
	if (answer->type != ADDRESS_NEW || message->index != kept->index || message->scope != GLOBAL ||
	    !(message->flags & PERMANENT) || kept->count == sizeof kept->addresses / sizeof *kept->addresses)
		return 0;
	struct kept_address *k = &kept->addresses[kept->count++];
	memset(k, 0, sizeof *k);
	k->message = *message;
	k->length = message->family == AF_INET ? 4 : 16;
	while (end - at >= (ptrdiff_t)sizeof(struct attribute)) {
		const struct attribute *head = (const void *)at;
		if (head->length < sizeof *head || head->length > end - at)
			break;
		if (head->length == sizeof *head + k->length && head->type == ADDRESS)
			memcpy(k->address, head + 1, k->length);
		if (head->length == sizeof *head + k->length && head->type == LOCAL) {
			memcpy(k->local, head + 1, k->length);
			k->has_local = true;
		}
		at += (head->length + 3u) & ~3u;
	}
	return 0;
}

static int read_addresses(int socket, struct kept *kept)
{
	struct request r;
	struct address_message all = {0};
	request_begin(&r, ADDRESS_GET, REQUEST | DUMP, &all, sizeof all);
	return netlink_dump(socket, &r, keep_address, kept);
}

static int move_device(int socket, uint32_t index, int namespace, const char *name)
{
	struct request r;
	struct link_message link = {.index = (int32_t)index};
	request_begin(&r, LINK_SET, REQUEST | ACKNOWLEDGE, &link, sizeof link);
	request_add(&r, LINK_NAMESPACE, &namespace, sizeof namespace);
	request_add(&r, LINK_NAME, name, strlen(name) + 1);
	return netlink_request(socket, &r, r.header.length);
}

static int add_address(int socket, const struct kept_address *k, uint32_t index)
{
	struct request r;
	struct address_message message = k->message;
	message.index = index;
	message.flags = PERMANENT;
	request_begin(&r, ADDRESS_NEW, REQUEST | ACKNOWLEDGE | CREATE | EXCLUSIVE, &message, sizeof message);
	request_add(&r, ADDRESS, k->address, k->length);
	if (k->has_local)
		request_add(&r, LOCAL, k->local, k->length);
	return netlink_request(socket, &r, r.header.length) < 0 && errno != EEXIST ? -1 : 0;
}

static int set_up(int socket, uint32_t index)
{
	struct request r;
	struct link_message link = {.index = (int32_t)index, .flags = IFF_UP, .change = IFF_UP};
	request_begin(&r, LINK_SET, REQUEST | ACKNOWLEDGE, &link, sizeof link);
	return netlink_request(socket, &r, r.header.length);
}

/* A netlink socket in another namespace; we come back at once. */
static int open_inside(int namespace)
{
	autoclose int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (own < 0 || setns(namespace, CLONE_NEWNET) < 0)
		return -1;
	int socket = netlink_open();
	int error = errno;
	if (setns(own, CLONE_NEWNET) < 0)
		close_descriptor(&socket);
	else
		errno = error;
	return socket;
}

static uint32_t index_by_name(int socket, const char *name)
{
	struct ifreq query = {0};
	snprintf(query.ifr_name, sizeof query.ifr_name, "%s", name);
	return ioctl(socket, SIOCGIFINDEX, &query) < 0 ? 0 : (uint32_t)query.ifr_ifindex;
}

static bool index_taken(int socket, uint32_t index)
{
	struct ifreq query = {.ifr_ifindex = (int)index};
	return ioctl(socket, SIOCGIFNAME, &query) == 0;
}

/* The device keeps its number unless that is taken; only then does its name have to find it. */
static int hand_over(int outside, int inside, int namespace, struct kept *kept, const char *name)
{
	bool taken = index_taken(inside, kept->index);
	if (move_device(outside, kept->index, namespace, name) < 0)
		return -1;
	uint32_t index = taken ? index_by_name(inside, name) : kept->index;
	for (unsigned i = 0; i < kept->count; i++)
		if (add_address(inside, &kept->addresses[i], index) < 0)
			return -1;
	return set_up(inside, index);
}

OPERATION(NETDEV)
{
	char path[48];
	const char *name = text(c, a[NETDEV_NAME]), *new_name = text(c, a[NETDEV_NEW_NAME]);
	struct kept kept = {0};
	snprintf(path, sizeof path, "/proc/%d/ns/net", c->child);
	autoclose int namespace = open(path, O_RDONLY | O_CLOEXEC);
	autoclose int outside = netlink_open();
	if (namespace < 0 || outside < 0)
		return fail(f, errno, "move the network device %s", name);
	kept.index = index_by_name(outside, name);
	if (!kept.index || read_addresses(outside, &kept) < 0)
		return fail(f, errno, "find the network device %s", name);
	autoclose int inside = open_inside(namespace);
	if (inside < 0 || hand_over(outside, inside, namespace, &kept, new_name[0] ? new_name : name) < 0)
		return fail(f, errno, "move the network device %s into the container", name);
	return 0;
}
