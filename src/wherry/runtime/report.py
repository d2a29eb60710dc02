"""Where a runtime's messages go: standard error, and `--log` in text or in runc's JSON lines."""

from __future__ import annotations

import posix
import sys

from wherry.oci.json_text import dumps


class Report:
    """`--log` and `--log-format`; the native program writes the same lines (native/report.c)."""

    __slots__ = ("json", "log")

    def __init__(self, log: str, format: str) -> None:
        self.log = log
        self.json = format == "json"

    def error(self, line: str) -> None:
        """What ended the command."""
        self._say("error", line)

    def warning(self, line: str) -> None:
        """What does not end it."""
        self._say("warning", line)

    def options(self) -> list[str]:
        """The same choice for the native program."""
        words = ["--log", self.log] if self.log else []
        return words + ["--log-format", "json"] if self.json else words

    def _say(self, level: str, line: str) -> None:
        line = line.replace("\n", " ")
        if self.log:
            self._write_log(level, line)
            if level == "warning":
                return  # standard error may be the container's
        text = self._line(level, line) if self.json and not self.log else line + "\n"
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):
            pass  # nobody can be told when telling fails

    def _line(self, level: str, line: str) -> str:
        import time

        date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.json:
            return f'{{"level":"{level}","msg":{dumps(line)},"time":"{date}"}}\n'
        return f'time="{date}" level={level} msg={dumps(line)}\n'

    def _write_log(self, level: str, line: str) -> None:
        kind, _, name = self.log.partition(":")
        if kind in ("journald", "syslog"):
            _send(kind, name or "wherry-runtime", level, line)
            return
        path = self.log.removeprefix("file:")
        try:
            fd = posix.open(
                path, posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_CLOEXEC | posix.O_NOCTTY, 0o644
            )
        except OSError:
            return
        try:
            posix.write(fd, self._line(level, line).encode("utf-8", "surrogateescape"))
        except OSError:
            pass
        finally:
            posix.close(fd)


def _send(kind: str, name: str, level: str, line: str) -> None:
    import socket

    priority = 3 if level == "error" else 4
    if kind == "journald":
        path, text = "/run/systemd/journal/socket", f"PRIORITY={priority}\nSYSLOG_IDENTIFIER={name}\nMESSAGE={line}\n"
    else:
        path, text = "/dev/log", f"<{8 + priority}>{name}: {line}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect(path)
            channel.send(text.encode("utf-8", "surrogateescape"))
    except OSError:
        pass
