"""`init`: what it takes each column for, the file that it writes, and what it refuses before it writes anything."""

import csv
import io
import re
import sys

import pytest
import yaml

from del_audit.certificate.split_section import split_keys, split_sections, split_text
from del_audit.cli import main
from del_audit.configuration.configuration import load_configuration
from del_audit.init.columns import facts_of
from del_audit.init.roles import proposed
from del_audit.init.sizes import LENGTHS, sizes_of
from del_audit.service.splits import read_splits
from mechanisms.errors import UserError

LONG = "a long review of some medicine that helped for a week or so and then did not help at all any more, sadly so "


def write(path, rows, names):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return path


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [(LONG * 5 + str(row), f"u{row % 90}", "FM"[row % 2], row % 5, "x") for row in range(300)]
    return write(tmp_path / "my reviews.csv", rows, ("review", "user_id", "gender", "stars", "constant"))


def told(capsys):
    return " ".join(capsys.readouterr().out.split())


def test_it_writes_a_configuration_that_says_what_each_column_is_for(table, capsys):
    assert main(["init", str(table)]) == 0
    said = told(capsys)
    assert "review 300 of 300 300 --text: the documents" in said
    assert "constant 300 of 300 1 not used" in said
    assert "del-audit certify my-reviews.yaml --quick" in said
    written = load_configuration(table.parent / "my-reviews.yaml")
    data = written.data
    assert (data.text_column, data.group_column, data.public_share) == ("review", "user_id", 0.5)
    assert (written.attribute.column, written.attribute.classes, written.task.column) == ("gender", 2, "stars")
    assert written.mechanism.kind == "coarse-words"
    assert written.soft_prompt == "shipped:smollm2-reviews"
    assert written.policy.prompt_tokens == 64
    people = len(set(read_splits(data).private_groups))
    assert written.evaluation.prompts == written.evaluation.context_prompts == people
    assert f"The private part has {people} people" in said


def test_nobody_is_in_both_splits_that_are_drawn_and_the_same_file_is_split_alike(table):
    main(["init", str(table)])
    data = load_configuration(table.parent / "my-reviews.yaml").data
    first, again = read_splits(data), read_splits(data)
    assert first.private.texts == again.private.texts
    assert not set(first.public_groups) & set(first.private_groups)
    assert first.removed == 0
    assert 25 < len(set(first.public_groups)) < 65
    assert len(first.public) + len(first.private) == 300


def test_columns_are_taken_as_asked_and_none_is_none(table):
    asked = ["--task", "none", "--person", "none", "--attribute", "stars", "--mechanism", "del", "--out", "own.yaml"]
    assert main(["init", str(table), *asked, "--public-share", "0.3"]) == 0
    written = load_configuration(table.parent / "own.yaml")
    assert written.task is None
    assert written.data.group_column is None
    assert written.attribute.column == "stars"
    assert written.mechanism.kind == "del"
    assert written.data.public_share == 0.3


def test_a_column_that_says_the_split_is_taken_with_its_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [(f"{LONG}{row}", "Training" if row < 60 else "dev") for row in range(100)]
    path = write(tmp_path / "t.csv", rows, ("text", "data_split"))
    assert main(["init", str(path)]) == 0
    data = load_configuration(tmp_path / "t.yaml").data
    assert (data.split_column, data.public_split, data.private_split) == ("data_split", "Training", "dev")
    parts = read_splits(data)
    assert (len(parts.public), len(parts.private)) == (60, 40)
    assert main(["init", str(path), "--split", "none", "--force"]) == 0
    data = load_configuration(tmp_path / "t.yaml").data
    assert (data.split_column, data.public_share) == (None, 0.5)


def test_another_model_has_no_soft_prompt_and_the_file_says_how_to_train_one(table, tiny_lm_folder):
    assert main(["init", str(table), "--model", str(tiny_lm_folder)]) == 0
    path = table.parent / "my-reviews.yaml"
    written = load_configuration(path)
    assert (written.model, written.soft_prompt, written.dtype) == (str(tiny_lm_folder), None, "float32")
    assert "del-audit train prompt" in path.read_text()


