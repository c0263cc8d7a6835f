"""docs/architecture.md against the folders, what their modules import, and the tests and files that the page names."""

import ast
import re
from pathlib import Path

import pytest
from markdown_pages import DOCS, ROOT

TOPS = ("del_audit", "attacks", "mechanisms")
PAGE = (DOCS / "architecture.md").read_text(encoding="utf8")
ROOMS = sorted({path.parent.relative_to(ROOT).as_posix() for top in TOPS for path in (ROOT / top).rglob("*.py")})


def table(header):
    """Returns the cells of each row of the one table with that header."""
    assert PAGE.count(f"{header}\n") == 1
    lines = PAGE.partition(f"{header}\n")[2].partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


ROWS = {room.strip("`"): (purpose, allowed) for room, purpose, allowed in table("| room | purpose | may import from |")}
AGAINST = [(room.strip("`"), allowed) for room, allowed, _ in table("| room | imports from | what |")]
ADDED = table("| what | code | pages | the test |")


def meant(room, name):
    """Returns the room that a name in a row stands for: one of the same top-level folder, or another such folder."""
    top = room.partition("/")[0]
    if name == "root":
        return top
    return name if name in TOPS else f"{top}/{name}"


def imported(room):
    """Returns each other room that the room's modules import, with one module that does."""
    found = {}
    for path in sorted((ROOT / room).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                if name.partition(".")[0] in TOPS and (other := room_of(name)) != room:
                    found.setdefault(other, path.name)
    return found


def room_of(name):
    """Returns the room of a module, or of a name in it."""
    folder = Path(*name.split("."))
    while folder.as_posix() not in ROOMS:
        folder = folder.parent
    return folder.as_posix()


def covers(room, name, other):
    """Returns whether a name in a room's row covers the other room."""
    if name == "any room":
        return True
    whole = meant(room, name)
    return other == whole or (name != "root" and other.startswith(f"{whole}/"))


def test_every_room_has_one_row_and_every_row_is_a_room():
    named = [row[0].strip("`") for row in table("| room | purpose | may import from |")]
    assert sorted(named) == ROOMS


@pytest.mark.parametrize("room", ROWS)
def test_every_row_says_what_the_room_is_for(room):
    purpose, _ = ROWS[room]
    assert 3 <= len(purpose.split()) <= 25
    assert purpose[-1] != "."


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_its_row_allows(room):
    allowed = ROWS[room][1].split(", ") + [name for one, name in AGAINST if one == room]
    for other, module in imported(room).items():
        below = room not in TOPS and other.startswith(f"{room}/")
        assert below or any(covers(room, name, other) for name in allowed), (
            f"{room}/{module} imports {other}: move what it needs to a room below, or say so in docs/architecture.md"
        )


@pytest.mark.parametrize("room", ROWS)
def test_every_name_in_a_row_is_a_room(room):
    names = [name for name in ROWS[room][1].split(", ") if name not in ("any room", "nothing")]
    assert all(meant(room, name) in ROOMS for name in names)


@pytest.mark.parametrize(("room", "name"), AGAINST)
def test_imports_against_the_direction_are_still_there(room, name):
    assert any(covers(room, name, other) for other in imported(room)), f"delete the line of {room} and {name}"


def test_the_picture_names_rooms_and_all_its_steps_are_connected():
    (picture,) = re.findall(r"```mermaid\n(.*?)```", PAGE, re.DOTALL)
    labels = dict(re.findall(r'^    (\w+)\["(.+)"\]$', picture, re.MULTILINE))
    for label in labels.values():
        rooms, _, said = label.partition(": ")
        assert said
        assert all(room in ROOMS or f"del_audit/{room}" in ROOMS for room in rooms.split(", ")), label
    arrows = [line.split(" --> ") for line in picture.splitlines() if " --> " in line]
    assert {step.strip() for line in arrows for step in line} == set(labels)


def test_the_table_of_additions_has_its_rows():
    what = [re.sub(r" <!--.*?-->", "", row[0]) for row in ADDED]
    assert what == [
        "an attack",
        "a command",
        "a plot of the report",
        "a limit of the policy",
        "a mechanism",
        "a decoder",
        "a format of local corpora",
    ]


@pytest.mark.parametrize("row", ADDED, ids=lambda row: row[0].partition(" <")[0])
def test_files_that_are_to_be_touched_are_there(row):
    """Paths in backticks are of this repository; each row names code, and tests that exist."""
    _, code, pages, tests = row
    named = [
        re.findall(r"`([\w/.-]+/[\w/.-]*|README\.md)`", cell) for cell in (code, pages, tests.replace("::", "` `"))
    ]
    assert named[0]
    assert named[2]
    missing = [path for paths in named for path in paths if not (ROOT / path).exists()]
    assert not missing
    assert all(path.startswith(TOPS) for path in named[0])
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests):
        tree = ast.parse((ROOT / path).read_text(encoding="utf8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, name
