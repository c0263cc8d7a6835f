"""docs/gate.md names a test for each thing that the gate refuses; the test is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "gate.md").read_text(encoding="utf8"))


def test_the_page_names_tests():
    assert len(NAMED) >= 35
    assert len({name for _, name in NAMED}) >= 33


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_every_test_that_the_page_names_is_there(path, name):
    tree = ast.parse((ROOT / path).read_text(encoding="utf8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
