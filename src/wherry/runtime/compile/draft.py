"""A plan in the making: what the compiling modules share."""

from __future__ import annotations

from wherry.errors import RESOURCE_EXHAUSTED, WherryError
from wherry.oci.json_text import dumps
from wherry.plan.encode import Plan
from wherry.plan.instructions import DELETE, FIRST_FREE, HOST, INIT, META, SLOTS, STAGE, START

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.oci.check import Document
    from wherry.runtime.cgroup.group import Cgroup
    from wherry.runtime.compile.exec import Target
    from wherry.runtime.compile.namespaces import Namespaces
    from wherry.runtime.host import Host
    from wherry.runtime.options import Options

OCI_VERSION = "1.3.0"


class Draft:
    """The document, the facts, the plan so far; `namespaces` and `cgroup` are set first of all."""

    __slots__ = (
        "annotations",
        "cgroup",
        "deferred_readonly",
        "delete",
        "document",
        "host",
        "init",
        "linux",
        "meta",
        "namespaces",
        "next_slot",
        "options",
        "plan",
        "setup",
        "stage",
        "start",
        "state_tail",
        "target",
        "tree_slot",
    )

    namespaces: Namespaces
    cgroup: Cgroup

    def __init__(self, document: Document, host: Host, options: Options) -> None:
        self.document = document
        self.host = host
        self.options = options
        self.linux = document.document("linux") or type(document)({}, "linux")
        self.annotations = document.mapping("annotations")
        self.plan = plan = Plan()
        self.meta = plan.program(META)
        self.setup = plan.program(HOST)
        self.stage = plan.program(STAGE)
        self.init = plan.program(INIT)
        self.start = plan.program(START)
        self.delete = plan.program(DELETE)
        self.next_slot = FIRST_FREE
        self.tree_slot = -1
        self.deferred_readonly: list[tuple[str, str]] = []
        self.state_tail = ""
        self.target: Target | None = None  # exec: the running container

    def slot(self) -> int:
        """A free slot."""
        number = self.next_slot
        if number >= SLOTS:
            raise WherryError(RESOURCE_EXHAUSTED, "the plan needs more descriptors than a plan can hold")
        self.next_slot = number + 1
        return number

    def scratch_slot(self) -> int:
        """The one slot that INIT uses again and again for trees it attaches at once."""
        if self.tree_slot < 0:
            self.tree_slot = self.slot()
        return self.tree_slot

    def warn(self, line: str) -> None:
        """Tell the user something that is no error."""
        self.options.warnings.append(line)

    def state(self, status: str) -> tuple[str, str]:
        """The container's state in JSON (runtime.md "State"), before and after the pid."""
        options = self.options
        if not self.state_tail:
            tail = f',"bundle":{dumps(options.bundle)}'
            if self.annotations:
                tail += f',"annotations":{dumps(self.annotations)}'
            self.state_tail = tail + "}"
        head = f'{{"ociVersion":"{OCI_VERSION}","id":{dumps(options.id)},"status":"{status}","pid":'
        return head, self.state_tail
