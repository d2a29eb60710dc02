/* Container init: pid 1 that runs a command as its child (`--init`). */
#pragma once

/* Start `path` as a child in its own process group (foreground group of the terminal, if there is one), reap every
 * process that ends, forward signals to the child. Exits with the child's status, 128 + signal for signals.
 * Returns only when the command cannot be executed: -1 with errno. Allocates nothing. */
int init_main(const char *path, char *const argv[], char *const envp[]);
