/* Where messages go: stderr, and `--log` in text or runc's JSON lines. */
#pragma once

#include <stdbool.h>

#include "failure.h"

struct report {
	int log_fd;    /* -1: none */
	bool json;
	bool debug;
};

extern struct report report;

/* Open the log file (append). */
int report_open(const char *path, const char *format, bool debug, struct failure *f);
/* `{"level":"error","msg":…,"time":…}` or `time="…" level=error msg="…"` to the log; the plain line to stderr. */
void report_error(const char *line);
void report_failure(const struct failure *f);
void report_warning(const char *line);
