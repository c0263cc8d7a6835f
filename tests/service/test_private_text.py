"""How many prompts of a document are attacked is fixed before any document's length is seen."""

from types import SimpleNamespace

import pytest

from del_audit.service.assets import _say_unlabelled
from del_audit.service.private_text import attacked_prompts, attacked_rounds
from mechanisms.errors import UserError


def held(private):
    """Assets of these private documents, each of a unit of its own."""
    return SimpleNamespace(private=private, private_groups=[str(number) for number in range(len(private))])


@pytest.mark.parametrize(
    ("documents", "tokens", "expected"), [(100, 1, 1), (100, 4_000, 1), (100, 4_001, 2), (3, 1_000, 9), (1, 40, 1)]
)
def test_rounds_are_what_the_tokens_would_take_of_documents_that_are_long_enough(documents, tokens, expected):
    assert attacked_rounds(documents, tokens, 40) == expected


@pytest.mark.parametrize("arguments", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_rounds_refuse(arguments):
    with pytest.raises(UserError, match=r"Expected \w+ >= 1, got \w+=0"):
        attacked_rounds(*arguments)


def test_no_document_has_more_than_its_rounds():
    lengths = [5, 12, 100, 0, 10]
    assets = held([[number] * length for number, length in enumerate(lengths)])
    found = attacked_prompts(assets, 60, 10)  # two rounds of five documents: 100 tokens, were all long
    assert found.units == [0, 1, 2, 4, 1, 2]
    assert [len(prompt) for prompt in found.prompts] == [5, 10, 10, 10, 2, 10]
    assert (
        max(found.units.count(number) for number in range(5)) == attacked_rounds(5, 60, 10) == found.prompts_each == 2
    )
    assert (found.longest, found.tokens, len(found)) == (20, 47, 6)


def test_tokens_are_as_many_as_were_asked_for_where_documents_are_long():
    assets = held([[number] * 100 for number in range(4)])
    found = attacked_prompts(assets, 95, 20)
    assert found.tokens == 95
    assert found.units == [0, 1, 2, 3, 0]
    assert attacked_prompts(held([]), 95, 20).prompts == []


def test_rows_without_a_label_are_counted_and_said(capsys):
    _say_unlabelled("condition", ["a", None, "b"], ["a", "b"])
    assert capsys.readouterr().err == (
        "del-audit: 1 of 3 public and 0 of 2 private rows have no condition, and are left out where it is measured.\n"
    )
    _say_unlabelled("condition", ["a"], ["b"])
    assert capsys.readouterr().err == ""
