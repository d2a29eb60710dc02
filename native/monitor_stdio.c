/* The container's standard streams as the monitor sees them.
 *
 * stdout and stderr are fifos in the monitor's folder. The container's side is opened for reading and writing, so
 * that a container whose monitor was killed is not killed by SIGPIPE, and so that a later monitor could take over;
 * we still see end of file when the last process of the container is gone. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "monitor.h"

/* In a user namespace nobody could open /dev/stdout again, or chown it, if it belonged to an id of the host. */
static int give_away(const struct monitor *m, int fd, struct failure *f)
{
	const struct monitor_options *o = &m->options;

	if (o->stdio_uid < 0 && o->stdio_gid < 0)
		return 0;
	return fchown(fd, (uid_t)o->stdio_uid, (gid_t)o->stdio_gid) < 0 ? fail(f, errno, "chown the standard streams") : 0;
}

static int open_fifo(struct monitor *m, struct stream *s, int target, struct failure *f)
{
	unlinkat(m->dir, s->name, 0);
	if (mkfifoat(m->dir, s->name, 0600) < 0)
		return fail(f, errno, "make fifo %s", s->name);
	s->fd = openat(m->dir, s->name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int writer = openat(m->dir, s->name, O_RDWR | O_CLOEXEC);
	if (s->fd < 0 || writer < 0)
		return fail(f, errno, "open fifo %s", s->name);
	dup2(writer, target);
	close(writer);
	return give_away(m, target, f);
}

static int open_input(struct monitor *m, struct failure *f)
{
	int ends[2];

	if (!m->options.keep_stdin) {
		dup2(m->null, 0);
		return 0;
	}
	if (pipe2(ends, O_CLOEXEC) < 0)
		return fail(f, errno, "make a pipe for stdin");
	fcntl(ends[1], F_SETFL, O_NONBLOCK);
	dup2(ends[0], 0);
	close(ends[0]);
	m->input = ends[1];
	return give_away(m, 0, f);
}

static int open_console(struct monitor *m, struct failure *f)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return fail(f, errno, "make a socket for the terminal");
	m->context.slots[SLOT_CONSOLE_SOCKET] = ends[1];
	m->master = ends[0]; /* until stdio_receive */
	return 0;
}

/* Before HOST: what is descriptor 0, 1 and 2 now becomes the container's stdio. */
int stdio_prepare(struct monitor *m, struct failure *f)
{
	m->streams[0] = (struct stream){.fd = -1, .frame_type = 0x81, .name = "stdout", .flush_at = NEVER,
	                                .retry_at = NEVER, .buffer = m->streams[0].buffer};
	m->streams[1] = (struct stream){.fd = -1, .frame_type = 0x82, .name = "stderr", .flush_at = NEVER,
	                                .retry_at = NEVER, .buffer = m->streams[1].buffer};
	m->close_input = false;
	m->pending_at = m->pending_end = 0;
	if (m->options.log_driver == LOG_PASSTHROUGH)
		return 0;
	if (m->options.tty)
		return open_console(m, f);
	if (open_input(m, f) < 0 || open_fifo(m, &m->streams[0], 1, f) < 0)
		return -1;
	return open_fifo(m, &m->streams[1], 2, f);
}

static int receive_descriptor(int socket)
{
	char text[256], control[CMSG_SPACE(sizeof(int))];
	struct iovec vector = {text, sizeof text};
	struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control,
	                         .msg_controllen = sizeof control};
	int fd;

	if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0)
		return -1;
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	if (!head || head->cmsg_type != SCM_RIGHTS) {
		errno = EPROTO;
		return -1;
	}
	memcpy(&fd, CMSG_DATA(head), sizeof fd);
	return fd;
}

/* After HOST: the terminal's master, sent by INIT. */
int stdio_receive(struct monitor *m, struct failure *f)
{
	if (!m->options.tty)
		return 0;
	int socket = m->master;
	m->master = receive_descriptor(socket);
	int error = errno;
	close(socket);
	if (m->master < 0)
		return fail(f, error, "receive the container's terminal");
	fcntl(m->master, F_SETFL, O_NONBLOCK);
	m->streams[0].fd = m->master;
	m->input = m->master;
	return 0;
}

