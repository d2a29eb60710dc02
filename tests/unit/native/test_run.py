"""@run and @create: exit statuses, what is left behind, how a failing step is told."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .harness import Box


def test_output_and_status(box: Box) -> None:
    box.shell("echo hello; exit 44")
    result = box.run()
    assert (result.status, result.stdout, result.stderr) == (44, "hello\n", "")
    assert not box.state.exists()


def test_signal_becomes_status(box: Box) -> None:
    box.shell("kill -KILL $$")
    box.namespaces &= ~0x20000000
    assert box.run().status == 128 + signal.SIGKILL


def test_is_pid_one_in_its_root(box: Box) -> None:
    assert box.output("echo $$; ls -1 /") == "1\nbin\ndata\ndev\netc\nproc\nsys\ntmp\n"
