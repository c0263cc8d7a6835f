"""Notebooks run from top to bottom and say today what their stored outputs say."""

import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="the extra `notebooks` is not installed: nbformat is missing")

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
QUICK = ["01-exact-guarantees.ipynb", "05-audit-a-broken-client.ipynb"]
"""Those that need no model: they run in seconds."""
PACKAGED = {
    "02-pipeline.ipynb": ("package:smollm2-135m-instruct", "package:drug-reviews"),
    "03-inversion.ipynb": ("package:smollm2-135m-instruct", "package:drug-reviews"),
    "04-certify.ipynb": (
        "package:smollm2-135m-instruct",
        "package:state-of-the-union",
        "package:minilm-l6-v2",
    ),
}
"""Those that read packaged assets, and which."""
ROUNDED = "model"
"""Tag of a cell whose text hangs on a model's float32 arithmetic: another processor may choose another word."""


def _printed(notebook):
    """What each code cell printed or returned as text."""
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    return [
        "".join(output.get("text", output.get("data", {}).get("text/plain", "")) for output in cell.outputs)
        for cell in cells
    ]


def _run(name, tmp_path, monkeypatch, timeout):
    """Returns a notebook as it is stored, and as a fresh kernel makes it from its sources alone."""
    nbclient = pytest.importorskip("nbclient", reason="the extra `notebooks` is not installed: nbclient is missing")
    pytest.importorskip("ipykernel", reason="the extra `notebooks` is not installed: ipykernel is missing")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    stored = nbformat.read(FOLDER / name, 4)
    fresh = nbformat.from_dict(stored)
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    nbclient.NotebookClient(fresh, timeout=timeout, resources={"metadata": {"path": str(FOLDER)}}).execute()
    return stored, fresh


@pytest.mark.parametrize("name", QUICK)
def test_it_runs_and_prints_what_is_stored(name, tmp_path, monkeypatch):
    stored, fresh = _run(name, tmp_path, monkeypatch, timeout=60)
    assert _printed(fresh) == _printed(stored)
    assert any(_printed(fresh))


@pytest.mark.slow
@pytest.mark.assets
@pytest.mark.parametrize("name", PACKAGED)
def test_it_runs_on_packaged_assets_and_prints_what_is_stored(name, tmp_path, monkeypatch, packaged):
    """Every cell to the letter, but for the cells that are tagged: those print as many lines."""
    for asset in PACKAGED[name]:
        packaged(asset)
    stored, fresh = _run(name, tmp_path, monkeypatch, timeout=600)
    tags = [cell.metadata.get("tags", []) for cell in stored.cells if cell.cell_type == "code"]
    exact = []
    for tag, before, now in zip(tags, _printed(stored), _printed(fresh), strict=True):
        if ROUNDED in tag:
            assert len(now.splitlines()) == len(before.splitlines())
        else:
            assert now == before
            exact.append(now)
    assert sum(map(bool, exact)) >= 6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_is_stored_as_a_whole_clean_run(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert path.stat().st_size < 500_000
    text = re.sub(r'"image/png": "[^"]*"', "", path.read_text(encoding="utf8"))
    assert not re.search(r"/(home|root|tmp|work|Users)/", text)


def test_there_are_notebooks():
    assert {path.name for path in NOTEBOOKS} == {*QUICK, *PACKAGED}