/* The container has its streams; ours are /dev/null, else we would keep them open. */
void stdio_hide(struct monitor *m)
{
	for (int fd = 0; fd < 3; fd++)
		dup2(m->null, fd);
}

void stdio_close(struct monitor *m)
{
	for (int i = 0; i < 2; i++) {
		if (m->streams[i].fd >= 0 && m->streams[i].fd != m->master)
			close(m->streams[i].fd);
		m->streams[i].fd = -1;
	}
	if (m->input >= 0 && m->input != m->master)
		close(m->input);
	if (m->master >= 0)
		close(m->master);
	m->input = m->master = -1;
	m->pending_at = m->pending_end = 0;
}

/* End of file of a stream. A terminal gives EIO while no process has it open, which may pass: it is looked at again
 * as long as the container lives. */
static void end_stream(struct monitor *m, struct stream *s)
{
	log_partial(&m->log, s, true);
	if (s->fd == m->master && m->context.child > 0) {
		s->retry_at = now_ms() + MONITOR_RETRY_MS;
		return;
	}
	if (s->fd != m->master)
		close(s->fd);
	s->fd = -1;
}

static bool read_once(struct monitor *m, struct stream *s)
{
	if (!s->buffer && !(s->buffer = map_buffer(MONITOR_READ + MONITOR_LINE)))
		return false;
	uint8_t *at = s->buffer + s->held;
	ssize_t n = read(s->fd, at, MONITOR_READ);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		end_stream(m, s);
		return false;
	}
	attach_output(m, s->frame_type, at, (size_t)n);
	s->held += (size_t)n;
	log_take(&m->log, s, (size_t)n);
	return true;
}

void stdio_read(struct monitor *m, struct stream *s)
{
	m->stalled = !attach_room(m);
	if (!m->stalled)
		read_once(m, s);
}

/* After the container's end: take what is left. A process that outlives the container (shared pid namespace) may
 * hold the stream open, so this ends at an empty pipe too. */
void stdio_drain(struct monitor *m)
{
	int64_t deadline = now_ms() + MONITOR_LINGER_MS;

	for (int i = 0; i < 2; i++) {
		struct stream *s = &m->streams[i];
		while (s->fd >= 0) {
			while (!attach_room(m) && now_ms() < deadline)
				poll(NULL, 0, 5);
			if (!read_once(m, s))
				break;
		}
		log_partial(&m->log, s, true);
	}
	m->stalled = false;
}

static void finish_input(struct monitor *m)
{
	m->close_input = false;
	m->pending_at = m->pending_end = 0;
	if (m->input >= 0 && m->input != m->master) {
		close(m->input);
		m->input = -1;
	}
}

void stdin_push(struct monitor *m)
{
	while (m->pending_at < m->pending_end) {
		ssize_t n = write(m->input, m->pending + m->pending_at, m->pending_end - m->pending_at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) { /* nobody reads any more */
			finish_input(m);
			return;
		}
		m->pending_at += (size_t)n;
	}
	m->pending_at = m->pending_end = 0;
	if (m->close_input)
		finish_input(m);
}

bool stdin_give(struct monitor *m, const uint8_t *data, size_t size)
{
	if (m->pending_at < m->pending_end)
		return false;
	if (m->input < 0 || m->close_input)
		return true; /* closed: thrown away, as a terminal line would be */
	if (!m->pending && !(m->pending = map_buffer(MONITOR_FRAME)))
		return true;
	memcpy(m->pending, data, size);
	m->pending_at = 0;
	m->pending_end = size;
	stdin_push(m);
	return true;
}

/* A terminal has no end of its input that could be closed: the client sends the end-of-file character. */
void stdin_close(struct monitor *m)
{
	if (m->input < 0 || m->input == m->master)
		return;
	m->close_input = true;
	stdin_push(m);
}
