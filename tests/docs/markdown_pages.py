"""What the tests of the documentation read out of Markdown: blocks of code, commands, links and headings."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
COMMAND_LINE = DOCS / "command-line.md"

_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: .+ -->\n\Z")
_COMMAND = re.compile(r"^ *(?:- |- run: |\$ )?(del-audit .+|make \w.*|python \S+\.py.*)$")
_CUT = re.compile(r"\s(?:#|<|>|\||\|\||&&)\s.*$")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_LINK = re.compile(r"!?\[[^\]\[]*(?:\[[^\]\[]*\][^\]\[]*)*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A block of code. language: after the fence; empty for an indented block. run: no comment above says otherwise."""

    language: str
    text: str
    line: int
    run: bool = True


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def fenced(text: str) -> list[Block]:
    """Returns the fenced blocks of a page, in order, their indentation taken off."""
    blocks = []
    for found in _FENCE.finditer(text):
        lines = [line.removeprefix(found[1]) for line in found[3].splitlines()]
        before = text[: found.start()]
        blocks.append(Block(found[2], "\n".join(lines) + "\n", before.count("\n") + 2, not _NOT_RUN.search(before)))
    return blocks


def prose(text: str) -> str:
    """Returns a page without its code: neither blocks nor code within a line."""
    text = _FENCE.sub("", text)
    text = re.sub(r"^(?: {4}|\t).*$", "", text, flags=re.MULTILINE)
    return re.sub(r"(`+)[^`]+\1", "`", text)


def commands(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yields line and words of each command in a page's blocks of code: of del-audit, make and python."""
    blocks = {block.line + at: block for block in fenced(text) for at in range(block.text.count("\n"))}
    lines = text.splitlines()
    for at, line in enumerate(lines, start=1):
        printed = at in blocks and blocks[at].language == "text"
        code = at in blocks or line.startswith("    ")
        if code and not printed and (found := _COMMAND.match(line)):
            whole = found[1]
            while whole.endswith("\\"):
                whole = whole[:-1] + lines[at].strip()
                at += 1
            yield at, shlex.split(_CUT.sub("", whole))


def links(text: str) -> list[str]:
    """Returns the targets of a page's links and pictures that are not on the web."""
    return [target for target in _LINK.findall(prose(text)) if not re.match(r"(?:https?|mailto):", target)]


def anchors(text: str) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        copies = sum(known == slug or re.fullmatch(re.escape(slug) + r"-\d+", known) is not None for known in found)
        found.add(f"{slug}-{copies}" if copies else slug)
    return found
