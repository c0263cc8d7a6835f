"""A path that cannot be used is one line and code 2 in every command, before anything is read or made."""

import pytest

from del_audit.cli import main
from del_audit.configuration.configuration import load_configuration
from mechanisms.assets import cache_folder
from mechanisms.errors import UserError
from mechanisms.keyring import new_key
from mechanisms.model_sources import model_asset
from mechanisms.soft_prompt import load_soft_prompt
from mechanisms.user_path import new_path, user_path

UNUSABLE = {"too long": "a" * 300, "too long below": "b" * 300 + "/c", "null": "a\0b", "empty": ""}
NAMELESS = {"here": ".", "above": "..", "below above": "x/..", "root": "/", "no room": "a" * 250}
READING = [
    ["certify", "{}"],
    ["certify", "none.yaml", "--out", "{}"],
    ["certify", "none.yaml", "--key", "{}"],
    ["verify", "{}"],
    ["verify", "none.json", "--against", "{}"],
    ["verify", "none.json", "--require", "{}"],
    ["verify", "none.json", "--trust", "{}"],
    ["export", "{}"],
    ["key", "show", "{}"],
    ["key", "revoke", "{}"],
    ["attack", "inversion", "{}", "--out", "out"],
    ["train", "codes", "{}", "--out", "out"],
    ["tune", "{}", "--out", "out"],
    ["frontier", "{}", "--out", "out"],
    ["tune", "none.yaml", "--out", "out", "--space", "{}"],
    ["bundle", "{}", "--out", "out"],
    ["bundle", "none.yaml", "--out", "out", "--certificate", "{}"],
    ["send", "{}", "--text", "a", "--out", "out"],
    ["send", "none", "--text", "a", "--out", "out", "--certificate", "{}"],
    ["verify-mechanism", "--bundle", "{}"],
    ["verify-mechanism", "--bundle", "none", "--config", "{}"],
    ["verify-mechanism", "--python", "{}.py:release"],
    ["account", "--session", "{}"],
    ["account", "--bits", "4", "--dim", "3", "--clip", "1", "--mu", "6", "--codes", "{}"],
]
WRITING = [
    ["attack", "inversion", "none.yaml", "--out", "{}"],
    ["train", "codes", "none.yaml", "--out", "{}"],
    ["train", "projection", "none.yaml", "--out", "{}"],
    ["train", "prompt", "none.yaml", "--out", "{}"],
    ["tune", "none.yaml", "--out", "{}"],
    ["frontier", "none.yaml", "--out", "{}"],
    ["bundle", "none.yaml", "--out", "{}"],
    ["send", "none", "--text", "a", "--out", "{}"],
    ["verify-mechanism", "--bundle", "none", "--out", "{}"],
    ["export", "none.json", "--model-card", "{}"],
    ["export", "none.json", "--junit", "{}"],
    ["reproduce", "table", "3", "--out", "{}"],
    ["key", "new", "--out", "{}"],
]


def _named(commands, names):
    for command in commands:
        for name, given in names.items():
            label = " ".join(part for part in command if part != "{}")
            yield pytest.param([part.replace("{}", given) for part in command], id=f"{label}: {name}")


@pytest.mark.parametrize("command", [*_named(READING, UNUSABLE), *_named(WRITING, UNUSABLE | NAMELESS)])
def test_an_odd_path_is_one_line_and_code_2(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("del-audit: error: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["~nobody-of-this-name/x", "a" * 300, "a\0b"])
def test_the_name_of_a_model_may_be_no_path_at_all(name):
    with pytest.raises(UserError, match="Expected a model's name to be a path that can be used"):
        model_asset(name)


def test_the_other_paths_of_a_configuration_and_the_cache_are_refused_alike(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="Expected soft_prompt to be a path that can be used"):
        load_soft_prompt("a" * 300, 8)
    with pytest.raises(UserError, match="Expected a readable UTF-8 configuration file"):
        load_configuration(tmp_path / ("a" * 300))
    monkeypatch.setenv("DEL_AUDIT_CACHE", "~nobody-of-this-name/x")
    with pytest.raises(UserError, match="Expected DEL_AUDIT_CACHE to be a path"):
        cache_folder()
    monkeypatch.setenv("DEL_AUDIT_CACHE", "~/x")
    assert cache_folder().name == "x"


def test_links_in_a_circle_and_a_locked_folder_are_refused(tmp_path, monkeypatch):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(UserError, match="Too many levels"):
        user_path(str(tmp_path / "a"), "--out")

    def locked(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.stat", locked)
    with pytest.raises(UserError, match="Permission denied"):
        user_path("x", "--out")


def test_paths_that_can_be_used_are_returned(tmp_path):
    for given in (str(tmp_path), str(tmp_path / "none"), ".", "..", "/"):
        assert str(user_path(given, "--out")) == given
    assert new_path(str(tmp_path / "ä b"), "--out") == tmp_path / "ä b"


def test_a_key_is_not_written_to_a_path_without_a_name(tmp_path):
    for path in (tmp_path / "..", type(tmp_path)("/"), tmp_path / ("a" * 252)):
        with pytest.raises(UserError, match="Expected a key file to"):
            new_key(path)
