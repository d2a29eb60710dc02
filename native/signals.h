/* Signals by name and number. */
#pragma once

/* The number of "15", "TERM", "SIGTERM", "sigterm", "RTMIN+3"; -1 when there is no such signal. */
int signal_number(const char *text);
