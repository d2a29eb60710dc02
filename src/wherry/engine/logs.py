"""Read what a container wrote: the log files of the monitor, then, to follow, the monitor itself."""

from __future__ import annotations

import os

from wherry.errors import FAILED_PRECONDITION, WherryError
from wherry.oci.json_text import loads

from .starting import log_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .attach import Client
    from .container import Container
    from .engine import Engine


class LogLine:
    """One line, or the part of one that was written so far: when, on which stream, what (with its newline)."""

    __slots__ = ("data", "stream", "time")

    def __init__(self, time: str, stream: str, data: bytes) -> None:
        self.time = time
        self.stream = stream
        self.data = data


def read_logs(engine: Engine, container: Container, *, follow: bool, tail: int) -> Iterator[LogLine]:
    """Lines oldest first; `tail` < 0 means all. With `follow` the iterator ends when the container does."""
    facts = container.facts()
    if facts["logDriver"] == "none":
        raise WherryError(FAILED_PRECONDITION, f"container {container.name} keeps no log (log driver none)")
    path = log_path(engine, container.id)
    parse = parse_json_file if facts["logDriver"] == "json-file" else parse_k8s_file
    client = _follower(container) if follow else None
    if client is None:
        yield from _last(_stored(path, facts["logMaxFiles"], parse), tail)
        return
    with client:
        place = client.follow()
        upto = (place.log_inode, place.log_size_bytes)
        yield from _last(_stored(path, facts["logMaxFiles"], parse, upto=upto), tail)
        yield from _live(client)


def _follower(container: Container) -> Client | None:
    """A connection to the monitor, None when the container is over."""
    try:
        return container.attach()
    except WherryError as error:
        if error.code != FAILED_PRECONDITION:
            raise
        return None


def _live(client: Client) -> Iterator[LogLine]:
    from .attach import STDOUT, Exit, Output

    for event in client.events():
        if isinstance(event, Output):
            yield LogLine("", "stdout" if event.stream == STDOUT else "stderr", event.data)
        elif isinstance(event, Exit) and event.final:
            return


def _last(lines: Iterator[LogLine], tail: int) -> Iterator[LogLine]:
    if tail < 0:
        return lines
    from collections import deque

    return iter(deque(lines, maxlen=tail))


def _stored(
    path: str, files: int, parse: Callable[[bytes], LogLine], *, upto: tuple[int, int] | None = None
) -> Iterator[LogLine]:
    """Lines of the rotated files, oldest first, then of the current one; no further than inode and offset `upto`."""
    names = [f"{path}.{number}" for number in range(files - 1, 0, -1)] + [path]
    for name in names:
        try:
            file = open(name, "rb")
        except FileNotFoundError:
            continue
        with file:
            status = os.fstat(file.fileno())
            limit = upto[1] if upto and upto[0] == status.st_ino else status.st_size
            while limit > 0:
                line = file.readline()
                if not line.endswith(b"\n"):
                    break
                limit -= len(line)
                yield parse(line)
            if upto and upto[0] == status.st_ino:
                return


def parse_k8s_file(line: bytes) -> LogLine:
    """`time stream F|P text` of the Kubernetes CRI log format; P marks a part of a longer line."""
    time, _, rest = line.partition(b" ")
    stream, _, rest = rest.partition(b" ")
    tag, _, text = rest.partition(b" ")
    return LogLine(
        time.decode("ascii", "replace"), stream.decode("ascii", "replace"), text[:-1] if tag == b"P" else text
    )


def parse_json_file(line: bytes) -> LogLine:
    """The json-file driver's `{"log":…,"stream":…,"time":…}`."""
    entry = loads(line)
    return LogLine(entry["time"], entry["stream"], entry["log"].encode("utf-8", "surrogatepass"))
