/* Signals by name and number. */
#pragma once

#include <signal.h>

/* The number of "15", "TERM", "SIGTERM", "sigterm", "RTMIN+3"; -1 when there is no such signal. */
int signal_number(const char *text);

/* Every signal, also those the C library keeps to itself: the standard disposition, nothing blocked but `mask` (NULL:
 * nothing). For a process that is about to become another program. */
void signals_reset(const sigset_t *mask);
/* The same disposition for one signal. */
void signal_default(int number);
