"""Two runs into one folder: the second is refused at once, and nothing of the lock is left."""

import os
import signal
import subprocess
import sys

import pytest

from del_audit.process.exit_codes import DONE, USER_ERROR
from mechanisms.errors import UserError
from mechanisms.folder_lock import held, held_run

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom mechanisms.folder_lock import {0}\n"
    "with {0}(*map(Path, sys.argv[1:])):\n    print('in', flush=True)\n    time.sleep(60)\n"
)


@pytest.fixture
def holder(home):
    """Returns a caller that starts another process which holds a folder."""
    started = []

    def call(kind, *paths):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD.format(kind), *map(str, paths)], env=home, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout.readline() == b"in\n"
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "arguments",
    [
        ("attack", "inversion"),
        ("attack", "attribute"),
        ("attack", "repeated"),
        ("attack", "distinguish"),
        ("tune",),
        ("frontier",),
        ("train", "prompt"),
        ("train", "projection"),
        ("train", "codes"),
    ],
)
def test_a_second_run_is_refused_before_anything_is_imported(ended, holder, tmp_path, arguments):
    holder("held_run", tmp_path / "out")
    light = "import sys\nsys.modules['torch'] = sys.modules['transformers'] = None\n"
    found = ended(*arguments, "no-such.yaml", "--out", tmp_path / "out", plant=light).cleanly(USER_ERROR)
    assert found.err.count("\n") == 1
    assert f"Expected no other process to write to {tmp_path / 'out'}, got one at it." in found.err


def test_a_second_reproduction_is_refused(ended, holder, tmp_path):
    holder("held_run", tmp_path / "out")
    options = ("--corpus", "x", "--model", "x", "--out", tmp_path / "out")
    assert "no other process" in ended("reproduce", "1", *options).cleanly(USER_ERROR).err


def test_a_second_certification_is_refused(ended, holder, tmp_path):
    other = holder("held", tmp_path / "out", tmp_path / "out")
    arguments = ("certify", "no-such.yaml", "--out", tmp_path / "out")
    light = "import sys\nsys.modules['torch'] = None\n"
    assert "no other process" in ended(*arguments, plant=light).cleanly(USER_ERROR).err
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert "no other process" not in ended(*arguments, plant=light).err
    assert (tmp_path / "out").is_dir()  # the killed run made it


@pytest.mark.slow
def test_of_two_attacks_at_once_one_is_done(start, wait_for, tiny_config, tmp_path):
    arguments = ("attack", "inversion", tiny_config, "--out", tmp_path / "out", "--attacks", "map", "--no-self-tests")
    both = [start(*arguments) for _ in range(2)]
    codes = sorted(wait_for(process).cleanly(DONE, USER_ERROR).code for process in both)
    assert codes == [DONE, USER_ERROR]
    kept = {path.name for path in (tmp_path / "out").iterdir()}
    assert kept == {"result.json", "outcomes", ".del-audit-private"}


def test_the_lock_of_a_killed_process_blocks_nobody(holder, tmp_path):
    other = holder("held_run", tmp_path / "out")
    with pytest.raises(UserError, match="no other process"), held_run(tmp_path / "out"):
        pass
    other.kill()
    other.wait()
    with held_run(tmp_path / "out"):
        assert [*(tmp_path / "out.partial").iterdir()] == []


def test_nothing_is_left_of_a_run_that_made_nothing(tmp_path):
    with held_run(tmp_path / "a" / "b" / "out"):
        assert (tmp_path / "a" / "b" / "out.partial").is_dir()
    assert not [*tmp_path.iterdir()]


def test_the_lock_follows_a_folder_that_gets_its_name(tmp_path):
    with held_run(tmp_path / "out"):
        (tmp_path / "out.partial" / "result").write_text("x")
        os.rename(tmp_path / "out.partial", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["result"]
    assert not (tmp_path / "out.partial").exists()
    with pytest.raises(UserError, match="does not exist yet"), held_run(tmp_path / "out"):
        pass


def test_what_a_run_holds_is_lent_once(tmp_path):
    partial = tmp_path / "out.partial"
    with (
        held_run(tmp_path / "out"),
        held(partial, tmp_path / "out"),
        pytest.raises(UserError, match="no other process"),
        held(partial, tmp_path / "out"),
    ):
        pass


@pytest.mark.parametrize("place", ["/proc/del-audit/out", "file/out"])
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can be made"), held_run(tmp_path / place):
        pass


def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch, capsys):
    def none(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with held_run(tmp_path / "out"):
        pass
    assert "has no locks (No locks available)" in capsys.readouterr().err
