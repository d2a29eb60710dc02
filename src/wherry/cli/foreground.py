"""Be the terminal of a container: its output here, our input there, signals and window size passed on."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # the public module loads enum
import os
import select
import sys

from wherry.errors import INVALID_ARGUMENT, UNAVAILABLE, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wherry.engine.attach import Client, Event, Exit
    from wherry.engine.container import Container
    from wherry.engine.launch import Report
    from wherry.engine.options import CreateOptions

# Signals a user may mean for the container; the others are the terminal's or this process's own.
PROXIED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def run_in_foreground(container: Container, options: CreateOptions, *, detach_keys: str, proxy_signals: bool) -> int:
    """Start a created container attached; its exit status, or 0 after detaching. Removes it when asked to."""
    keys = _detach_keys(detach_keys) if options.tty else b""
    try:
        report = container.launch(attached=True)
        assert report is not None
        try:
            with container.attach() as client:
                # Settling the container is ours from here on; the monitor does it if we are killed first.
                client.claim()
                exited = _attached(client, report, options, keys=keys, proxy_signals=proxy_signals)
                if exited is not None:
                    container.settle(remove=options.remove)
                    client.cleaned()
        finally:
            report.close()
    except BaseException:
        if options.remove:
            container.remove(force=True)
        raise
    return 0 if exited is None else exited.code


def _attached(
    client: Client, report: Report, options: CreateOptions, *, keys: bytes, proxy_signals: bool
) -> Exit | None:
    with _Terminal(enabled=options.tty and os.isatty(0)):
        client.follow(lossless=True)
        _start(client, report)
        return _Session(client, keys=keys, stdin=options.stdin).run(tty=options.tty, proxy_signals=proxy_signals)


def _start(client: Client, report: Report) -> None:
    """Let the container go. Raises StartFailed: the report knows the exit status, the client only the words."""
    try:
        client.start()
    except WherryError:
        report.expect("started")
        raise


class _Session:
    def __init__(self, client: Client, *, keys: bytes, stdin: bool) -> None:
        self._client = client
        self._keys = keys
        self._matched = 0
        self._stdin = stdin

    def run(self, *, tty: bool, proxy_signals: bool) -> Exit | None:
        """Copy both ways until the container is over (its exit) or the user detaches (None)."""
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        handled = [signal.SIGWINCH, *(PROXIED if proxy_signals else ())]
        previous = {number: signal.signal(number, _ignore) for number in handled}
        wake_before = signal.set_wakeup_fd(wake_write)
        try:
            self._resize(tty)
            return self._copy(wake_read, tty)
        finally:
            signal.set_wakeup_fd(wake_before)
            for number, handler in previous.items():
                signal.signal(number, handler)
            os.close(wake_read)
            os.close(wake_write)

    def _copy(self, wake_read: int, tty: bool) -> Exit | None:
        poll = select.poll()
        poll.register(self._client, select.POLLIN)
        poll.register(wake_read, select.POLLIN)
        if self._stdin:
            poll.register(0, select.POLLIN)
        while True:
            if self._client.pending():
                exited = self._show(self._client.receive())
                if exited is not None:
                    return exited
                continue
            for descriptor, _ in poll.poll():
                if descriptor == wake_read:
                    self._signals(os.read(wake_read, 64), tty)
                elif descriptor == 0:
                    data = os.read(0, 16384)
                    if not data:
                        poll.unregister(0)
                        self._client.close_stdin()
                    elif self._send(data):
                        return None
                else:
                    exited = self._show(self._client.receive())
                    if exited is not None:
                        return exited

    def _show(self, event: Event | None) -> Exit | None:
        """Write output through; the exit when the container is over. Raises WherryError when the monitor is gone."""
        from wherry.engine.attach import STDOUT, Exit, Output

        if event is None:
            raise WherryError(UNAVAILABLE, "the container's monitor went away", hint="wherry ps -a tells what is left")
        if isinstance(event, Output):
            stream = sys.stdout.buffer if event.stream == STDOUT else sys.stderr.buffer
            stream.write(event.data)
            stream.flush()
        return event if isinstance(event, Exit) and event.final else None

    def _signals(self, numbers: bytes, tty: bool) -> None:
        for number in numbers:
            if number == signal.SIGWINCH:
                self._resize(tty)
            else:
                self._client.kill(number)

    def _resize(self, tty: bool) -> None:
        if tty and os.isatty(1):
            size = os.get_terminal_size(1)
            self._client.resize(size.lines, size.columns)

    def _send(self, data: bytes) -> bool:
        """Send input on; True when the detach keys were typed. A half-typed sequence is held back."""
        pending = bytearray()
        for value in data:
            if self._keys and value == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    self._client.send_stdin(bytes(pending))
                    return True
                continue
            pending += self._keys[: self._matched]
            self._matched = 0
            pending.append(value)
        self._client.send_stdin(bytes(pending))
        return False


class _Terminal:
    """Raw mode for the time of a session."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._saved: list[Any] = []

    def __enter__(self) -> None:
        if self._enabled:
            import termios
            import tty

            self._saved = termios.tcgetattr(0)
            tty.setraw(0)

    def __exit__(self, *_: object) -> None:
        if self._saved:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)


def _ignore(number: int, frame: object) -> None:
    """Do nothing: the wake-up descriptor tells the session."""


def _detach_keys(text: str) -> bytes:
    """Bytes of `ctrl-p,ctrl-q`. Raises WherryError (invalid argument)."""
    keys = bytearray()
    for word in text.split(",") if text else ():
        if len(word) == 1:
            keys += word.encode()
        elif word.startswith("ctrl-") and len(word) == 6 and ("a" <= word[5] <= "z" or word[5] in "@[\\]^_"):
            keys.append(ord(word[5].upper()) & 0x1F)
        else:
            raise WherryError(INVALID_ARGUMENT, f"detach key {word!r} is unknown", hint="a letter or ctrl-LETTER")
    return bytes(keys)
