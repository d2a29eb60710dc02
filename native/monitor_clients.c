/* Clients of the attach socket and what they are told, see docs/attach-protocol.md: SOCK_SEQPACKET, one message is one
 * frame. The kernel keeps the frames whole and bounds what a slow client can cost: when its socket is full, output for
 * it is dropped and counted, unless the client asked to be waited for. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "monitor_attach.h"

static int socket_address(const struct monitor *m, struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	return snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/attach.sock", m->dir);
}

int attach_listen(struct monitor *m, struct failure *f)
{
	struct sockaddr_un address;

	socket_address(m, &address);
	unlinkat(m->dir, "attach.sock", 0);
	m->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (m->listener < 0)
		return fail(f, errno, "make the attach socket");
	mode_t mask = umask(0177);
	int status = bind(m->listener, (struct sockaddr *)&address, sizeof address);
	umask(mask);
	if (status < 0 || listen(m->listener, 16) < 0)
		return fail(f, errno, "listen on attach.sock");
	return 0;
}

void client_leave(struct monitor *m, struct client *c)
{
	bool last = c->gave_stdin && m->options.stdin_once;

	if (m->starter == c)
		m->starter = NULL;
	close(c->fd);
	*c = (struct client){.fd = -1};
	if (last)
		stdin_close(m);
}

int client_send(const struct client *c, uint8_t type, const void *payload, size_t size)
{
	struct iovec parts[2] = {{&type, 1}, {(void *)(uintptr_t)payload, size}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = size ? 2 : 1};

	if (sendmsg(c->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 1;
	return errno == EAGAIN || errno == ENOBUFS || errno == EINTR ? 0 : -1;
}

void client_put(uint8_t *at, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

static bool tell_dropped(struct client *c)
{
	uint8_t count[8];

	if (!c->dropped)
		return true;
	client_put(count, c->dropped, 8);
	if (client_send(c, DROPPED, count, sizeof count) <= 0)
		return false;
	c->dropped = 0;
	return true;
}

void client_done(const struct client *c, uint8_t request)
{
	client_send(c, DONE, &request, 1);
}

void client_refuse(const struct client *c, uint8_t request, int status, const char *text)
{
	uint8_t payload[2 + 700];
	size_t size = strlen(text);

	if (size > sizeof payload - 2)
		size = sizeof payload - 2;
	payload[0] = request;
	payload[1] = (uint8_t)status;
	memcpy(payload + 2, text, size);
	client_send(c, ERROR, payload, size + 2);
}

static void send_started(const struct monitor *m, const struct client *c)
{
	uint8_t pid[4];

	client_put(pid, (uint64_t)m->context.child, 4);
	client_send(c, STARTED, pid, sizeof pid);
}

static bool send_exit(const struct monitor *m, const struct client *c)
{
	const struct exit_record *r = &m->record;
	uint8_t payload[14];

	client_put(payload, (uint32_t)r->code, 4);
	client_put(payload + 4, (uint32_t)r->signal, 4);
	client_put(payload + 8, m->restarts, 4);
	payload[12] = r->oom;
	payload[13] = r->final;
	return client_send(c, EXITED, payload, sizeof payload) != 0;
}

static bool allowed(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof peer;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return false;
	return peer.uid == 0 || peer.uid == geteuid();
}

void attach_accept(struct monitor *m)
{
	int fd = accept4(m->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	for (int i = 0; i < MONITOR_CLIENTS && allowed(fd); i++) {
		if (m->clients[i].fd >= 0)
			continue;
		m->clients[i] = (struct client){.fd = fd};
		if (m->phase == PHASE_RUNNING)
			send_started(m, &m->clients[i]);
		return;
	}
	close(fd);
}

bool attach_room(struct monitor *m)
{
	for (int i = 0; i < MONITOR_CLIENTS; i++) {
		struct pollfd p = {.fd = m->clients[i].fd, .events = POLLOUT};
		if (p.fd < 0 || !(m->clients[i].follow & FOLLOW_LOSSLESS))
			continue;
		if (poll(&p, 1, 0) == 0)
			return false;
	}
	return true;
}

static void send_output(struct monitor *m, struct client *c, uint8_t type, const uint8_t *data, size_t size)
{
	int sent = tell_dropped(c) ? client_send(c, type, data, size) : 0;

	if (sent < 0)
		client_leave(m, c);
	else if (sent == 0)
		c->dropped += size;
}

void attach_output(struct monitor *m, uint8_t type, const uint8_t *data, size_t size)
{
	uint8_t wanted = type == 0x81 ? FOLLOW_STDOUT : FOLLOW_STDERR;

	for (int i = 0; i < MONITOR_CLIENTS; i++) {
		struct client *c = &m->clients[i];
		for (size_t at = 0; at < size && c->fd >= 0 && (c->follow & wanted); at += MONITOR_FRAME) {
			size_t part = size - at < MONITOR_FRAME ? size - at : MONITOR_FRAME;
			send_output(m, c, type, data + at, part);
		}
	}
}

void attach_writable(struct monitor *m, struct client *c)
{
	tell_dropped(c);
	if (!c->wants_exit || !send_exit(m, c))
		return;
	c->wants_exit = false;
	if (!c->claims)
		client_leave(m, c);
}

void attach_started(struct monitor *m)
{
	for (int i = 0; i < MONITOR_CLIENTS; i++)
		if (m->clients[i].fd >= 0)
			send_started(m, &m->clients[i]);
}

void attach_health(struct monitor *m)
{
	uint8_t status = (uint8_t)m->health.status;

	for (int i = 0; i < MONITOR_CLIENTS; i++)
		if (m->clients[i].fd >= 0)
			client_send(&m->clients[i], HEALTH, &status, 1);
}

/* The last frame must arrive; one about an exit that is followed by a restart may be lost with other output. */
void attach_exit(struct monitor *m)
{
	for (int i = 0; i < MONITOR_CLIENTS; i++) {
		struct client *c = &m->clients[i];
		if (c->fd < 0)
			continue;
		bool sent = tell_dropped(c) && send_exit(m, c);
		c->wants_exit = !sent && m->record.final;
	}
}

