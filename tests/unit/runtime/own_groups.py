"""Control groups of this machine for a test: made below our own, removed at the end."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from wherry.runtime.cgroup.container import Groups
from wherry.runtime.cgroup.layout import read_layout


class OwnGroups:
    def __init__(self) -> None:
        self.layout = read_layout()
        name = f"wherry-test-{uuid.uuid4().hex[:8]}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.paths = []
        for hierarchy in self.layout.all():
            path = Path(hierarchy.own_directory, name)
            try:
                path.mkdir()
            except OSError as error:
                pytest.skip(f"control groups cannot be made here: {error}")
            self.paths.append(path)
            if "cpuset" in hierarchy.controllers and hierarchy.version == 1:
                for file in ("cpuset.cpus", "cpuset.mems"):
                    (path / file).write_text((path.parent / file).read_text())
        self.groups = Groups(self.layout, [str(path) for path in self.paths])

    def path(self, controller: str) -> Path:
        directory = self.groups.directory(controller)
        if not directory:
            pytest.skip(f"the kernel's control groups have no {controller} controller here")
        return Path(directory)

    def run(self, *command: str) -> subprocess.Popen[bytes]:
        """Run a command inside the groups."""
        enter = " && ".join(f"echo 0 > {path}/cgroup.procs" for path in self.paths)
        script = f'{enter} && exec "$@"'
        process = subprocess.Popen(["sh", "-c", script, "sh", *command], stderr=subprocess.DEVNULL)
        self.processes.append(process)
        name = self.paths[-1].name
        while process.poll() is None and Path(f"/proc/{process.pid}/cgroup").read_text().count(name) < len(self.paths):
            time.sleep(0.01)
        return process

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        for path in self.paths:
            while path.exists():
                try:
                    os.rmdir(path)
                except OSError:
                    time.sleep(0.01)