def test_on_a_terminal_it_asks_and_enter_takes_what_it_proposes(table, monkeypatch, capsys):
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    answers = io.StringIO("\n\n\nnone\n\n")
    answers.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", answers)
    assert main(["init", str(table)]) == 0
    written = load_configuration(table.parent / "my-reviews.yaml")
    assert written.data.group_column == "user_id"
    assert written.attribute is None
    assert written.task.column == "stars"
    assert "Column for --attribute, what must not leak" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--text", "body"], "Expected --text among 'constant', 'gender', 'review', 'stars', 'user_id', got 'body'"),
        (["--task", "user_id"], "--task 'user_id' to have a few values that each stand in several rows, got 90"),
        (["--attribute", "constant"], "--attribute 'constant' to have a few values"),
        (["--split", "gender"], "--split 'gender' to hold one of train, training, public and one of test"),
        (["--attribute", "stars", "--task", "stars"], "another column for --task than for --attribute, got 'stars'"),
        (["--public-share", "1"], r"--public-share in \(0, 1\), got 1"),
        (["--public-share", "0.99"], "at least 8 people or rows with 60 characters in the private part"),
        (["--model", "models/none-here"], "none-here"),
        (["--mechanism", "noise"], "words"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(table, arguments, said, capsys):
    assert main(["init", str(table), *arguments]) == 2
    assert re.search(said, " ".join(capsys.readouterr().err.split()))
    assert not list(table.parent.glob("*.yaml"))


def test_a_file_that_is_there_is_kept_unless_it_is_told_to(table, capsys):
    kept = table.parent / "my-reviews.yaml"
    kept.write_text("mine")
    assert main(["init", str(table)]) == 2
    assert "give --force too" in capsys.readouterr().err
    assert kept.read_text() == "mine"
    assert main(["init", str(table), "--force"]) == 0
    assert yaml.safe_load(kept.read_text())["name"] == "my-reviews"


def test_two_columns_of_text_and_none_ask_for_a_name():
    two = {"one": [LONG + str(row) for row in range(9)], "other": [LONG + "x" * row for row in range(9)]}
    with pytest.raises(UserError, match=r"Expected --text, since .other. and .one. both look like documents"):
        proposed(facts_of(two), {})
    assert proposed(facts_of(two), {"text": "other"}).text == "other"
    with pytest.raises(UserError, match="Expected a column of documents"):
        proposed(facts_of({"word": ["a", "b"]}), {})
    with pytest.raises(UserError, match="text in every row of --text 'gaps', got 1 of 2 rows"):
        proposed(facts_of({"gaps": [LONG, None]}), {"text": "gaps"})


def test_names_that_yaml_would_take_for_something_else_are_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [(LONG + str(row), "ab"[row % 2], row % 3) for row in range(60)]
    path = write(tmp_path / "1e5: odd.csv", rows, ("on", "gender: true, {x}", "label"))
    assert main(["init", str(path), "--text", "on"]) == 0
    written = load_configuration(tmp_path / "1e5-odd.yaml")
    assert written.data.text_column == "on"
    assert written.attribute.column == "gender: true, {x}"


def test_prompts_are_as_long_as_the_people_have_text_for():
    texts = ["x" * 60] * 50 + ["x" * 1000] * 50
    names = [str(row) for row in range(100)]
    assert (sizes_of(texts, names).prompt, sizes_of(texts, names).long_enough) == (8, 100)
    sizes = sizes_of(["x" * 1000] * 100, names)
    assert (sizes.prompt, sizes.response) == LENGTHS[0]
    assert sizes_of(["x" * 1000] * 100, ["same"] * 92 + names[:8]).people == 9
    with pytest.raises(UserError, match="at least 8 people"):
        sizes_of(["x" * 1000] * 100, ["same"] * 100)


def test_a_certificate_states_where_its_splits_came_from(table):
    main(["init", str(table)])
    data = load_configuration(table.parent / "my-reviews.yaml").data
    section = split_sections(data)["split"]
    assert split_text(section) == (
        "The two splits were drawn by the hash of each row's 'user_id': a share of 0.5 of them is public."
    )
    assert split_keys(section) == {"public_share": 0.5}
    named = data.model_copy(update={"public_share": None, "split_column": "part"})
    assert split_keys(split_sections(named)["split"]) == {"split_column": "part"}
    assert split_sections(data.model_copy(update={"public_share": None})) == {}
