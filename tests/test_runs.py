"""Parts that are finished stay finished; nobody else's partial folder is gone on with."""

import json
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest

from attacks.inversion import MaximumAPosteriori
from attacks.outcome import Outcome
from attacks.ranking import Guesses
from del_audit.runs import Run
from mechanisms.errors import UserError
from mechanisms.private_folders import MARKER, private_folder, private_folders


def outcome(words):
    guesses = Guesses(np.array([[word, word + 1] for word in words], np.int32), np.zeros((len(words), 2), np.float32))
    return Outcome.of(MaximumAPosteriori(), [guesses], [list(words)])


def never():
    raise AssertionError("computed again")


def test_a_part_is_computed_once(tmp_path):
    first = Run(tmp_path / "out", {"seed": 0})
    assert first.part("a", lambda: {"x": [1, 2]}) == {"x": [1, 2]}
    assert len(first.outcome("b", lambda: outcome((3, 4, 5)))) == 3
    again = Run(tmp_path / "out", {"seed": 0})
    assert again.part("a", never) == {"x": [1, 2]}
    assert again.outcome("b", never).truth.tolist() == [3, 4, 5]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 1, "spec hash": "aa"}, "another seed\\."),
        ({"seed": 1, "spec hash": "bb"}, "seed and spec hash"),
        ({}, "s"),
    ],
)
def test_parts_of_other_settings_are_refused(tmp_path, changed, named):
    Run(tmp_path / "out", {"seed": 0, "spec hash": "aa"}).part("a", lambda: {"x": 1})
    with pytest.raises(UserError, match=named) as refused:
        Run(tmp_path / "out", changed)
    assert "Delete" in str(refused.value)
    assert "another --out" in str(refused.value)
    assert Run(tmp_path / "out", {"seed": 0, "spec hash": "aa"}).part("a", never) == {"x": 1}


def test_folders_that_no_run_left_are_refused(tmp_path):
    (tmp_path / "mine.partial").mkdir()
    (tmp_path / "mine.partial" / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match=r"settings\.json"):
        Run(tmp_path / "mine", {})
    (tmp_path / "done").mkdir()
    with pytest.raises(UserError, match="does not exist yet"):
        Run(tmp_path / "done", {})
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="can be made"):
        Run(tmp_path / "file" / "out", {})


def test_damaged_parts_are_named(tmp_path):
    run = Run(tmp_path / "out", {})
    for name in ("a.json", "b.parquet"):
        (tmp_path / "out.partial" / "parts" / name).write_text("{")
    with pytest.raises(UserError, match=r"a\.json"):
        run.part("a", never)
    with pytest.raises(UserError, match=r"b\.parquet"):
        run.outcome("b", never)


def test_what_fails_leaves_no_part(tmp_path):
    run = Run(tmp_path / "out", {})
    with pytest.raises(AssertionError):
        run.part("a", never)
    assert run.part("a", lambda: {"x": 1}) == {"x": 1}


def test_a_cell_of_these_settings_is_computed_once(tmp_path):
    run, calls = Run(tmp_path / "run", {}), []

    def compute():
        calls.append(1)
        return {"value": 0.1, "pair": (1, 2)}

    first = run.cell({"row": "a", "target": (1, 2)}, compute)
    again = Run(tmp_path / "run", {}).cell({"row": "a", "target": (1, 2)}, compute)
    assert again == first == {"value": 0.1, "pair": [1, 2]}
    assert len(calls) == 1
    run.cell({"row": "b", "target": (1, 2)}, compute)
    assert len(calls) == 2
    assert len(list((run.folder / "parts").iterdir())) == 2


def test_a_cell_that_fails_leaves_nothing(tmp_path):
    run = Run(tmp_path / "run", {})
    with pytest.raises(ZeroDivisionError):
        run.cell({"row": "a"}, lambda: {"value": 1 / 0})
    with pytest.raises(ValueError, match="JSON"):
        run.cell({"row": "a"}, lambda: {"value": float("nan")})
    assert not list((run.folder / "parts").iterdir())


@pytest.mark.parametrize(
    "content", ["", "{}", "no json", '{"settings": {"row": "b"}, "result": {}}', '{"settings": {"row": "a"}}']
)
def test_a_damaged_cell_is_named(tmp_path, content):
    run = Run(tmp_path / "run", {})
    run.cell({"row": "a"}, dict)
    path = next((run.folder / "parts").iterdir())
    path.write_text(content)
    with pytest.raises(UserError, match=f"{path.name}.*Delete it"):
        run.cell({"row": "a"}, dict)


def test_the_result_appears_whole(tmp_path):
    run = Run(tmp_path / "out", {"seed": 0})
    run.part("a", lambda: {"x": 1})
    run.keep("map", outcome((1, 2)))
    (tmp_path / "out.partial" / "outcomes" / ".map.parquet-0123456789ab").write_text("half")
    assert run.finish({"figure": 0.5}) == tmp_path / "out" / "result.json"
    kept = sorted(path.name for path in (tmp_path / "out").rglob("*"))
    assert kept == [MARKER, "map.parquet", "outcomes", "result.json"]
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == {"figure": 0.5}
    assert not (tmp_path / "out.partial").exists()


def test_what_was_read_of_private_text_is_the_owners_alone_and_on_the_list(tmp_path):
    run = Run(tmp_path / "out", {"seed": 0})
    assert run.folder.stat().st_mode & 0o777 == 0o700
    run.keep("map", outcome((1, 2)))
    assert run.folder in [found.path for found in private_folders()]
    Run(tmp_path / "out", {"seed": 0}).finish({})
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "out" / "outcomes" / "map.parquet").stat().st_mode & 0o777 == 0o600
    assert [found.path.name for found in private_folders() if found.path.parent == tmp_path] == ["out"]


def test_a_run_killed_before_it_wrote_its_settings_begins_again(tmp_path):
    private_folder(tmp_path / "out.partial")
    assert Run(tmp_path / "out", {"seed": 0}).part("a", lambda: {"x": 1}) == {"x": 1}


def test_a_run_killed_before_it_made_its_folders_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "mkdir", partialmethod(killed_after, Path.mkdir))
    with pytest.raises(KeyboardInterrupt):
        Run(tmp_path / "out", {"seed": 0})
    monkeypatch.undo()
    assert Run(tmp_path / "out", {"seed": 0}).part("a", lambda: {"x": 1}) == {"x": 1}


def killed_after(self, mkdir, *arguments, **options):
    if self.name == "outcomes":
        raise KeyboardInterrupt
    mkdir(self, *arguments, **options)
