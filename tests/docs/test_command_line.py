"""docs/command-line.md says what the parsers say."""

import argparse
import re

from command_line import COMMAND, PAGE, page

from del_audit.cli import _parser
from del_audit.commands import COMMANDS


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf8") == page(), f"make it again: {COMMAND}"


def test_the_list_of_commands_has_the_rows_of_the_registry_in_their_order():
    listed = re.findall(r"^- \[`del-audit ([a-z-]+)`\]\(#del-audit-[a-z-]+\): [A-Za-z]", page(), re.MULTILINE)
    assert listed == [command.__name__.split(".")[-1].replace("_", "-") for command in COMMANDS]


def test_every_command_and_option_is_on_it():
    text = page()

    def check(parser):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for command in action.choices.values():
                    assert f"\n## {command.prog}\n" in text
                    check(command)
            elif action.option_strings and not isinstance(action, argparse._HelpAction | argparse._VersionAction):
                section = text.partition(f"\n## {parser.prog}\n")[2].partition("\n## ")[0]
                for option in action.option_strings:
                    assert f"`{option}`" in section or f"`{option} " in section, f"{parser.prog} {option}"

    check(_parser())


def test_defaults_and_what_is_needed_are_shown():
    calibrate = page().partition("\n## del-audit calibrate\n")[2].partition("\n## ")[0]
    assert "| `--dim DIM` | coordinates a token | needed |" in calibrate
    assert "| `--unit UNIT` | token, phrase, prompt or session | token |" in calibrate
    assert "    del-audit calibrate --dim DIM --clip CLIP [OPTION ...]" in calibrate


def test_no_help_is_left_in_argparses_own_syntax():
    assert "%(" not in page()
    assert "None" not in page()
