"""Writes docs/command-line.md from the parsers: `python tests/docs/command_line.py`. A test holds the page to them."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from del_audit.cli import _parser

COMMAND = "python tests/docs/command_line.py"
PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
INTRODUCTION = f"""# Command line

<!-- Made from the parsers; do not edit. To make it again: {COMMAND} -->

Every command and option. What is in capitals you fill in; options in square brackets may be left out. Errors that you
can mend are one line on standard error, with exit code 2. `del-audit --version` prints the version, `--help` works
after every command.

Whatever the command, these codes mean the same:

| code | means |
| --- | --- |
| 2 | you can mend it: the line says what was expected and what to type |
| 70 | del-audit itself, or the machine, failed. This says nothing about the configuration. The line names a log file |
| 130 | interrupted (Ctrl-C) |
| 143, 129 | terminated (SIGTERM), hung up (SIGHUP) |

A verdict keeps its code whatever becomes of its output. Where the reader of standard output has gone (`| head`), or
standard output is closed, the command runs to its end, writes its files and returns its own code. Where output was
lost on its way to a reader, on a full disk for one, a code of 0 becomes 2 with one line on standard error; any other
code stands.

The log of an error with code 70 is in the folder `errors` of `$DEL_AUDIT_STATE` (else `~/.local/state/del-audit`), for
its owner alone. It holds the command's arguments, versions and the trace, and may quote your text: read it before you
send it to anybody.

`certify`, `attack`, `tune`, `frontier`, `train` and `reproduce` hold their `--out`: a second run into the same folder
is refused at once, with code 2. The lock ends with the process, however that ends, and leaves no file.
"""


def page() -> str:
    """Returns the page as Markdown."""
    parser = _parser()
    commands = list(_commands(parser))
    index = "\n".join(f"- [`{name}`](#{_slug(name)}): {_prose(help_)}" for name, help_, _ in commands)
    return "\n".join([INTRODUCTION, index, "", *(_section(name, help_, found) for name, help_, found in commands)])


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Yields name, help and parser of every command below a parser, and of what is below that."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, command in action.choices.items():
                yield command.prog, helps.get(name, ""), command
                yield from _commands(command)


def _section(name: str, help_: str, parser: argparse.ArgumentParser) -> str:
    lines = [f"## {name}", "", f"{_sentence(help_)} {_prose(parser.description or '')}".strip(), "", _usage(parser), ""]
    shown = [action for action in parser._actions if not isinstance(action, argparse._SubParsersAction)]
    rows = [_row(parser, action) for action in shown if not isinstance(action, argparse._HelpAction)]
    if rows:
        lines += ["| argument | says | default |", "| --- | --- | --- |", *rows, ""]
    return "\n".join(lines)


def _usage(parser: argparse.ArgumentParser) -> str:
    """Returns what must be given, as one indented line; options that need not be are in the table."""
    words = [parser.prog]
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        name = _names(parser, action)[-1]
        needed = action.required and action.nargs != "?"
        if needed or not action.option_strings:
            words.append(name if needed else f"[{name}]")
    optional = any(action.option_strings and not action.required for action in parser._actions[1:])
    return "    " + " ".join([*words, *(["[OPTION ...]"] if optional else [])])


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    names = "<br>".join(f"`{name}`" for name in _names(parser, action))
    text, default = _told(_prose(action.help or "", action))
    if action.required and action.option_strings:
        default = "needed"
    elif not default and action.option_strings and action.default not in (None, False, [], argparse.SUPPRESS):
        default = str(action.default)
    elif not default and not action.option_strings and action.required:
        default = "needed"
    cells = names, text, default
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _names(parser: argparse.ArgumentParser, action: argparse.Action) -> list[str]:
    """Returns each way to write an argument, with what it takes."""
    if isinstance(action, argparse._SubParsersAction):
        return [str(action.metavar)]
    value = parser._get_formatter()._format_args(
        action, (action.dest if not action.option_strings else "VALUE").upper()
    )
    if action.metavar is None and action.option_strings:
        value = value.replace("VALUE", action.dest.upper().replace("_", "-"))
    if not action.option_strings:
        return [value.strip("[]") if action.nargs == "?" else value]
    return [f"{name} {value}".strip() if action.nargs != 0 else name for name in action.option_strings]


def _told(text: str) -> tuple[str, str]:
    """Returns a help without its default, and that default; one inside a sentence stays where it is."""
    found = re.fullmatch(
        r"(?P<before>.*?)\s*\(default: (?P<default>(?:[^()]|\([^()]*\))*)\)(?P<after>.*)", text, re.DOTALL
    )
    if found is None or found["after"].strip():
        return text, ""
    return found["before"].rstrip(" ;"), found["default"]


def _prose(text: str, action: argparse.Action | None = None) -> str:
    """Returns argparse's text as Markdown: filled in, and with nothing that Markdown would take for markup."""
    filled = text % {**vars(action), "prog": "del-audit"} if action is not None else text
    filled = re.sub(r"(?<![`\w-])(--[a-z][a-z-]*)", r"`\1`", filled)
    return re.sub(r"(?<!`)([<>*_$])", r"\\\1", filled)


def _sentence(text: str) -> str:
    return text[:1].upper() + _prose(text[1:]).rstrip(".?") + ("?" if text.endswith("?") else ".") if text else ""


def _slug(name: str) -> str:
    return name.replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf8")
    print(f"Written: {PAGE}")
