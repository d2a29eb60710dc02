"""Do one thing for each of several names, as docker does: go on after a failure, end with its status."""

from __future__ import annotations

from wherry.errors import WherryError

from . import errors, output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def for_each(names: Iterable[str], act: Callable[[str], object], *, show: bool = True) -> int:
    """Print each name that went well (if `show`), each error on standard error; 0, or the last error's status."""
    status = 0
    for name in names:
        try:
            act(name)
        except (WherryError, OSError) as error:
            errors.show(error)
            status = errors.status(error)
        else:
            if show:
                output.line(name)
    return status
