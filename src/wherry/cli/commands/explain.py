"""`wherry explain`: what a run line (or an OCI bundle) would do to the system, step by step."""

from __future__ import annotations

import os

from wherry.cli import output
from wherry.cli.arguments import open_engine
from wherry.cli.create_flags import add_create_flags, create_options
from wherry.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.cli.main import Globals


def parser() -> Parser:
    """The flags: those of `run`, or a bundle alone."""
    parser = Parser("explain", "Show what a run would do to the system. Nothing is done.")
    parser.add_argument("-d", "--detach", action="store_true", help="as for run; makes no difference here")
    parser.add_argument("--bundle", metavar="DIR", help="an OCI bundle, instead of flags and an image")
    add_create_flags(parser)
    return parser


def run(arguments: list[str], settings: Globals) -> int:
    """Print the launch plan as a numbered listing."""
    if arguments and arguments[0] == "--bundle":
        return _explain_bundle(arguments[1:])
    if arguments and arguments[0].startswith("--bundle="):
        return _explain_bundle([arguments[0].partition("=")[2]])
    parsed = parser().parse_args(arguments[1:] if arguments[:1] == ["run"] else arguments)
    from wherry.engine.preview import preview_plan
    from wherry.plan.explain import explain

    with open_engine(settings) as engine:
        output.write(explain(preview_plan(engine, create_options(parsed))))
    return 0


def _explain_bundle(arguments: list[str]) -> int:
    from wherry.oci.config import load
    from wherry.plan.explain import explain
    from wherry.runtime.compile.container import compile_container
    from wherry.runtime.host import Host
    from wherry.runtime.options import Options

    bundle = os.path.abspath(arguments[0] if arguments else ".")
    options = Options(id="example", bundle=bundle, root="/run/wherry/runtime", state_dir="/run/wherry/runtime/example")
    config = load(os.path.join(bundle, "config.json"))
    output.write(explain(compile_container(config, Host.probe(), options)))
    return 0