void attach_close(struct monitor *m)
{
	unlinkat(m->dir, "attach.sock", 0);
	close(m->listener);
	m->listener = -1;
}

/* Clients that we have not done with. Those that were too slow until the deadline are given up. */
static nfds_t collect(struct monitor *m, struct pollfd *list, bool late)
{
	nfds_t count = 0;

	for (int i = 0; i < MONITOR_CLIENTS; i++) {
		struct client *c = &m->clients[i];
		if (c->fd < 0)
			continue;
		c->claims = c->claims && m->options.on_exit_count;
		c->wants_exit = c->wants_exit && !late;
		if (c->wants_exit || c->claims)
			list[count++] = (struct pollfd){.fd = c->fd, .events = c->wants_exit ? POLLIN | POLLOUT : POLLIN};
		else
			client_leave(m, c);
	}
	return count;
}

static void serve(struct monitor *m, const struct pollfd *p)
{
	for (int i = 0; i < MONITOR_CLIENTS; i++) {
		struct client *c = &m->clients[i];
		if (c->fd != p->fd)
			continue;
		if (p->revents & POLLOUT)
			attach_writable(m, c);
		if (c->fd >= 0 && (p->revents & (POLLIN | POLLHUP | POLLERR)))
			attach_read(m, c);
		return;
	}
}

void attach_finish(struct monitor *m)
{
	struct pollfd list[MONITOR_CLIENTS];
	int64_t deadline = now_ms() + MONITOR_LINGER_MS;
	nfds_t count;

	while (!m->cleaned && (count = collect(m, list, now_ms() >= deadline))) {
		int64_t left = deadline - now_ms();
		poll(list, count, left > 0 ? (int)left : -1);
		for (nfds_t i = 0; i < count; i++)
			if (list[i].revents)
				serve(m, &list[i]);
	}
}
