"""Workers fill a run's folder: each part once, whoever dies, and nothing of theirs is left behind."""

import json
import os
import time

import pytest
from toy_work import ToyBench

from del_audit.runs import Run
from del_audit.workers import filling as filling_module
from del_audit.workers.filling import FOLDER, Workers, filling, keep
from del_audit.workers.hands import TRIES
from del_audit.workers.work import Part, Work
from mechanisms.errors import UserError
from mechanisms.private_folders import private_folders


@pytest.fixture
def about(tmp_path):
    folder = tmp_path / "about"
    folder.mkdir()
    return folder


def parts(*asked):
    return [Part(f"part {name}", (name, fails, kind)) for name, fails, kind in asked]


def filled(run, about, asked, count=2):
    with filling(Workers(count), Work("toy_work:ToyBench", str(about)), run) as others:
        others.fill(asked, "part")


def test_every_part_is_made_once_and_kept_as_the_command_keeps_it(tmp_path, about):
    run = Run(tmp_path / "out", {})
    filled(run, about, parts(*[(f"p{number}", 0, "") for number in range(6)]))
    for number in range(6):
        assert run.part(f"p{number}", lambda: pytest.fail("made again")) == {"name": f"p{number}"}
        assert (run.folder / "trained" / f"p{number}" / "weights").read_bytes() == b"\x00\xff"
        assert (about / f"tried-p{number}").read_text() == "x"
    made = (about / "made").read_text().split()
    assert len(made) == len(set(made)) <= 2
    assert str(os.getpid()) not in made
    assert not (run.folder / FOLDER).exists()
    assert [each.path for each in private_folders() if tmp_path in each.path.parents] == [run.folder]
    for path in run.folder.glob("parts/*"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_no_part_is_begun_once_it_is_to_stop(tmp_path, about):
    run, asked = Run(tmp_path / "out", {}), parts(*[(f"p{number}", 0, "") for number in range(5)])
    with filling(Workers(2), Work("toy_work:ToyBench", str(about)), run) as others:
        others.fill(asked, "part", lambda: bool(list(about.glob("tried-*"))))
    made = sorted(path.stem for path in (run.folder / "parts").iterdir())
    assert made == ["p0", "p1"]  # those under way are waited for


@pytest.mark.parametrize("kind", ["killed", "broken"])
def test_a_part_that_fails_is_made_elsewhere_and_the_others_are_not_touched(tmp_path, about, kind):
    run = Run(tmp_path / "out", {})
    filled(run, about, parts(("a", 1, kind), ("b", 0, ""), ("c", 0, "")))
    assert {path.stem for path in (run.folder / "parts").iterdir()} == {"a", "b", "c"}
    assert (about / "tried-a").read_text() == "xx"
    assert (about / "tried-b").read_text() == (about / "tried-c").read_text() == "x"


@pytest.mark.parametrize(("kind", "error"), [("killed", "BrokenProcessPool"), ("broken", "part a broke")])
def test_a_part_that_always_fails_is_named_and_the_finished_ones_are_kept(tmp_path, about, kind, error):
    run = Run(tmp_path / "out", {})
    with pytest.raises(UserError, match=f"part a, got {TRIES} failures.*{error}"):
        filled(run, about, parts(("a", 99, kind), ("b", 0, "")))
    assert (about / "tried-a").read_text() == "x" * TRIES
    assert (run.folder / "parts" / "b.json").exists()
    assert not (run.folder / "parts" / "a.json").exists()
    assert not (run.folder / FOLDER).exists()


def test_what_a_user_can_mend_is_not_tried_again(tmp_path, about):
    with pytest.raises(UserError, match="part a cannot be made"):
        filled(Run(tmp_path / "out", {}), about, parts(("a", 99, "user")))
    assert (about / "tried-a").read_text() == "x"


def test_an_interrupted_command_ends_its_workers(tmp_path, about, monkeypatch):
    run, start = Run(tmp_path / "out", {}), time.monotonic()
    monkeypatch.setattr(filling_module, "keep", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        filled(run, about, parts(("a", 0, ""), ("b", 99, "slow")))
    assert time.monotonic() - start < 60
    made = [int(line) for line in (about / "made").read_text().split()]
    for process in made:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_one_worker_is_the_command_itself(tmp_path, about):
    run = Run(tmp_path / "out", {})
    filled(run, about, parts(("a", 0, "")), count=None)
    assert not (about / "made").exists()
    assert list((run.folder / "parts").iterdir()) == []


def test_files_stay_inside_the_folder_and_what_is_there_stays(tmp_path):
    run = Run(tmp_path / "out", {})
    for name in ("../escaped", "/escaped", "parts/../../escaped"):
        with pytest.raises(UserError, match="inside the run's folder"):
            keep(run, {"parts/fine.json": b"{}", name: b""})
    assert list((run.folder / "parts").iterdir()) == []
    run.part("there", lambda: {"first": True})
    keep(run, {"parts/there.json": b"{}", "trained/x/deep/file": b"1", "trained/x/card": b"2"})
    assert json.loads((run.folder / "parts" / "there.json").read_text()) == {"first": True}
    assert (run.folder / "trained" / "x" / "deep" / "file").read_bytes() == b"1"
    keep(run, {"trained/x/card": b"3"})
    assert (run.folder / "trained" / "x" / "card").read_bytes() == b"2"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"count": 0}, "--workers in 1..512, got --workers 0"),
        ({"count": 513}, "--workers in 1..512"),
        ({"gpus": -1.0, "ray": "auto"}, "--gpus-per-worker in"),
        ({"gpus": 1.0}, "--gpus-per-worker with --ray"),
    ],
)
def test_values_out_of_range(asked, said):
    with pytest.raises(UserError, match=said):
        Workers(**asked)


def test_the_toy_keeps_the_contract(tmp_path, about):
    bench = ToyBench(tmp_path, str(about))
    bench.make(("a", 0, ""))
    assert (bench.run.folder / "parts" / "a.json").exists()
