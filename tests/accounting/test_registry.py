"""The accountant's half of a mechanism's row, and the page that lists rivals."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from del_audit.accounting.registry import ACCOUNTANTS, calibrated_mechanisms
from del_audit.reproduce.contenders import CONTENDERS
from del_audit.reproduce.protocol import CLEAN, TABLES
from mechanisms.registry import MECHANISMS, imported

ROOT = Path(__file__).parents[2]


def test_both_halves_have_the_same_keys_in_the_same_order():
    assert list(ACCOUNTANTS) == list(MECHANISMS)
    assert all(key == row.key for key, row in ACCOUNTANTS.items())
    assert list(calibrated_mechanisms()) == [key for key in MECHANISMS if key != "del"]


@pytest.mark.parametrize("row", ACCOUNTANTS.values(), ids=lambda row: row.key)
def test_every_figure_and_calibration_is_made_one_way(row):
    assert list(inspect.signature(imported(row.figures)).parameters) == ["spec", "whole", "delta", "tokens"]
    if row.calibrated is not None:
        assert list(inspect.signature(imported(row.calibrated)).parameters)[:2] == ["epsilon", "delta"]


def test_the_tables_of_the_paper_are_of_mechanisms_that_the_registry_has():
    assert set(CONTENDERS) <= set(MECHANISMS)
    kinds = {row.kind for table in TABLES.values() for row in (*table.rows, *table.new_at_epsilon)}
    assert kinds == {*CONTENDERS, CLEAN}


def test_the_page_of_rivals_lists_the_rows():
    """Names, what is sent and the theorem; a line may be of a variant, whose name begins with the row's."""
    page = (ROOT / "docs" / "rivals.md").read_text(encoding="utf8")
    table = page.partition("| mechanism | sends | token epsilon | how sure | theorem |\n")[2].partition("\n\n")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]]
    rivals = [row for key, row in MECHANISMS.items() if key != "del"]
    said = {}
    for name, sends, *_, theorem in lines:
        row = next(row for row in reversed(rivals) if name.startswith(row.name))
        said.setdefault(row.name, (sends, int(theorem)))
    assert said == {row.name: (row.sends, ACCOUNTANTS[row.key].theorem) for row in rivals}
    assert list(said) == [row.name for row in rivals]
    parts = re.findall(r'calibrate_rival\("([a-z ]+)"', page)
    assert parts
    assert set(parts) <= set(calibrated_mechanisms())


def test_names_cost_no_import():
    code = (
        "import sys, del_audit.accounting.registry\n"
        "heavy = {'torch', 'mechanisms.rivals', 'del_audit.accounting.rivals'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
