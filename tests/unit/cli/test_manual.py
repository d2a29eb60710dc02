import subprocess
from pathlib import Path

import pytest

from wherry.cli.main import COMMANDS, usage
from wherry.cli.manual import files, parsers

PROJECT = Path(__file__).parents[3]


def test_man_pages_and_completions_are_current():
    stale = [
        name for name, text in files().items() if not (PROJECT / name).exists() or (PROJECT / name).read_text() != text
    ]
    assert not stale, "run: .venv/bin/python -m wherry.cli.manual"
    generated = {PROJECT / name for name in files()}
    assert {*PROJECT.glob("docs/man/wherry*"), *PROJECT.glob("docs/completion/*")} - generated == {
        *PROJECT.glob("docs/man/wherry-runtime*")
    }


def test_every_command_can_be_loaded_and_says_what_it_does():
    assert set(parsers()) | {"container", "image"} == set(COMMANDS)
    for verb, parser in parsers().items():
        assert "--help" in parser.format_help(), verb
        for action in parser._actions:
            assert action.help or action.metavar, f"{verb} {action.dest} has no help"
        assert verb in usage()


@pytest.mark.parametrize("name", sorted(files()))
def test_they_are_well_formed(name, tmp_path):
    path = tmp_path / "file"
    path.write_text(files()[name])
    if name.endswith(".bash"):
        subprocess.run(["bash", "-n", str(path)], check=True)
    elif name.endswith(".1"):
        done = subprocess.run(
            ["man", "--warnings", "-l", "-Tutf8", str(path)], capture_output=True, text=True, check=True
        )
        assert not done.stderr
