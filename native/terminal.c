#include "terminal.h"

#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "descriptor.h"
#include "kernel.h"

enum { INPUT, MASTER_IN, MASTER_OUT };

static struct {
	bool raw;              /* our terminal was changed and is to be restored */
	bool input_over;
	bool output_over;
	struct termios before;
	size_t held;           /* input not yet taken by the container */
	char input[1024];
} terminal;

void terminal_resize(int master)
{
	struct winsize size;
	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row)
		ioctl(master, TIOCSWINSZ, &size);
}

/* No "\r" before each "\n" from the container: our terminal adds it, and where output is a file none is wanted. Who
 * takes the terminal over a console socket gets it as the kernel made it. */
static void send_bare_newlines(int master)
{
	struct termios modes;
	if (tcgetattr(master, &modes) == 0) {
		modes.c_oflag &= ~(tcflag_t)ONLCR;
		tcsetattr(master, TCSANOW, &modes);
	}
}

void terminal_begin(int master)
{
	struct winsize size = {0};
	fcntl(master, F_SETFL, O_RDWR | O_NONBLOCK);
	if (ioctl(master, TIOCGWINSZ, &size) == 0 && !size.ws_row) /* the document asked for none */
		terminal_resize(master);
	send_bare_newlines(master);
	if (tcgetattr(STDIN_FILENO, &terminal.before) < 0)
		return;
	struct termios raw = terminal.before;
	raw.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
	raw.c_cflag = (raw.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	/* Output keeps its processing: the container's terminal sends bare newlines. */
	terminal.raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

void terminal_events(int master, struct pollfd events[TERMINAL_EVENTS])
{
	for (int i = 0; i < TERMINAL_EVENTS; i++)
		events[i] = (struct pollfd){.fd = -1};
	if (master < 0)
		return;
	if (!terminal.input_over && terminal.held == 0)
		events[INPUT] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
	if (!terminal.output_over)
		events[MASTER_IN] = (struct pollfd){.fd = master, .events = POLLIN};
	if (terminal.held)
		events[MASTER_OUT] = (struct pollfd){.fd = master, .events = POLLOUT};
}

/* False when there is nothing more to read now. */
static bool pass_output(int master)
{
	char buffer[4096];
	ssize_t got = read(master, buffer, sizeof buffer);
	if (got > 0)
		return write_all(STDOUT_FILENO, buffer, (size_t)got) == 0;
	if (got == 0 || (errno != EAGAIN && errno != EINTR)) /* EIO: nobody has the terminal open */
		terminal.output_over = true;
	return false;
}

static void push_input(int master)
{
	ssize_t written = write(master, terminal.input, terminal.held);
	if (written < 0 && errno != EAGAIN && errno != EINTR)
		terminal.held = 0;
	if (written <= 0)
		return;
	terminal.held -= (size_t)written;
	memmove(terminal.input, terminal.input + written, terminal.held);
}

/* The end of our input is an end of file for the container's terminal. */
static void take_input(int master)
{
	ssize_t got = read(STDIN_FILENO, terminal.input, sizeof terminal.input);
	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	terminal.input_over = got <= 0;
	if (got <= 0) {
		terminal.input[0] = 4; /* ^D */
		got = 1;
	}
	terminal.held = (size_t)got;
	push_input(master);
}

void terminal_pass(int master, const struct pollfd events[TERMINAL_EVENTS])
{
	if (events[MASTER_IN].revents)
		pass_output(master);
	if (events[MASTER_OUT].revents)
		push_input(master);
	if (events[INPUT].revents)
		take_input(master);
}

void terminal_end(int master)
{
	while (pass_output(master))
		;
	if (terminal.raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &terminal.before);
}
