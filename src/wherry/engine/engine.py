"""The engine: containers over the store, the runtime and the network, with no daemon.

Every method works on the store and the kernel directly. What a killed process left half done is finished or
undone by the next engine that opens the store.
"""

from __future__ import annotations

import fcntl
import os
import time

from wherry.errors import FAILED_PRECONDITION, NOT_FOUND, UNAVAILABLE, WherryError
from wherry.oci.json_text import dumps, loads
from wherry.store import Store

from . import names, paths, records
from .container import Container
from .monitor_folder import MonitorFolder
from .networking import Networking
from .processes import boot_id, owner_alive, owner_token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from wherry.store.base import ContainerRoot
    from wherry.store.images import Image

    from .launch import Report
    from .options import CreateOptions
    from .records import Record


class Engine:
    """One root directory (images, volumes, containers) and one run root (what does not outlive a boot).

    Safe for several threads and processes at once.

        with Engine.open() as engine:
            container = engine.run(CreateOptions("debian:bookworm", ["sleep", "60"], name="nap"))
            print(container.exec(["uname", "-a"]).output)
            container.remove(force=True)
    """

    __slots__ = ("networking", "records", "run_root", "store")

    def __init__(self, store: Store, run_root: str) -> None:
        self.store = store
        self.run_root = run_root
        self.records = records.Records(store.database)
        self.networking = Networking(store.database, run_root)

    @classmethod
    def open(cls, root: str | None = None, *, run_root: str = "") -> Engine:
        """Open (and make, the first time) the engine's folders, and settle what was interrupted."""
        engine = cls(Store.open(root), paths.make_private(run_root or paths.run_root()))
        engine.settle()
        return engine

    def close(self) -> None:
        """Close the store. Containers run on."""
        self.store.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Finding

    def get(self, name_or_id: str) -> Container:
        """A container by name, id or start of its id.

        Raises WherryError: not found, or unavailable while it is being made.
        """
        record = self.records.find(name_or_id)
        if record.state == records.CREATING:
            raise WherryError(UNAVAILABLE, f"container {record.name} is still being created", hint="try again")
        return Container(self, record)

    def list(self, *, every: bool = False) -> list[Container]:
        """Running containers, or `every` one, newest first."""
        containers = [Container(self, record) for record in self.records.every() if record.state != records.CREATING]
        return [c for c in containers if every or c.status() in ("running", "paused", "restarting")]

    # Making

    def run(self, options: CreateOptions) -> Container:
        """Create a container and start it."""
        container = self.create(options)
        container.start(remove_on_failure=options.remove)
        return container

    def create(self, options: CreateOptions) -> Container:
        """Make a container from an image that is pulled if it is not here. Raises WherryError, leaving nothing."""
        options.check()
        image = self.image(options.image)
        container_id = names.new_id()
        self.records.insert(
            container_id=container_id,
            name=options.name or names.new_name(),
            image=options.image,
            image_id=image.id,
            created_ns=time.time_ns(),
            owner=owner_token(),
        )
        try:
            root = self.store.snapshots.create(container_id, image.chain_id)
            os.makedirs(self.folder(container_id), mode=0o700)
            launch = self._write_document(container_id, options, image, root)
            self.records.update(container_id, state=records.CREATED, launch=dumps(launch))
        except BaseException:
            self.discard(container_id)
            raise
        return self.get(container_id)

    def image(self, name: str) -> Image:
        """A local image, pulled when it is missing."""
        try:
            return self.store.images.find(name)
        except WherryError as error:
            if error.code != NOT_FOUND:
                raise
        from wherry.transfer import pull

        return pull(self.store, name)

    def folder(self, container_id: str) -> str:
        """The engine's own durable folder of a container: document, name files, log."""
        return os.path.join(self.store.root, "engine", container_id)

    def _write_document(
        self, container_id: str, options: CreateOptions, image: Image, root: ContainerRoot
    ) -> dict[str, Any]:
        from .document import launch_facts, write_config

        config = self.store.images.config(image)
        document = write_config(self, container_id, options, config, root)
        return launch_facts(options, config, document["process"]["args"])

    # Starting, ending

    def launch(self, record: Record, *, attached: bool) -> Report:
        """Connect the network and hand the container to a new monitor, up to `created`."""
        from .starting import start_monitor

        return start_monitor(self, record, loads(record.launch), attached=attached)

    def lock(self, container_id: str) -> int:
        """Take the container's lock; closing the descriptor releases it. For one that is gone no file is left."""
        folder = os.path.join(self.run_root, "locks")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        path = os.path.join(folder, container_id)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(descriptor, path):  # else the container was removed while we waited, and the file with it
                break
            os.close(descriptor)
        if self.records.get(container_id) is None:
            os.unlink(path)
        return descriptor

    def fold(self, record: Record, *, durable: bool = True) -> None:
        """Carry the end of a started container over into the record, and take its network down. Idempotent."""
        folder = MonitorFolder(self.run_root, record.id)
        ended = folder.exit_record() or {}
        if not ended.get("final") and Container(self, record).pid() == 0:
            folder.await_end_of_monitor()  # it may still be busy with the container's last output
            ended = folder.exit_record() or {}
        if not ended.get("final") and record.boot == boot_id() and not folder.monitor_pid():
            from .orphans import end_orphan

            end_orphan(folder.path)
            self.networking.detach_lost(record.id)
        if loads(record.launch).get("network") == "bridge":
            self.networking.detach(record.id)
        self.delete_runtime_state(record.id)
        self.records.update(
            record.id,
            durable=durable,
            state=records.EXITED,
            exit_code=int(ended.get("exitCode", 255)),
            oom_killed=int(bool(ended.get("oomKilled"))),
            restarts=int(ended.get("restarts", 0)),
            started_at=ended.get("startedAt") or record.started_at,
            finished_at=ended.get("finishedAt") or "",
            error=ended.get("error") or ("" if ended else "the end was not observed: monitor or machine went down"),
        )
        folder.remove()

    def delete_runtime_state(self, container_id: str) -> None:
        """Remove the runtime's state folder with all it stands for (processes, cgroups)."""
        state_root = os.path.join(self.run_root, "runtime")
        try:
            names = os.listdir(state_root)
        except FileNotFoundError:
            return
        # also what a creator that was killed had only prepared
        if any(name.partition("~")[0] == container_id for name in names):
            from wherry.runtime.api import Runtime

            Runtime(state_root).delete(container_id, force=True)

    def discard(self, container_id: str) -> None:
        """Remove a container and everything of it, whatever exists. Idempotent."""
        record = self.records.get(container_id)
        self.records.update(container_id, durable=False, state=records.REMOVING, owner=owner_token())
        self.delete_runtime_state(container_id)
        if record is None or _may_be_connected(record):
            self.networking.detach(container_id)
        self.store.snapshots.remove(container_id)
        MonitorFolder(self.run_root, container_id).remove()
        folder = self.folder(container_id)
        if os.path.isdir(folder):
            remove_folder(folder)
        self.records.delete(container_id)
        lock = os.path.join(self.run_root, "locks", container_id)
        if os.path.exists(lock):
            os.unlink(lock)

    def settle(self) -> None:
        """Finish or undo what killed processes, dead monitors or a reboot left."""
        if not paths.may_act():
            return
        for record in self.records.unsettled():
            if not self._is_settled(record):
                self._settle(record.id)

    def _is_over(self, record: Record) -> bool:
        if record.boot != boot_id():
            return True
        folder = MonitorFolder(self.run_root, record.id)
        if folder.monitor_pid():
            return False
        ended = folder.exit_record()
        if ended is not None and ended.get("final"):
            return True
        return Container(self, record).pid() == 0 and not owner_alive(record.owner)

    def _is_settled(self, record: Record) -> bool:
        """Whether somebody still works on it, or it runs."""
        if record.state == records.STARTED:
            return not self._is_over(record)
        return owner_alive(record.owner)

    def _settle(self, container_id: str) -> None:
        descriptor = self.lock(container_id)
        try:
            record = self.records.get(container_id)
            if record is None or record.state in (records.CREATED, records.EXITED) or self._is_settled(record):
                return
            if record.state == records.STARTED:
                self.fold(record)
            if record.state != records.STARTED or loads(record.launch).get("remove"):
                self.discard(record.id)
        finally:
            os.close(descriptor)

    # Images

    def remove_image(self, name: str, *, force: bool = False) -> Any:
        """Untag or remove an image. Raises WherryError (failed precondition) while a container uses it."""
        image = self.store.images.find(name)
        users = [record for record in self.records.every() if record.image_id == image.id]
        if users and (len(image.names) <= 1 or name == image.id):
            if not force:
                raise WherryError(
                    FAILED_PRECONDITION,
                    f"image {name} is in use by container {users[0].id[:12]} ({users[0].name})",
                    hint=f"first: wherry rm {users[0].name}",
                )
            for record in users:
                Container(self, record).remove(force=True)
        return self.store.images.remove(name, force=force)


def _may_be_connected(record: Record) -> bool:
    """Whether the container may have a network of ours: the end of a start takes it down, before it is recorded."""
    over = record.state in (records.CREATED, records.EXITED)
    return not over and bool(loads(record.launch).get("network") == "bridge")


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def remove_folder(folder: str) -> None:
    """Remove a container's own folder with its files and unnamed volumes."""
    if os.path.isdir(os.path.join(folder, "volumes")):
        from shutil import rmtree

        rmtree(os.path.join(folder, "volumes"))
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    os.rmdir(folder)
