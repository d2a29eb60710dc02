/* What the executable can be asked to do. Each returns the status to exit with; argv[0] is the command's own name. */
#pragma once

/* Executors of plans and long-lived parents: see ARCHITECTURE.md. */
int command_create(int argc, char **argv);
int command_run(int argc, char **argv);
int command_exec(int argc, char **argv);
int command_monitor(int argc, char **argv);
int command_verify(int argc, char **argv);
int command_hold(int argc, char **argv);
int command_unshare(int argc, char **argv);

/* Verbs of `wherry-runtime` that need no decision; `root` is the folder of all containers. */
int verb_start(const char *root, int argc, char **argv);
int verb_state(const char *root, int argc, char **argv);
int verb_kill(const char *root, int argc, char **argv);
int verb_delete(const char *root, int argc, char **argv);
int verb_pause(const char *root, int argc, char **argv);
int verb_resume(const char *root, int argc, char **argv);
int verb_ps(const char *root, int argc, char **argv);
int verb_list(const char *root, int argc, char **argv);

/* Become Python: `module`.main(argv[1:]) with sys.argv[0] the path of this executable. Returns only when it cannot. */
int front(const char *entry, int argc, char **argv);
