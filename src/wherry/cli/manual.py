"""Man pages and shell completions, from the command table and the parsers themselves.

`python -m wherry.cli.manual` writes `docs/man` and `docs/completion`; a test fails when they are not current.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from .full_parser import FullParser
from .main import COMMANDS


def parsers() -> dict[str, FullParser]:
    """The parser of each command that has one of its own."""
    found = {}
    for verb, (module, _) in COMMANDS.items():
        command = import_module(f"wherry.cli.commands.{module}")
        if hasattr(command, "parser"):
            found[verb] = command.parser().full()
    return found


def options(parser: FullParser) -> Iterator[argparse.Action]:
    """The options, in the order of the help text."""
    for action in parser._actions:
        if action.option_strings:
            yield action


def man_page(verb: str, parser: FullParser) -> str:
    """wherry-VERB(1)."""
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    lines = [
        f'.TH "WHERRY-{verb.upper()}" 1 "" "Wherry" "Wherry commands"',
        ".SH NAME",
        f"wherry-{verb} \\- {_roff(COMMANDS[verb][1])}",
        ".SH SYNOPSIS",
        f".B {_roff(usage)}",
        ".SH DESCRIPTION",
        _roff(parser.description or ""),
        ".SH OPTIONS",
    ]
    for action in options(parser):
        value = "" if action.nargs == 0 else f" {action.metavar or (action.dest.upper())}"
        names = ", ".join([name + value for name in action.option_strings])
        lines += [".TP", f".B {_roff(names)}", _roff(_help(action))]
    lines += [".SH SEE ALSO", ".BR wherry (1)"]
    return "\n".join(lines) + "\n"


def main_page() -> str:
    """wherry(1)."""
    lines = [
        '.TH "WHERRY" 1 "" "Wherry" "Wherry commands"',
        ".SH NAME",
        "wherry \\- run containers without a daemon",
        ".SH SYNOPSIS",
        ".B wherry [--root DIR] [--run-root DIR] COMMAND …",
        ".SH COMMANDS",
    ]
    for verb, (_, text) in COMMANDS.items():
        lines += [".TP", f".BR wherry-{verb} (1)", _roff(text)]
    lines += [
        ".SH FILES",
        ".TP",
        ".I /var/lib/wherry",
        _roff("images, volumes, containers (rootless: $XDG_DATA_HOME/wherry; $WHERRY_ROOT, --root)"),
        ".TP",
        ".I /run/wherry",
        _roff("what does not outlive a boot (rootless: $XDG_RUNTIME_DIR/wherry; $WHERRY_RUN_ROOT, --run-root)"),
        ".SH EXIT STATUS",
        _roff(
            "run: the container's own, 125 when the engine failed, 126 when the command could not be executed, "
            "127 when it was not found, 128 + n when signal n ended it. exec: the command's own. Others: 0, or 1."
        ),
    ]
    return "\n".join(lines) + "\n"


def _help(action: argparse.Action) -> str:
    text = action.help or ""
    if action.choices is not None:
        text += f" ({', '.join(map(str, action.choices))})"
    return text


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped


def bash_completion() -> str:
    """For bash-completion: verbs, options, names of containers and images."""
    cases = "".join([f"\t{verb}) flags='{' '.join(_flags(parser))}' ;;\n" for verb, parser in parsers().items()])
    return f"""# bash completion for wherry; generated from its command table
_wherry() {{
\tlocal word=${{COMP_WORDS[COMP_CWORD]}} verb='' flags='' names='' i
\tfor ((i = 1; i < COMP_CWORD; i++)); do
\t\tcase ${{COMP_WORDS[i]}} in
\t\t--root | --run-root) ((i++)) ;;
\t\t-*) ;;
\t\t*) verb=${{COMP_WORDS[i]}}; break ;;
\t\tesac
\tdone
\tcase $verb in
\t'') COMPREPLY=($(compgen -W '{" ".join(COMMANDS)} --root --run-root --version --help' -- "$word")); return ;;
{cases}\tesac
\tif [[ $word == -* ]]; then
\t\tCOMPREPLY=($(compgen -W "$flags" -- "$word"))
\t\treturn
\tfi
\tcase $verb in
\texec | stop | kill | logs) names=$(wherry ps --format '{{{{.Names}}}}' 2>/dev/null) ;;
\tstart | rm | inspect | wait) names=$(wherry ps -a --format '{{{{.Names}}}}' 2>/dev/null) ;;
\trun | create | rmi | push | tag | save | explain)
\t\tnames=$(wherry images --format '{{{{.Repository}}}}:{{{{.Tag}}}}' 2>/dev/null) ;;
\tesac
\tCOMPREPLY=($(compgen -W "$names" -- "$word"))
}}
complete -o default -F _wherry wherry
"""


def zsh_completion() -> str:
    """For zsh's compsys."""
    verbs = "".join([f"    '{verb}:{_quoted(text)}'\n" for verb, (_, text) in COMMANDS.items()])
    cases = ""
    for verb, parser in parsers().items():
        flags = "".join(
            [
                f"      '{name}[{_quoted(_help(action))}]{'' if action.nargs == 0 else ': :_files'}' \\\n"
                for action in options(parser)
                for name in action.option_strings
            ]
        )
        cases += f"  {verb})\n    _arguments -s \\\n{flags}      '*: :_files' ;;\n"
    return f"""#compdef wherry
# zsh completion for wherry; generated from its command table
_wherry() {{
  local -a verbs
  verbs=(
{verbs}  )
  if (( CURRENT == 2 )); then
    _describe command verbs
    return
  fi
  local verb=$words[2]
  shift words
  (( CURRENT-- ))
  case $verb in
{cases}  esac
}}
_wherry "$@"
"""


def fish_completion() -> str:
    """For fish."""
    lines = ["# fish completion for wherry; generated from its command table", "complete -c wherry -f"]
    for verb, (_, text) in COMMANDS.items():
        lines.append(f"complete -c wherry -n __fish_use_subcommand -a {verb} -d '{_quoted(text)}'")
    for verb, parser in parsers().items():
        for action in options(parser):
            names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in action.option_strings]
            value = "" if action.nargs == 0 else " -r"
            lines.append(
                f"complete -c wherry -n '__fish_seen_subcommand_from {verb}' {' '.join(names)}{value}"
                f" -d '{_quoted(_help(action))}'"
            )
    return "\n".join(lines) + "\n"


def _flags(parser: FullParser) -> list[str]:
    return [name for action in options(parser) for name in action.option_strings]


def _quoted(text: str) -> str:
    return text.replace("'", "").replace("[", "(").replace("]", ")").replace(":", "")


def files() -> dict[str, str]:
    """Every generated file by its path in the project."""
    made = {f"docs/man/wherry-{verb}.1": man_page(verb, parser) for verb, parser in parsers().items()}
    made["docs/man/wherry.1"] = main_page()
    made["docs/completion/wherry.bash"] = bash_completion()
    made["docs/completion/_wherry"] = zsh_completion()
    made["docs/completion/wherry.fish"] = fish_completion()
    return made


def main() -> None:
    """Write the files into the working tree."""
    project = Path(__file__).parents[3]
    for name, text in files().items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        sys.stderr.write(f"{name}\n")


if __name__ == "__main__":
    main()
