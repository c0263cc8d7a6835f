"""Folders of private text: who may enter, what is listed, and that nothing else is ever removed."""

import os

import pytest

from mechanisms.errors import UserError
from mechanisms.private_folders import (
    MARKER,
    private_folder,
    private_folders,
    remove_private,
    rename_private,
)


@pytest.fixture(autouse=True)
def _own_list(tmp_path, monkeypatch):
    monkeypatch.setenv("DEL_AUDIT_STATE", str(tmp_path / "state"))


def mode(path):
    return path.stat().st_mode & 0o777


def test_a_folder_is_its_owners_alone_and_on_the_list(tmp_path):
    old = os.umask(0)
    try:
        folder = private_folder(tmp_path / "a" / "out")
    finally:
        os.umask(old)
    assert (mode(folder), mode(folder / MARKER)) == (0o700, 0o600)
    (folder / "text").write_text("12345")
    (found,) = private_folders()
    assert (found.path, found.there, found.refusal) == (folder, True, "")
    assert found.size == 5 + (folder / MARKER).stat().st_size
    folder.chmod(0o755)
    assert private_folder(folder) == folder
    assert mode(folder) == 0o700
    assert len(private_folders()) == 1


def test_a_folder_of_something_else_is_neither_taken_over_nor_tightened(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o755)
    (mine / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="it holds something else"):
        private_folder(mine)
    assert mode(mine) == 0o755
    assert private_folders() == []
    private_folder(mine, adopt=True)
    assert mode(mine) == 0o700
    (tmp_path / "link").symlink_to(mine)
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(UserError, match="a link or a file"):
            private_folder(tmp_path / name)
    with pytest.raises(UserError, match="that can be made"):
        private_folder(tmp_path / "file" / "out")


def test_a_renamed_folder_keeps_its_entry(tmp_path):
    folder = private_folder(tmp_path / "out.partial")
    rename_private(folder, tmp_path / "out")
    (found,) = private_folders()
    assert (found.path, found.there, found.refusal) == (tmp_path / "out", True, "")
    private_folder(tmp_path / "next.partial")
    with pytest.raises(OSError, match="not empty"):
        rename_private(tmp_path / "next.partial", tmp_path / "out")
    assert sorted(found.path.name for found in private_folders()) == ["next.partial"]


def test_what_is_removed_is_the_folder_and_nothing_that_it_points_at(tmp_path):
    folder = private_folder(tmp_path / "out")
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "kept").write_text("x")
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / "deep" / "text").write_text("x")
    (folder / "link").symlink_to(tmp_path / "else")
    (folder / "deep" / "link").symlink_to(tmp_path / "else")
    remove_private(folder)
    assert not folder.exists()
    assert (tmp_path / "else" / "kept").read_text() == "x"
    assert private_folders() == []


def change_marker(folder, tmp_path):
    (folder / MARKER).unlink()


def foreign_marker(folder, tmp_path):
    other = private_folder(tmp_path / "other")
    (folder / MARKER).write_bytes((other / MARKER).read_bytes())


def linked_marker(folder, tmp_path):
    (folder / MARKER).rename(tmp_path / "marker")
    (folder / MARKER).symlink_to(tmp_path / "marker")


def linked_folder(folder, tmp_path):
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")


def linked_parent(folder, tmp_path):
    folder.parent.rename(tmp_path / "elsewhere")
    (tmp_path / "up").symlink_to(tmp_path / "elsewhere")


def file_instead(folder, tmp_path):
    folder.rename(tmp_path / "elsewhere")
    folder.write_text("x")


@pytest.mark.parametrize(
    "change", [change_marker, foreign_marker, linked_marker, linked_folder, linked_parent, file_instead]
)
def test_what_is_not_as_it_was_made_stays(tmp_path, change):
    folder = private_folder(tmp_path / "up" / "out")
    (folder / "text").write_text("x")
    change(folder, tmp_path)
    found = next(each for each in private_folders() if each.path == folder)
    assert found.refusal
    with pytest.raises(UserError, match="as it was made"):
        remove_private(folder)
    assert list(tmp_path.rglob("text"))
    assert folder in [each.path for each in private_folders()]


def test_what_is_not_on_the_list_stays(tmp_path):
    folder = private_folder(tmp_path / "out")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / MARKER).write_bytes((folder / MARKER).read_bytes())
    for path in (tmp_path / "copy", tmp_path, folder / "deep", tmp_path / "none"):
        with pytest.raises(UserError, match="that `del-audit private` lists"):
            remove_private(path)
    assert (tmp_path / "copy" / MARKER).exists()


def test_a_folder_that_is_gone_is_taken_off_the_list(tmp_path):
    folder = private_folder(tmp_path / "out")
    (folder / MARKER).unlink()
    folder.rmdir()
    (found,) = private_folders()
    assert (found.there, found.size) == (False, 0)
    remove_private(folder)
    assert private_folders() == []


def test_an_interrupted_removal_is_taken_up_again(tmp_path, monkeypatch):
    folder = private_folder(tmp_path / "out")
    for name in "abc":
        (folder / name).mkdir()

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove_private(folder)
    remove_private(folder)
    assert not folder.exists()
