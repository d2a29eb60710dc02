"""The launch plan that a new container would get, without making anything."""

from __future__ import annotations

import os

from .document import container_document
from .launch import rootfs_mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.plan.encode import Plan

    from .engine import Engine
    from .options import CreateOptions


def preview_plan(engine: Engine, options: CreateOptions) -> Plan:
    """Compile the plan of `options` for a container that does not exist. The image must be here."""
    from wherry.runtime.compile.container import compile_container
    from wherry.runtime.host import Host
    from wherry.runtime.options import Options

    options.check()
    image = engine.store.images.find(options.image)
    container_id = "ID"
    root = engine.store.snapshots.preview(container_id, image.chain_id)
    config = container_document(engine, container_id, options, engine.store.images.config(image), root)
    state_root = os.path.join(engine.run_root, "runtime")
    runtime_options = Options(
        id=container_id,
        bundle=engine.folder(container_id),
        root=state_root,
        state_dir=os.path.join(state_root, container_id),
        rootfs_mount=rootfs_mount(root),
        init=options.init,
        monitor=True,
    )
    return compile_container(config, Host.probe(), runtime_options)
