"""`del-audit private`: the list, and what it removes."""

import pytest

from del_audit.cli import main
from mechanisms.private_folders import MARKER, private_folder


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("DEL_AUDIT_STATE", str(tmp_path / "state"))
    made = [private_folder(tmp_path / name) for name in ("first", "second", "third")]
    (made[0] / "text").write_text("x" * 2000)
    return made


def test_the_list_says_path_size_date_and_what_is_gone(folders, capsys):
    (folders[2] / MARKER).unlink()
    folders[2].rmdir()
    assert main(["private"]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.endswith(f"2.1 KiB  {folders[0]}")
    assert first[:2] == "20"
    assert str(folders[1]) in second
    assert third.endswith(f"{folders[2]}  (not there any more)")
    assert folders[0].exists()


def test_named_folders_are_removed_after_the_list(folders, capsys, monkeypatch):
    monkeypatch.chdir(folders[0].parent)
    assert main(["private", "--remove", "first", "first/"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[3] == f"Removed: {folders[0]}"
    assert [folder.exists() for folder in folders] == [False, True, True]


def test_all_are_removed_with_yes_alone(folders, capsys):
    assert main(["private", "--remove"]) == 2
    assert "Expected --yes to remove all folders" in capsys.readouterr().err
    assert all(folder.exists() for folder in folders)
    (folders[1] / MARKER).unlink()
    assert main(["private", "--remove", "--yes"]) == 1
    said = capsys.readouterr()
    assert "does not hold the marker" in said.err
    assert "CHANGED" in said.out
    assert [folder.exists() for folder in folders] == [False, True, False]


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--yes",), "--yes with --remove only"), (("--remove", "first", "nothing"), "a folder of the list, got")],
)
def test_nothing_is_removed_where_something_does_not_fit(folders, capsys, monkeypatch, options, said):
    monkeypatch.chdir(folders[0].parent)
    assert main(["private", *options]) == 2
    assert said in capsys.readouterr().err
    assert all(folder.exists() for folder in folders)


def test_an_empty_list_says_where_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DEL_AUDIT_STATE", str(tmp_path / "state"))
    assert main(["private"]) == 0
    assert capsys.readouterr().out == f"No folder is on the list in {tmp_path / 'state'}.\n"
