"""The monitor's attach protocol (docs/attach-protocol.md): frames as values, and a small blocking client.

The socket is SOCK_SEQPACKET: one message is one frame, a type byte and a payload. `encode_*` and `decode`
do no input or output; `Client` is for callers that can block. Every foreground run loads this module: it imports
neither `socket` nor `dataclasses`.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_SEQPACKET, socket
from struct import Struct

from wherry.errors import DATA_LOSS, FAILED_PRECONDITION, NOT_FOUND, UNAVAILABLE, WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

PAYLOAD_LIMIT_BYTES = 32768

# Requests.
STDIN, STDIN_CLOSE, RESIZE, FOLLOW, DETACH, START, NO_RESTART, REOPEN_LOG, KILL, CLAIM, CLEANED = range(1, 12)
# Events.
DONE, STDOUT, STDERR, DROPPED, FOLLOWING, STARTED, EXIT, ERROR, HEALTH = range(0x80, 0x89)
# What to follow.
FOLLOW_STDOUT, FOLLOW_STDERR, FOLLOW_LOSSLESS = 1, 2, 4

HEALTH_NAMES = ("starting", "healthy", "unhealthy")

_SIZE = Struct("<HH")
_POSITION = Struct("<QQ")
_COUNT = Struct("<Q")
_PID = Struct("<I")
_EXIT = Struct("<iIIBB")


class _Value:
    """Values in the order of __slots__, compared and shown by them."""

    __slots__: tuple[str, ...] = ()

    def __init__(self, *values: object) -> None:
        for name, value in zip(self.__slots__, values, strict=True):
            setattr(self, name, value)

    def _values(self) -> tuple[object, ...]:
        return tuple([getattr(self, name) for name in self.__slots__])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Value) and type(self) is type(other) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self._values()!r}"


class Done(_Value):
    """The request of this type was carried out."""

    __slots__ = ("request",)
    request: int


class Output(_Value):
    """Bytes of the container; `stream` is STDOUT or STDERR (a terminal is all STDOUT)."""

    __slots__ = ("stream", "data")  # noqa: RUF023
    stream: int
    data: bytes


class Dropped(_Value):
    """So many bytes of output were not sent, because this client read too slowly."""

    __slots__ = ("size_bytes",)
    size_bytes: int


class Following(_Value):
    """Output before this place is in the log (inode and size; 0 and 0 without a log), all after comes as Output."""

    __slots__ = ("log_inode", "log_size_bytes")
    log_inode: int
    log_size_bytes: int


class Started(_Value):
    """The container runs (first start, each restart, and for a client that connects while it runs)."""

    __slots__ = ("pid",)
    pid: int


class Exit(_Value):
    """The container ended. Not `final`: a restart follows. `code` is 128 + signal for signals."""

    __slots__ = ("code", "signal", "restarts", "oom_killed", "final")  # noqa: RUF023
    code: int
    signal: int
    restarts: int
    oom_killed: bool
    final: bool


class Refused(_Value):
    """The request of this type failed; `status` is what a command should exit with."""

    __slots__ = ("request", "status", "message")  # noqa: RUF023
    request: int
    status: int
    message: str


class Health(_Value):
    """The health status changed: one of `HEALTH_NAMES`."""

    __slots__ = ("status",)
    status: str


Event = Done | Output | Dropped | Following | Started | Exit | Refused | Health


def encode(request: int, payload: bytes = b"") -> bytes:
    """The frame of a request. Raises ValueError for a payload over the limit."""
    if len(payload) > PAYLOAD_LIMIT_BYTES:
        raise ValueError(f"payload of {len(payload)} bytes, at most {PAYLOAD_LIMIT_BYTES} fit a frame")
    return bytes((request,)) + payload


def encode_stdin(data: bytes) -> Iterator[bytes]:
    """Frames that carry `data` to the container's stdin."""
    for at in range(0, len(data), PAYLOAD_LIMIT_BYTES):
        yield encode(STDIN, data[at : at + PAYLOAD_LIMIT_BYTES])


def encode_resize(rows: int, columns: int) -> bytes:
    """The frame that sets the terminal's size."""
    return encode(RESIZE, _SIZE.pack(rows, columns))


def decode(frame: bytes) -> Event:
    """The event in one frame. Raises WherryError (data loss) for a frame that is none."""
    if not frame:
        raise _malformed("it is empty")
    kind, payload = frame[0], frame[1:]
    if kind in (STDOUT, STDERR):
        return Output(kind, payload)
    try:
        return _decode_fixed(kind, payload)
    except (IndexError, ValueError, ArithmeticError):
        raise _malformed(f"type {kind:#x}, {len(payload)} bytes of payload") from None


