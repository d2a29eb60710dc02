"""Hooks: programs of the host's administrator that run at fixed moments (config.md "POSIX-platform Hooks")."""

from __future__ import annotations

from wherry.oci.check import INT64_MAX
from wherry.plan.instructions import HOOK_WARN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.oci.check import Document
    from wherry.plan.encode import Program
    from wherry.runtime.compile.draft import Draft

MOMENTS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


class Hook:
    """One hook; `env` None: not given."""

    __slots__ = ("args", "env", "path", "timeout_ms", "where")

    def __init__(self, document: Document) -> None:
        self.path = document.required_text("path")
        if self.path[0] != "/":
            raise document.error("path", "must be absolute")
        self.args = document.texts("args") or [self.path]
        self.env = document.texts("env") if document.has("env") else None
        for index, assignment in enumerate(self.env or ()):
            if "=" not in assignment[1:]:
                raise document.error(f"env[{index}]", f"{assignment!r} is not NAME=VALUE")
        self.timeout_ms = 0
        if document.has("timeout"):
            self.timeout_ms = 1000 * document.number("timeout", 1, INT64_MAX // 1000)
        self.where = document.path


class Hooks:
    """The hooks of a document by moment."""

    __slots__ = ("_draft", "_hooks")

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._hooks: dict[str, list[Hook]] = {}
        document = draft.document.document("hooks")
        if document is not None:
            for moment in MOMENTS:
                self._hooks[moment] = [Hook(entry) for entry in document.documents(moment)]

    def emit(self, program: Program, moment: str, status: str, env: list[str] | None = None) -> None:
        """The hooks of a moment; `env` is what a hook gets that names no environment."""
        for hook in self._hooks.get(moment, ()):
            self._emit(program, hook, status, env, 0)

    def emit_poststop(self, draft: Draft) -> None:
        """The hooks after the container is gone: a failure is a warning, the others run nevertheless."""
        for hook in self._hooks.get("poststop", ()):
            self._emit(draft.delete, hook, "stopped", None, HOOK_WARN)

    def _emit(self, program: Program, hook: Hook, status: str, env: list[str] | None, flags: int) -> None:
        head, tail = self._draft.state(status)
        given = hook.env if hook.env is not None else env or []
        arguments = (hook.path, hook.args, given, hook.timeout_ms, head, tail, flags)
        program.emit("HOOK", *arguments, where=hook.where)
