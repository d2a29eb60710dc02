/* Time stamps, JSON strings, and small files that are replaced whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "descriptor.h"
#include "monitor.h"

int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* RFC 3339, UTC, always nine digits, so that stamps sort as texts. */
void timestamp(char out[40])
{
	struct timespec t;
	struct tm u;

	clock_gettime(CLOCK_REALTIME, &t);
	gmtime_r(&t.tv_sec, &u);
	size_t n = strftime(out, 24, "%Y-%m-%dT%H:%M:%S.", &u);
	snprintf(out + n, 16, "%09uZ", (unsigned)t.tv_nsec);
}

/* Length of the UTF-8 character at `data`: 0 when it is invalid, -1 when the end cuts it off. */
static int character(const uint8_t *data, size_t size)
{
	uint8_t first = data[0], low = 0x80, high = 0xBF;
	int length;

	if (first < 0x80)
		return 1;
	if (first < 0xC2 || first > 0xF4)
		return 0;
	length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
	if (first == 0xE0)
		low = 0xA0;
	else if (first == 0xED)
		high = 0x9F; /* no surrogates */
	else if (first == 0xF0)
		low = 0x90;
	else if (first == 0xF4)
		high = 0x8F;
	for (int i = 1; i < length; i++) {
		if ((size_t)i == size)
			return -1;
		if (data[i] < low || data[i] > high)
			return 0;
		low = 0x80;
		high = 0xBF;
	}
	return length;
}

size_t utf8_tail(const uint8_t *data, size_t size)
{
	for (size_t back = 1; back <= 3 && back <= size; back++) {
		uint8_t byte = data[size - back];
		if (byte >= 0xC0)
			return character(data + size - back, back) < 0 ? back : 0;
		if (byte < 0x80)
			return 0;
	}
	return 0;
}

static int escape_ascii(char *out, uint8_t byte)
{
	static const char digits[] = "0123456789abcdef", names[] = "b\bn\nf\fr\rt\t\"\"\\\\";

	for (const char *name = names; *name; name += 2) {
		if ((uint8_t)name[1] == byte) {
			out[0] = '\\';
			out[1] = name[0];
			return 2;
		}
	}
	if (byte >= 0x20 && byte != 0x7F) {
		out[0] = (char)byte;
		return 1;
	}
	memcpy(out, "\\u00", 4);
	out[4] = digits[byte >> 4];
	out[5] = digits[byte & 15];
	return 6;
}

char *json_escape(char *out, const char *limit, const uint8_t *data, size_t size, size_t *taken)
{
	size_t at = 0;

	while (at < size && limit - out >= 6) {
		int length = character(data + at, size - at);
		if (length == 1) {
			out += escape_ascii(out, data[at]);
		} else if (length > 1) {
			memcpy(out, data + at, (size_t)length);
			out += length;
		} else {
			memcpy(out, "\\ufffd", 6);
			out += 6;
			length = 1;
		}
		at += (size_t)length;
	}
	*taken = at;
	return out;
}

static void sync_folder(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0) {
		fsync(fd);
		close(fd);
	}
}

int write_atomically(int dir, const char *name, const char *data, size_t size, bool durable, struct failure *f)
{
	char temporary[64];

	snprintf(temporary, sizeof temporary, ".%s.new", name);
	int fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return fail(f, errno, "create %s", temporary);
	if (write_all(fd, data, size) < 0 || (durable && fsync(fd) < 0)) {
		int error = errno;
		close(fd);
		unlinkat(dir, temporary, 0);
		return fail(f, error, "write %s", name);
	}
	close(fd);
	if (renameat(dir, temporary, dir, name) < 0)
		return fail(f, errno, "rename %s", name);
	if (durable)
		sync_folder(dir);
	return 0;
}