def _decode_fixed(kind: int, payload: bytes) -> Event:
    if kind == DONE and len(payload) == 1:
        return Done(payload[0])
    if kind == DROPPED and len(payload) == _COUNT.size:
        return Dropped(*_COUNT.unpack(payload))
    if kind == FOLLOWING and len(payload) == _POSITION.size:
        return Following(*_POSITION.unpack(payload))
    if kind == STARTED and len(payload) == _PID.size:
        return Started(*_PID.unpack(payload))
    if kind == EXIT and len(payload) == _EXIT.size:
        code, signal, restarts, oom, final = _EXIT.unpack(payload)
        return Exit(code, signal, restarts, bool(oom), bool(final))
    if kind == ERROR and len(payload) >= 2:
        return Refused(payload[0], payload[1], payload[2:].decode("utf-8", "replace"))
    if kind == HEALTH and len(payload) == 1:
        return Health(HEALTH_NAMES[payload[0]])
    raise ValueError


def _malformed(why: str) -> WherryError:
    return WherryError(DATA_LOSS, f"malformed frame from the container's monitor: {why}")


class Client:
    """A connection to the monitor whose files are in `folder`.

    Raises WherryError: not found (no monitor's folder), unavailable (nobody listens: the container is over,
    or its monitor was killed).
    """

    __slots__ = ("_early", "socket")

    def __init__(self, folder: str) -> None:
        self._early: list[Event] = []
        self.socket = _connect(folder)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """For poll. After poll says readable one `receive` does not block."""
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()

    def pending(self) -> bool:
        """Whether `receive` has an event at hand that poll does not know of."""
        return bool(self._early)

    def receive(self) -> Event | None:
        """The next event, waiting for it; None at the end of the connection."""
        if self._early:
            return self._early.pop(0)
        return self._receive()

    def events(self) -> Iterator[Event]:
        """All events to the end of the connection."""
        while (event := self.receive()) is not None:
            yield event

    def follow(self, *, stdout: bool = True, stderr: bool = True, lossless: bool = False) -> Following:
        """Ask for output from now on. With `lossless` the container waits for us when we are slow."""
        flags = FOLLOW_STDOUT * stdout | FOLLOW_STDERR * stderr | FOLLOW_LOSSLESS * lossless
        self._send(encode(FOLLOW, bytes((flags,))))
        while (event := self._receive()) is not None:
            if isinstance(event, Following):
                return event
            self._early.append(event)
        raise _gone()

    def send_stdin(self, data: bytes) -> None:
        """Give bytes to the container's stdin, waiting while it does not read."""
        for frame in encode_stdin(data):
            self._send(frame)

    def close_stdin(self) -> None:
        """End of file after what was sent. A terminal has none: send its end-of-file character."""
        self._send(encode(STDIN_CLOSE))

    def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size. Raises WherryError when the container has none."""
        self._ask(encode_resize(rows, columns))

    def start(self) -> None:
        """Let a created container go; returns when its command was executed. Raises WherryError if it was not."""
        self._ask(encode(START))

    def forbid_restart(self) -> None:
        """No further restart; one that is waited for is called off."""
        self._ask(encode(NO_RESTART))

    def reopen_log(self) -> None:
        """Open the log file by its name again, after somebody else renamed it."""
        self._ask(encode(REOPEN_LOG))

    def kill(self, signal: int) -> None:
        """Signal the container's first process."""
        self._ask(encode(KILL, bytes((signal,))))

    def claim(self) -> None:
        """Promise to clean up at the end, in place of the monitor's `--on-exit`; if we go, the monitor does."""
        self._ask(encode(CLAIM))

    def cleaned(self) -> None:
        """Keep the promise of `claim`; the monitor leaves."""
        self._send(encode(CLEANED))

    def detach(self) -> None:
        """Leave. What was sent to stdin before still arrives."""
        self._send(encode(DETACH))

    def _ask(self, frame: bytes) -> None:
        """Send a request and wait for its answer; other events are kept for `receive`."""
        self._send(frame)
        while (event := self._receive()) is not None:
            if isinstance(event, Done) and event.request == frame[0]:
                return
            if isinstance(event, Refused) and event.request == frame[0]:
                raise WherryError(FAILED_PRECONDITION, event.message)
            self._early.append(event)
        raise _gone()

    def _send(self, frame: bytes) -> None:
        try:
            self.socket.sendall(frame)
        except (BrokenPipeError, ConnectionResetError):
            raise _gone() from None

    def _receive(self) -> Event | None:
        try:
            frame = self.socket.recv(PAYLOAD_LIMIT_BYTES + 1)
        except ConnectionResetError:
            return None
        return decode(frame) if frame else None


def _gone() -> WherryError:
    return WherryError(UNAVAILABLE, "the container's monitor has left")


def _connect(folder: str) -> socket:
    """By the folder's descriptor: a socket's path may have 107 bytes only."""
    try:
        folder_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise WherryError(NOT_FOUND, f"no container's folder: {error.strerror}", path=folder) from error
    connection = socket(AF_UNIX, SOCK_SEQPACKET)
    try:
        connection.connect(f"/proc/self/fd/{folder_fd}/attach.sock")
    except (FileNotFoundError, ConnectionRefusedError) as error:
        connection.close()
        raise WherryError(UNAVAILABLE, "no monitor listens for this container", path=folder) from error
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(folder_fd)
    return connection
