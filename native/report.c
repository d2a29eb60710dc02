#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "json.h"

struct report report = {.log_fd = -1};

/* `--log journald:NAME` and `--log syslog:NAME` send datagrams instead of writing lines. */
static enum { LOG_FILE, LOG_JOURNAL, LOG_SYSLOG } destination;
static const char *identifier;

static int connect_datagram(const char *path, struct failure *f)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strcpy(address.sun_path, path);
	report.log_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (report.log_fd < 0)
		return fail(f, errno, "socket for --log");
	if (connect(report.log_fd, (struct sockaddr *)&address, sizeof address) < 0)
		return fail(f, errno, "connect %s for --log", path);
	return 0;
}

/* The text after `prefix`, or NULL when `text` does not begin with it. */
static const char *after(const char *text, const char *prefix)
{
	size_t length = strlen(prefix);

	return strncmp(text, prefix, length) ? NULL : text + length;
}

int report_open(const char *path, const char *format, bool debug, struct failure *f)
{
	const char *rest;

	report.debug = debug;
	if (format && *format) {
		report.json = !strcmp(format, "json");
		if (!report.json && strcmp(format, "text"))
			return fail(f, 0, "invalid log-format: %s", format);
	}
	if (!path || !*path)
		return 0;
	if ((rest = after(path, "journald:"))) {
		destination = LOG_JOURNAL;
		identifier = *rest ? rest : "wherry-runtime";
		return connect_datagram("/run/systemd/journal/socket", f);
	}
	if ((rest = after(path, "syslog:"))) {
		destination = LOG_SYSLOG;
		identifier = *rest ? rest : "wherry-runtime";
		return connect_datagram("/dev/log", f);
	}
	if ((rest = after(path, "file:")))
		path = rest;
	report.log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644);
	if (report.log_fd < 0)
		return fail(f, errno, "open log file %s", path);
	return 0;
}

/* One line with a time; in JSON as engines parse it, else key=value pairs. */
static size_t format_line(char *out, size_t size, const char *level, const char *line)
{
	char quoted[2048], date[32];
	struct tm tm;
	time_t now = time(NULL);

	gmtime_r(&now, &tm);
	strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &tm);
	json_quote(quoted, sizeof quoted, line);
	int length;
	if (report.json)
		length = snprintf(out, size, "{\"level\":\"%s\",\"msg\":%s,\"time\":\"%s\"}\n", level, quoted, date);
	else
		length = snprintf(out, size, "time=\"%s\" level=%s msg=%s\n", date, level, quoted);
	return length < (int)size ? (size_t)length : size - 1;
}

static size_t format_datagram(char *out, size_t size, bool error, const char *line)
{
	int length;

	if (destination == LOG_JOURNAL)
		length = snprintf(out, size, "PRIORITY=%d\nSYSLOG_IDENTIFIER=%s\nMESSAGE=%s\n", error ? 3 : 4, identifier,
		                  line);
	else
		length = snprintf(out, size, "<%d>%s: %s", 8 + (error ? 3 : 4), identifier, line);
	return length < (int)size ? (size_t)length : size - 1;
}

/* Nobody can be told when telling fails. */
static void put(int fd, const char *text, size_t length)
{
	if (write(fd, text, length) < 0)
		return;
}

static void say(const char *level, const char *line)
{
	char text[2304];
	size_t length;

	if (report.log_fd >= 0) {
		length = destination == LOG_FILE ? format_line(text, sizeof text, level, line)
		                                 : format_datagram(text, sizeof text, *level == 'e', line);
		put(report.log_fd, text, length);
		if (*level == 'w') /* standard error may be the container's */
			return;
	}
	if (report.json && report.log_fd < 0)
		length = format_line(text, sizeof text, level, line);
	else
		length = (size_t)snprintf(text, sizeof text, "%.*s\n", (int)sizeof text - 2, line);
	put(STDERR_FILENO, text, length);
}

void report_error(const char *line)
{
	say("error", line);
}

void report_warning(const char *line)
{
	say("warning", line);
}

void report_failure(const struct failure *f)
{
	char line[1024];

	failure_line(f, line, sizeof line);
	report_error(line);
}
