"""A command is one row of the registry and one module."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from del_audit import cli, commands
from del_audit.cli import main
from del_audit.commands.values import add_json, whole
from mechanisms.errors import UserError

FILES = {path.stem for path in Path(commands.__file__).parent.glob("*.py")} - {"__init__", "values"}
NAMES = [command.__name__.rpartition(".")[2] for command in commands.COMMANDS]


@pytest.fixture
def toy(monkeypatch):
    """Adds a command to the registry, by a row alone."""

    def run(arguments):
        if arguments.times < 0:
            raise UserError(f"Expected times >= 0, got times={arguments.times}.")
        print(["toy"] * arguments.times if arguments.json else "toy " * arguments.times)
        return 3

    def add_parser(parsers):
        parser = parsers.add_parser("toy", help="a toy", allow_abbrev=False)
        parser.add_argument("times", type=whole("times"))
        add_json(parser)
        parser.set_defaults(run=run)

    monkeypatch.setattr(cli, "COMMANDS", (*commands.COMMANDS, SimpleNamespace(add_parser=add_parser)))


@pytest.mark.usefixtures("toy")
class TestToy:
    def test_it_runs_and_its_code_is_the_exit_code(self, capsys):
        assert main(["toy", "2", "--json"]) == 3
        assert capsys.readouterr().out == "['toy', 'toy']\n"

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["-1"], "Expected times >= 0, got times=-1."),
            (["x"], "argument times: Expected times to be a whole number, got times='x'. See del-audit toy --help."),
            (["1", "--js"], "unrecognized arguments: --js. See del-audit --help."),
        ],
    )
    def test_its_errors_are_the_houses(self, arguments, said, capsys):
        assert main(["toy", *arguments]) == 2
        assert capsys.readouterr().err == f"del-audit: error: {said}\n"

    def test_it_is_the_last_of_the_help(self, capsys):
        with pytest.raises(SystemExit):
            main(["--help"])
        assert capsys.readouterr().out.rstrip().splitlines()[-1].split(maxsplit=1) == ["toy", "a toy"]


def test_every_module_of_a_command_is_a_row_and_has_the_commands_name(capsys):
    assert len(set(NAMES)) == len(NAMES)
    assert set(NAMES) == FILES
    for name in NAMES:
        with pytest.raises(SystemExit):
            main([name.replace("_", "-"), "--help"])
        assert capsys.readouterr().out.startswith(f"usage: del-audit {name.replace('_', '-')} ")


def test_the_options_of_all_commands_load_nothing_heavy():
    code = "import sys, del_audit.cli as c; c._parser(); print('numpy' in sys.modules, 'sqlite3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
