"""Tables, templates and human-readable figures on standard output."""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def write(text: str) -> None:
    """Write to standard output."""
    sys.stdout.write(text)


def line(text: str) -> None:
    """Write one line to standard output."""
    sys.stdout.write(text + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Aligned columns, at least three spaces apart, as docker prints them."""
    lines = [list(columns), *[list(row) for row in rows]]
    widths = [max(len(row[i]) for row in lines) for i in range(len(columns))]
    return "".join(
        [
            "   ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]).rstrip() + "\n"
            for row in lines
        ]
    )


def listing(rows: Sequence[Mapping[str, object]], columns: Mapping[str, str], template: str) -> str:
    """Rows under `columns` (key to heading), or by `template`: "json", "table …" or a Go template a row."""
    if not template:
        return table(list(columns.values()), [[str(row[key]) for key in columns] for row in rows])
    from .template import Template

    if template == "json":
        template = "{{json .}}"
    if template.startswith("table "):
        return _template_table(rows, columns, template[6:].strip())
    parsed = Template(unescape(template))
    return "".join([parsed.render(row) + "\n" for row in rows])


def _template_table(rows: Sequence[Mapping[str, object]], columns: Mapping[str, str], template: str) -> str:
    from .template import Template

    parsed = Template(unescape(template))
    headings = {key: columns.get(key, key.upper()) for key in {*columns, *(rows[0] if rows else ())}}
    cells = [parsed.render(row).split("\t") for row in rows]
    return table(parsed.render(headings).split("\t"), cells)


def unescape(template: str) -> str:
    r"""A template as docker reads it: `\t` and `\n` written out mean tab and newline."""
    return template.replace("\\t", "\t").replace("\\n", "\n")


def ago(moment_s: float) -> str:
    """How long ago a moment (seconds since 1970) was, in docker's words."""
    return duration(time.time() - moment_s) + " ago"


def duration(seconds: float) -> str:
    """A length of time in docker's words."""
    whole = int(max(seconds, 0))
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    if whole < 120:
        return "About a minute"
    if whole < 3600:
        return f"{whole // 60} minutes"
    if whole < 7200:
        return "About an hour"
    if whole < 48 * 3600:
        return f"{whole // 3600} hours"
    if whole < 14 * 86400:
        return f"{whole // 86400} days"
    if whole < 60 * 86400:
        return f"{whole // (7 * 86400)} weeks"
    return f"{whole // (30 * 86400)} months" if whole < 2 * 365 * 86400 else f"{whole // (365 * 86400)} years"


def size(size_bytes: float) -> str:
    """Decimal units with three significant digits: 4.32MB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size_bytes < 1000 or unit == "TB":
            return f"{size_bytes:.3g}{unit}"
        size_bytes /= 1000
    raise AssertionError
