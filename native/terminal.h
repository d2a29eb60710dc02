/* Our terminal and the container's, joined: bytes both ways, window size, raw mode. There is at most one pair. */
#pragma once

#include <poll.h>

enum { TERMINAL_EVENTS = 3 };

void terminal_begin(int master);
void terminal_resize(int master);
/* Fill in what to wait for, and do what can be done. A master of -1: nothing. */
void terminal_events(int master, struct pollfd events[TERMINAL_EVENTS]);
void terminal_pass(int master, const struct pollfd events[TERMINAL_EVENTS]);
/* Pass on what is left of the output and restore our terminal. */
void terminal_end(int master);
