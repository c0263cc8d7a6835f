"""Nobody is in both parts of a corpus, and a row that names nobody is refused."""

import pytest

from mechanisms.assets import AssetRecord
from mechanisms.corpora import Corpus
from mechanisms.errors import UserError
from mechanisms.splits import first_of_each, split_corpus


def corpus(splits, **columns):
    record = AssetRecord("made up", "file", "", "", "", "", "")
    texts = [f"text {index}" for index in range(len(splits))]
    return Corpus(texts, {"split": list(splits), **{name: list(values) for name, values in columns.items()}}, record)


def test_public_rows_of_private_authors_are_removed():
    found = split_corpus(corpus(["train"] * 5 + ["test"] * 3, who="abcabcdc"), "train", "test", "who")
    assert found.public.texts == ["text 0", "text 1", "text 3", "text 4"]
    assert found.public_groups == ["a", "b", "a", "b"]
    assert found.private.texts == ["text 5", "text 6", "text 7"]
    assert found.private_groups == ["c", "d", "c"]
    assert found.removed == 1
    assert found.notes == ["1 of 5 public rows removed: the private split has rows of the same who."]


def test_numbers_and_spaces_do_not_hide_an_author():
    found = split_corpus(corpus(["train"] * 3 + ["test"], who=["7 ", "8", "9", "7"]), "train", "test", "who")
    assert found.public_groups == ["8", "9"]
    found = split_corpus(corpus(["train"] * 3 + ["test"], who=[7, 8, 9, 7]), "train", "test", "who")
    assert found.public_groups == ["8", "9"]


def test_without_a_column_every_row_is_a_unit_under_a_number_of_its_own():
    found = split_corpus(corpus(["test", "train", "train", "test"]), "train", "test")
    assert (found.public_groups, found.private_groups) == (["1", "2"], ["0", "3"])
    assert (found.removed, found.notes) == (0, [])


def test_the_private_split_is_needed_only_to_tell_whose_it_is():
    public_only = corpus(["train"] * 3, who="abc")
    assert len(split_corpus(public_only, "train", "test").public) == 3
    for ask in (
        lambda: split_corpus(public_only, "train", "test", "who"),
        lambda: split_corpus(public_only, "train", "test").private,
    ):
        with pytest.raises(UserError, match="Expected a split of 'made up' among 'train', got 'test'"):
            ask()


@pytest.mark.parametrize("missing", [None, "", "  ", float("nan")])
def test_a_row_without_an_author_is_refused_by_its_number(missing):
    rows = corpus(["other", "train", "train", "test"], who=["x", "a", missing, "b"])
    with pytest.raises(UserError, match=r"to have a 'who', got .* in row 2 "):
        split_corpus(rows, "train", "test", "who")
    elsewhere = corpus(["other", "train", "train", "test"], who=[missing, "a", "c", "b"])
    assert split_corpus(elsewhere, "train", "test", "who").public_groups == ["a", "c"]


@pytest.mark.parametrize(("who", "left"), [("abab", 0), ("abcb", 1)])
def test_too_little_public_text_is_refused(who, left):
    rows = corpus(["train"] * 3 + ["test"] * 2, who=[*who[:3], *"ab"])
    with pytest.raises(UserError, match=f"2 public values or more of group_column='who'.* got {left}: "):
        split_corpus(rows, "train", "test", "who")


def test_what_is_not_there_is_refused():
    rows = corpus(["train", "test"], who="ab")
    with pytest.raises(UserError, match="column of 'made up' among 'split', 'who', got 'author'"):
        split_corpus(rows, "train", "test", "author")
    with pytest.raises(UserError, match="to differ, got 'train' twice"):
        split_corpus(rows, "train", "train")


def test_each_groups_first_row():
    assert first_of_each([]) == []
    assert first_of_each("baab") == [0, 1]


@pytest.mark.parametrize(("public", "private"), [("true", "True"), ("True", "TRUE"), ("TRUE", "true")])
def test_two_spellings_of_one_split_are_one_split(public, private):
    with pytest.raises(UserError, match="which name one split"):
        split_corpus(corpus(["True", "True", "False"]), public, private)
    assert len(split_corpus(corpus(["True", "False"]), public, "false").public) == 1


def test_rows_of_no_split_are_counted_and_said():
    found = split_corpus(corpus(["train", None, "test", "", "train", " "]), "train", "test")
    assert (len(found.public), len(found.private)) == (2, 1)
    assert found.notes == ["3 of 6 rows are in no split, and are not used."]
