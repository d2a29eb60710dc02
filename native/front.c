/* Finds the interpreter and the package that belong to this executable, and becomes Python. A console script of pip would
 * cost several milliseconds more: it imports site and re, and looks for the package the long way. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands.h"

struct place {
	char executable[PATH_MAX]; /* this program */
	char bin[PATH_MAX];        /* its folder */
	char prefix[PATH_MAX];     /* the folder above */
	char version[32];          /* "python3.11": the interpreter that the package was installed for */
	char site[PATH_MAX];       /* site-packages or dist-packages */
	char parent[PATH_MAX];     /* where the package lies: `site`, or the source folder of an editable install */
};

static bool is_directory(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

__attribute__((format(printf, 2, 3))) static bool join(char *out, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(out, PATH_MAX, format, arguments);
	va_end(arguments);
	return length > 0 && length < PATH_MAX;
}

static bool find_self(struct place *p)
{
	ssize_t length = readlink("/proc/self/exe", p->executable, sizeof p->executable - 1);

	if (length <= 0)
		return false;
	p->executable[length] = '\0';
	strcpy(p->bin, p->executable);
	char *slash = strrchr(p->bin, '/');
	if (!slash)
		return false;
	*slash = '\0';
	strcpy(p->prefix, p->bin);
	slash = strrchr(p->prefix, '/');
	*(slash ? slash : p->prefix) = '\0';
	return true;
}

/* An editable install leaves the source folder in a .pth file's first line. */
static bool read_pth(struct place *p, const char *name)
{
	char path[PATH_MAX];

	if (!join(path, "%s/%s", p->site, name))
		return false;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t length = read(fd, p->parent, sizeof p->parent - 1);
	close(fd);
	if (length <= 0)
		return false;
	p->parent[length] = '\0';
	p->parent[strcspn(p->parent, "\r\n")] = '\0';
	return p->parent[0] == '/';
}

/* Is the package in this folder of packages? */
static bool look_in(struct place *p, const char *lib, const char *version, const char *packages)
{
	char package[PATH_MAX];

	if (!join(p->site, "%s/%s/%s", lib, version, packages) || !join(package, "%s/wherry", p->site))
		return false;
	if (is_directory(package))
		strcpy(p->parent, p->site);
	else if (!read_pth(p, "_editable_impl_wherry.pth") && !read_pth(p, "_wherry.pth"))
		return false; /* the names that hatchling gives it, new and old */
	snprintf(p->version, sizeof p->version, "%s", version);
	return true;
}

static bool find_package(struct place *p)
{
	static const char *const folders[] = {"lib", "lib64", "local/lib"};
	char lib[PATH_MAX];
	bool found = false;

	for (size_t i = 0; i < sizeof folders / sizeof *folders && !found; i++) {
		DIR *versions;
		if (!join(lib, "%s/%s", p->prefix, folders[i]) || !(versions = opendir(lib)))
			continue;
		for (struct dirent *entry; !found && (entry = readdir(versions));)
			if (!strncmp(entry->d_name, "python3", 7))
				found = look_in(p, lib, entry->d_name, "site-packages") ||
				        look_in(p, lib, entry->d_name, "dist-packages");
		closedir(versions);
	}
	return found;
}

/* The interpreter: the one we are told, the package's own version beside us or in the usual places, or any beside us. */
static bool find_python(const struct place *p, char *python)
{
	const char *told = getenv("WHERRY_PYTHON");
	const char *version = p->version[0] ? p->version : "python3";
	const char *const folders[] = {p->bin, "/usr/bin", "/usr/local/bin"};

	if (told && *told)
		return join(python, "%s", told);
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
		if (join(python, "%s/%s", folders[i], version) && access(python, X_OK) == 0)
			return true;
	return join(python, "%s/python3", p->bin) && access(python, X_OK) == 0;
}

/* -S leaves out site; the paths it would have added are appended by hand, after the standard library as always. Without a
 * known package (`parent` is empty) the interpreter must find it by itself. `entry` is a function of src/wherry/start.py. */
static void become(struct place *p, char *python, const char *entry, int argc, char **argv)
{
	static const char search[] = ";import importlib.util as u;u.find_spec('wherry')or sys.exit("
	                             "'cannot find the package of '+a[0]+': name its Python in WHERRY_PYTHON')";
	char code[512];
	char **words = calloc((size_t)argc + 16, sizeof *words);
	int n = 0, paths = 0;

	if (!words)
		return;
	words[n++] = python;
	words[n++] = "-IE";
	if (p->parent[0])
		words[n++] = "-S";
	words[n++] = "-Xutf8";
	words[n++] = "-c";
	words[n++] = code;
	if (p->parent[0])
		words[n + paths++] = p->parent;
	if (p->parent[0] && strcmp(p->parent, p->site) != 0)
		words[n + paths++] = p->site;
	n += paths;
	words[n++] = p->executable;
	for (int i = 1; i < argc; i++)
		words[n++] = argv[i];
	snprintf(code, sizeof code, "import sys;a=sys.argv;sys.path+=a[1:%d];del a[:%d]%s;from wherry.start import %s as m;sys.exit(m(a[1:]))",
	         paths + 1, paths + 1, p->parent[0] ? "" : search, entry);
	execv(python, words);
	int error = errno;
	free(words);
	errno = error;
}

int front(const char *entry, int argc, char **argv)
{
	struct place p = {0};
	char python[PATH_MAX];

	if (!find_self(&p)) {
		fprintf(stderr, "cannot find the path of this program: %s\n", strerror(errno));
		return 1;
	}
	if (!find_package(&p))
		p.parent[0] = '\0';
	if (!find_python(&p, python)) {
		fprintf(stderr, "no Python beside %s or in /usr/bin: set WHERRY_PYTHON\n", p.executable);
		return 1;
	}
	become(&p, python, entry, argc, argv);
	fprintf(stderr, "cannot execute %s: %s\n", python, strerror(errno));
	return 1;
}
