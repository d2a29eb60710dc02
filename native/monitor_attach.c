/* What clients of the attach socket ask for. */
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "monitor_attach.h"

/* What was sent to others but is still held back as an unfinished line goes to the log first: then the log's size is
 * exactly where the client's frames begin. */
static void follow(struct monitor *m, struct client *c, uint8_t flags)
{
	uint8_t position[16];

	for (int i = 0; i < 2; i++)
		log_partial(&m->log, &m->streams[i], true);
	client_put(position, m->log.inode, 8);
	client_put(position + 8, m->log.size, 8);
	c->follow = flags;
	client_send(c, FOLLOWING, position, sizeof position);
}

static void resize(const struct monitor *m, const struct client *c, const uint8_t *data)
{
	struct winsize size = {.ws_row = (unsigned short)(data[0] | data[1] << 8),
	                       .ws_col = (unsigned short)(data[2] | data[3] << 8)};

	if (m->master < 0 || ioctl(m->master, TIOCSWINSZ, &size) < 0)
		client_refuse(c, RESIZE, 1, "the container has no terminal");
	else
		client_done(c, RESIZE);
}

static void start(struct monitor *m, struct client *c)
{
	if (m->phase != PHASE_CREATED || m->fifo >= 0) {
		client_refuse(c, START, 1, "the container was started already");
		return;
	}
	m->starter = c;
	monitor_let_go(m);
}

void attach_answer_start(struct monitor *m, const struct failure *failure)
{
	struct client *c = m->starter;
	char line[700];

	m->starter = NULL;
	if (!c)
		return;
	if (!failure) {
		client_done(c, START);
		return;
	}
	failure_line(failure, line, sizeof line);
	client_refuse(c, START, failure->exit_status ? failure->exit_status : 1, line);
}

static void send_signal(const struct monitor *m, const struct client *c, int number)
{
	if (monitor_signal(m, number) < 0)
		client_refuse(c, KILL, 1, "the container is not running");
	else
		client_done(c, KILL);
}

static void obey(struct monitor *m, struct client *c, const uint8_t *frame, size_t size)
{
	const uint8_t *data = frame + 1;

	size--;
	if (frame[0] == STDIN_CLOSE)
		stdin_close(m);
	else if (frame[0] == RESIZE && size == 4)
		resize(m, c, data);
	else if (frame[0] == FOLLOW && size == 1 && data[0] < 8)
		follow(m, c, data[0]);
	else if (frame[0] == DETACH)
		client_leave(m, c);
	else if (frame[0] == START)
		start(m, c);
	else if (frame[0] == KILL && size == 1)
		send_signal(m, c, data[0]);
	else if (frame[0] == CLAIM) {
		c->claims = true;
		client_done(c, CLAIM);
	} else if (frame[0] == CLEANED && c->claims) {
		m->cleaned = true;
		client_leave(m, c);
	} else if (frame[0] == NO_RESTART) {
		client_done(c, NO_RESTART);
		monitor_forbid_restart(m);
	} else if (frame[0] == REOPEN_LOG) {
		log_reopen(&m->log);
		client_done(c, REOPEN_LOG);
	} else {
		client_refuse(c, frame[0], 1, "unknown or malformed request");
	}
}

static void take_stdin(struct monitor *m, struct client *c, const uint8_t *data, size_t size)
{
	c->gave_stdin = true;
	if (!m->options.keep_stdin)
		client_refuse(c, STDIN, 1, "the container has no stdin");
	else
		stdin_give(m, data, size);
}

/* One frame. While earlier stdin waits for the container, a client that has more of it is left alone; its frame
 * stays in the socket. Control frames of others are not held up by it. */
void attach_read(struct monitor *m, struct client *c)
{
	enum { SIZE = MONITOR_FRAME + 1 };

	if (!m->frame && !(m->frame = map_buffer(SIZE)))
		return;
	uint8_t *frame = m->frame;
	if (recv(c->fd, frame, 1, MSG_PEEK | MSG_DONTWAIT) == 1 && (frame[0] == STDIN || frame[0] == STDIN_CLOSE)) {
		c->stdin_waits = m->pending_at < m->pending_end;
		if (c->stdin_waits)
			return;
	}
	ssize_t n = recv(c->fd, frame, SIZE, MSG_DONTWAIT | MSG_TRUNC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		client_leave(m, c);
	else if ((size_t)n > SIZE)
		client_refuse(c, frame[0], 1, "frame too long");
	else if (frame[0] == STDIN)
		take_stdin(m, c, frame + 1, (size_t)n - 1);
	else
		obey(m, c, frame, (size_t)n);
}
