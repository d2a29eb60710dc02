"""`checkpoint`: save a running container's processes to disk."""

from __future__ import annotations

import os
import sys

from wherry.errors import INVALID_ARGUMENT, NOT_IMPLEMENTED, WherryError
from wherry.runtime import criu
from wherry.runtime.arguments import FLAG, TEXT, Arguments, parse
from wherry.runtime.existing import Existing, Locked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.runtime.arguments import Table
    from wherry.runtime.command_line import Context

# Options that criu knows by the same name.
SAME: Table = (
    ("tcp-established", "", FLAG),
    ("tcp-skip-in-flight", "", FLAG),
    ("tcp-close", "", FLAG),
    ("link-remap", "", FLAG),
    ("ext-unix-sk", "", FLAG),
    ("shell-job", "", FLAG),
    ("file-locks", "", FLAG),
    ("auto-dedup", "", FLAG),
)
OPTIONS: Table = (
    *SAME,
    ("image-path", "", TEXT),
    ("work-path", "", TEXT),
    ("parent-path", "", TEXT),
    ("leave-running", "", FLAG),
    ("pre-dump", "", FLAG),
    ("lazy-pages", "", FLAG),
    ("status-fd", "", TEXT),
    ("page-server", "", TEXT),
    ("manage-cgroups-mode", "", TEXT),
    ("empty-ns", "", TEXT),
)
CGROUP_MODES = ("", "soft", "full", "strict", "ignore")


def run(context: Context) -> int:
    """Dump it; unless told to leave it running, its processes are gone afterwards."""
    arguments = parse(OPTIONS, context.words, intermixed=True)
    if len(arguments.operands) != 1:
        raise WherryError(INVALID_ARGUMENT, "requires exactly 1 argument, the container's ID")
    for name in ("lazy-pages", "page-server", "status-fd"):
        if arguments.values.get(name):
            raise WherryError(NOT_IMPLEMENTED, "lazy and remote checkpoints are not supported", path=f"--{name}")
    program = criu.find_criu(context.arguments.text("criu"))
    root, container_id = context.root(), arguments.operands[0]
    with Locked(root, container_id):
        container = Existing(root, container_id)
        container.require_live()
        images, work = directories(arguments)
        command = _command(program, arguments, container, images, work)
        if not arguments.flag("pre-dump"):
            criu.save_descriptors(container.pid, images)
        sys.stdout.flush()
        criu.run_criu(command, work, "dump.log", verb="checkpoint")
    return 0


def directories(arguments: Arguments) -> tuple[str, str]:
    """The absolute folders of images and of criu's work, made if they are missing."""
    images = os.path.abspath(arguments.text("image-path") or "checkpoint")
    work = os.path.abspath(arguments.text("work-path") or images)
    for path in (images, work):
        os.makedirs(path, 0o700, exist_ok=True)
    return images, work


def common_words(arguments: Arguments, images: str, work: str, log: str) -> list[str]:
    """What dump and restore share."""
    mode = arguments.text("manage-cgroups-mode")
    if mode not in CGROUP_MODES:
        raise WherryError(
            INVALID_ARGUMENT,
            f"{mode!r} is not a mode",
            hint="soft, full, strict or ignore",
            path="--manage-cgroups-mode",
        )
    words = ["--images-dir", images, "--work-dir", work, "--log-file", log, "-v4"]
    words.append(f"--manage-cgroups={mode}" if mode else "--manage-cgroups")
    if arguments.text("empty-ns"):
        words += ["--empty-ns", arguments.text("empty-ns")]
    return words + [f"--{name}" for name, _, _ in SAME if arguments.flag(name)]


def _command(program: str, arguments: Arguments, container: Existing, images: str, work: str) -> list[str]:
    verb = "pre-dump" if arguments.flag("pre-dump") else "dump"
    command = [program, verb, "--tree", str(container.pid), *common_words(arguments, images, work, "dump.log")]
    facts = {str(values[0]): str(values[1]) for _, _, values in container.plan.program(0).steps}
    from wherry.oci.json_text import loads

    command += ["--root", str(loads(facts.get("rootfs_json", '"/"'))), "--evasive-devices"]
    if arguments.text("parent-path"):
        command += ["--prev-images-dir", arguments.text("parent-path"), "--track-mem"]
    if arguments.flag("pre-dump"):
        return [*command, "--track-mem"]
    if arguments.flag("leave-running"):
        command.append("--leave-running")
    bundle = str(loads(facts.get("bundle_json", '"/"')))
    for target, _ in criu.external_mounts(container.document, bundle):
        command += ["--external", f"mnt[{target}]:{target}"]
    return command + criu.external_namespaces(container.document)
