"""Prompts are cut as asked, and another user's prompt is of another document."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from del_audit.service.prompts import Prompts, articles, cut_prompts, cut_words, strangers
from mechanisms.errors import UserError


class Words:
    """A tokenizer of one token a word: the word's length, and 1000 for a leading space."""

    def __call__(self, text, add_special_tokens):
        self.input_ids = [1000] * text.startswith(" ") + [len(word) for word in text.split()]
        return self


def test_one_prompt_a_document_meets_the_next_documents():
    assert strangers(range(5)) == [1, 2, 3, 4, 0]


@given(st.lists(st.integers(0, 6), min_size=2, max_size=40))
def test_another_users_prompt_is_of_another_document(clusters):
    if 2 * max(clusters.count(name) for name in clusters) > len(clusters):
        with pytest.raises(UserError, match="more than half"):
            strangers(clusters)
        return
    other = strangers(clusters)
    assert sorted(other) == list(range(len(clusters)))
    assert all(clusters[a] != clusters[b] for a, b in enumerate(other))


def test_windows_follow_each_other_and_documents_come_before_second_windows():
    documents = [list(range(10)), list(range(100, 104)), list(range(200, 213))]
    every = cut_prompts(documents, 2, 2, per_document=3, ids=["a", "b", "c"])
    assert every.clean == [[0, 1], [4, 5], [100, 101], [200, 201], [204, 205], [208, 209]]
    assert every.responses == [[2, 3], [6, 7], [102, 103], [202, 203], [206, 207], [210, 211]]
    assert every.documents == ["a", "a", "b", "c", "c", "c"]
    some = cut_prompts(documents, 2, 2, per_document=3, limit=4)
    assert some.documents == [0, 0, 1, 2]
    assert cut_prompts(documents, 4, 8).documents == [2]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"prompt_tokens": 0}, "prompt_tokens=0"),
        ({"response_tokens": 0}, "response_tokens=0"),
        ({"per_document": 0}, "per_document=0"),
        ({"limit": 0}, "limit=0"),
        ({"response_tokens": 9}, "document of 10 tokens or more, got 2 shorter"),
        ({"ids": ["a"]}, "one id for each of 2"),
    ],
)
def test_cut_prompts_refuses(changed, named):
    arguments = {"prompt_tokens": 1, "response_tokens": 1, **changed}
    with pytest.raises(UserError, match=named):
        cut_prompts([[1, 2, 3], [4, 5]], **arguments)


def test_words_are_cut_as_the_paper_does():
    texts = ["a bb ccc dddd eeeee", "a bb", "a a a bb bb"]
    cuts = cut_words(Words(), texts, prompt_words=2, minimum_words=5, response_tokens=3, ids=["x", "y", "z"])
    assert cuts.clean == [[1, 2], [1, 1]]
    assert cuts.responses == [[1000, 3, 4], [1000, 1, 2]]
    assert cuts.documents == ["x", "z"]
    assert len(cut_words(Words(), texts, 2, 5, 3, limit=1)) == 1
    same = cut_words(Words(), texts, 2, 5, 3, ids=["x", "y", "x"])
    assert (same.documents, same.per_document) == (["x"], 1)
    assert len(cut_words(Words(), texts, 2, 5, 3, ids=["x", "y", "x"], per_document=2)) == 2


@pytest.mark.parametrize(("words", "minimum", "response"), [(0, 5, 1), (5, 5, 1), (2, 5, 0), (2, 50, 1)])
def test_cut_words_refuses(words, minimum, response):
    with pytest.raises(UserError, match="Expected"):
        cut_words(Words(), ["a b c d e"], words, minimum, response)


def test_wikitext_headings_open_articles():
    lines = [" \n", " = Valkyria = \n", "", " first \n", " \n", " = = Plot = = \n", "", " = G ; A = \n", " x \n"]
    lines += [" ", " = B = \n", "\n", " third = = \n"]
    assert articles(lines) == (["first", "= G ; A =", "x", "third = ="], [0, 0, 0, 1])
    without = [line for line in lines if line.strip()]
    assert articles(without) == (["first", "x", "third = ="], [0, 1, 2])
    assert articles([]) == ([], [])


def test_released_prompts_keep_their_documents():
    cuts = cut_prompts([[1, 2, 3], [4, 5, 6]], 2, 1)
    prompts = cuts.released(bytes)
    assert prompts.messages == [b"\1\2", b"\4\5"]
    assert prompts.clusters == [0, 1]
    assert prompts.first(1).clusters == [0]
    assert len(prompts) == 2
    assert Prompts(prompts.messages, prompts.clean, prompts.responses).clusters == [0, 1]


def test_the_sample_is_named_by_its_text_and_documents_not_by_the_messages():
    clean, responses = [[1], [2]], [[3], [4]]
    one = Prompts([b"a", b"b"], clean, responses, ["x", "y"])
    assert one.sample == Prompts([b"c", b"d"], clean, responses, ["p", "q"]).sample
    assert one.sample != Prompts([b"a", b"b"], clean, responses, ["x", "x"]).sample
    assert one.sample != Prompts([b"a", b"b"], clean, [[3], [5]], ["x", "y"]).sample


def test_prompts_refuse_lists_of_different_lengths():
    with pytest.raises(UserError, match="as many"):
        Prompts([b"a"], [[1], [2]], [[3]])
