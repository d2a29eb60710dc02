/* The container's log: Kubernetes CRI lines or Docker's json-file, with rotation.
 *
 * Every byte read is logged exactly once. A line is one entry; one longer than MONITOR_LINE, or one that is not
 * finished for a while (a prompt), is logged in parts (CRI tag P; in json-file an entry without "\n"). An entry is
 * never divided over two files, and a batch that could only be written in part is taken back. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "monitor.h"

/* Room for a batch; the largest entry is an escaped line of control characters. */
enum { OUT = 131072, OVERHEAD = 128 };
_Static_assert(6 * MONITOR_LINE + OVERHEAD < OUT, "one entry must fit");

static int open_file(struct log *l)
{
	struct stat st;
	int fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0) {
		close(fd);
		return -1;
	}
	if (l->fd >= 0)
		close(l->fd);
	l->fd = fd;
	l->size = (uint64_t)st.st_size;
	l->inode = st.st_ino;
	return 0;
}

static bool to_file(const struct log *l)
{
	return l->driver == LOG_K8S || l->driver == LOG_JSON;
}

int log_start(struct log *l, struct failure *f)
{
	l->fd = -1;
	if (!to_file(l))
		return 0;
	if (open_file(l) < 0)
		return fail(f, errno, "open log file %s", l->path);
	return 0;
}

static void rotated_name(char *out, size_t size, const struct log *l, unsigned number)
{
	if (number)
		snprintf(out, size, "%s.%u", l->path, number);
	else
		snprintf(out, size, "%s", l->path);
}

/* Shift the chain: P.N-2 → P.N-1 … P → P.1, then begin anew. Each step is one rename, so at every moment each line is
 * in exactly one file; when the new file cannot be made, writing goes on in the old one. */
static void rotate(struct log *l)
{
	char from[PATH_MAX], to[PATH_MAX];

	for (unsigned n = l->max_files - 1; n > 0; n--) {
		rotated_name(from, sizeof from, l, n - 1);
		rotated_name(to, sizeof to, l, n);
		rename(from, to);
	}
	if (l->max_files > 1) {
		open_file(l);
		return;
	}
	/* A single file is replaced by an empty one: a reader finds one or the other. */
	snprintf(to, sizeof to, "%s.new", l->path);
	int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd >= 0) {
		close(fd);
		rename(to, l->path);
		open_file(l);
	}
}

/* The container must not wait for a full disk: what cannot be written is dropped whole. */
void log_write(struct log *l)
{
	size_t done = 0;

	while (l->fd >= 0 && done < l->used) {
		ssize_t n = write(l->fd, l->out + done, l->used - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	if (l->fd >= 0 && done == l->used)
		l->size += l->used;
	else if (l->fd >= 0 && done && ftruncate(l->fd, (off_t)l->size) < 0)
		l->size += done;
	l->used = 0;
}

void log_reopen(struct log *l)
{
	if (to_file(l)) {
		log_write(l);
		open_file(l);
	}
}

void log_release(struct log *l)
{
	release_buffer(l->out, OUT);
}

static size_t k8s_entry(uint8_t *out, const char *time, const char *stream, const uint8_t *line, size_t size,
                        bool full)
{
	size_t head = (size_t)sprintf((char *)out, "%s %s %c ", time, stream, full ? 'F' : 'P');

	memcpy(out + head, line, size);
	out[head + size] = '\n';
	return head + size + 1;
}

static size_t json_entry(uint8_t *out, const char *time, const char *stream, const uint8_t *line, size_t size,
                         bool full)
{
	char *start = (char *)out, *at = start;
	size_t taken;

	memcpy(at, "{\"log\":\"", 8);
	at = json_escape(at + 8, start + 6 * size + 16, line, size, &taken);
	at += sprintf(at, "%s\",\"stream\":\"%s\",\"time\":\"%s\"}\n", full ? "\\n" : "", stream, time);
	return (size_t)(at - start);
}

/* Add an entry to the batch: it is formatted in place and counts only once it is known into which file it goes. */
static void entry(struct log *l, const char *time, const char *stream, const uint8_t *line, size_t size, bool full)
{
	size_t most = (l->driver == LOG_JSON ? 6 * size : size) + OVERHEAD;

	if (!l->out && !(l->out = map_buffer(OUT)))
		return;
	if (l->used + most > OUT)
		log_write(l);
	size_t length = (l->driver == LOG_JSON ? json_entry : k8s_entry)(l->out + l->used, time, stream, line, size,
	                                                                full);
	if (l->max_size && l->size + l->used && l->size + l->used + length > l->max_size) {
		uint8_t *begin = l->out + l->used;
		log_write(l);
		rotate(l);
		memmove(l->out, begin, length);
	}
	l->used += length;
}

/* Where a line that is too long may be cut: json-file needs whole characters. */
static size_t part_size(const struct log *l, const uint8_t *line)
{
	return MONITOR_LINE - (l->driver == LOG_JSON ? utf8_tail(line, MONITOR_LINE) : 0);
}

void log_take(struct log *l, struct stream *s, size_t fresh)
{
	uint8_t *at = s->buffer, *end = s->buffer + s->held, *search = end - fresh;
	char time[40];

	if (!to_file(l)) {
		s->held = 0;
		return;
	}
	timestamp(time);
	while (at < end) {
		uint8_t *newline = memchr(search, '\n', (size_t)(end - search));
		uint8_t *stop = newline ? newline : end;
		/* A line of exactly MONITOR_LINE bytes is whole; without its end in sight it is not known yet. */
		while ((size_t)(stop - at) > MONITOR_LINE || (!newline && stop - at == MONITOR_LINE)) {
			size_t part = part_size(l, at);
			entry(l, time, s->name, at, part, false);
			at += part;
		}
		if (!newline)
			break;
		entry(l, time, s->name, at, (size_t)(stop - at), true);
		at = search = newline + 1;
	}
	s->held = (size_t)(end - at);
	memmove(s->buffer, at, s->held);
	s->flush_at = s->held ? now_ms() + MONITOR_PARTIAL_MS : NEVER;
	log_write(l);
}

void log_partial(struct log *l, struct stream *s, bool end)
{
	char time[40];
	size_t keep = l->driver == LOG_JSON && !end ? utf8_tail(s->buffer, s->held) : 0;
	size_t size = s->held - keep;

	s->flush_at = NEVER;
	if (!size || !to_file(l))
		return;
	timestamp(time);
	entry(l, time, s->name, s->buffer, size, false);
	log_write(l);
	memmove(s->buffer, s->buffer + size, keep);
	s->held = keep;
}
