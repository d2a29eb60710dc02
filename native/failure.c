#include "failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fail(struct failure *f, int error, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(f->text, sizeof f->text, format, arguments);
	va_end(arguments);
	f->error = error;
	f->program = UINT16_MAX;
	f->step = 0;
	f->exit_status = 1;
	f->where[0] = 0;
	return -1;
}

int failure_line(const struct failure *f, char *buffer, unsigned size)
{
	const char *before = f->where[0] && f->text[0] ? ": " : "";
	const char *after = f->error && (f->where[0] || f->text[0]) ? ": " : "";
	const char *error = f->error ? strerror(f->error) : "";
	return snprintf(buffer, size, "%s%s%s%s%s", f->where, before, f->text, after, error);
}
