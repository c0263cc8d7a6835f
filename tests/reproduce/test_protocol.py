"""The tables' descriptions and the split of public text."""

import numpy as np
import pytest

from del_audit.commands.reproduce import TABLE_NUMBERS
from del_audit.reproduce.bench import cut_samples, first_documents, part_attacked
from del_audit.reproduce.protocol import LENGTHS, PAPER, TABLES, Sizes
from mechanisms.assets import AssetRecord
from mechanisms.corpora import Corpus
from mechanisms.errors import UserError
from mechanisms.models import load_causal_lm

RECORD = AssetRecord("made up", "file", "", "0" * 64, "", "", "")


def corpus_of(texts, **columns):
    return Corpus(texts, {"text": texts, **columns}, RECORD)


def test_the_tables_are_those_of_the_command_and_the_paper():
    assert tuple(map(str, TABLES)) == TABLE_NUMBERS
    generation = PAPER["generation"]
    assert (generation.samples, generation.new_tokens, generation.virtual_tokens) == (200, 200, 100)
    assert (generation.pair_steps, generation.prompt_steps, generation.window) == (20_000, 4000, 1024)
    assert PAPER["pairs"].virtual_tokens == 20
    assert LENGTHS == {"wikitext2": (50, 100), "ptb": (20, 30)}
    assert {number for number, one in TABLES.items() if one.match == "asr"} == {1, 3, 4, 6}
    assert TABLES[1].targets == (0.02, 0.10, 0.15, 0.20)
    assert TABLES[7].targets == (40.0,)
    assert TABLES[8].dims == (32, 128)


def test_matched_epsilon_adds_what_the_paper_lacks():
    names = [row.name for row in TABLES[1].rows_for("epsilon")]
    assert names[:-4] == [row.name for row in TABLES[1].rows_for("asr")]
    assert names[-4:] == ["randomized response", "subset selection", "projective geometry", "coarse words"]
    assert [row.kind for row in TABLES[6].new_at_epsilon] == names[-4:]
    with pytest.raises(UserError, match="no mu"):
        TABLES[3].rows_for("mu")


def test_sizes_are_checked():
    with pytest.raises(UserError, match="prompt_steps >= 1"):
        Sizes(prompt_steps=0)


def test_attacked_tokens_are_in_no_document_that_is_left():
    documents = [[10 * index + place for place in range(7)] for index in range(40)]
    rest, attacked = part_attacked(documents, 50, 3)
    assert attacked.shape == (50,)
    assert not set(attacked.tolist()) & {token for document in rest for token in document}
    assert len(rest) == 40 - 8
    assert np.array_equal(part_attacked(documents, 50, 3)[1], attacked)
    assert not np.array_equal(part_attacked(documents, 50, 4)[1], attacked)
    with pytest.raises(UserError, match="at most half"):
        part_attacked(documents, 200, 3)


def test_samples_are_of_many_articles(model_folder):
    language = load_causal_lm(str(model_folder))
    lines = []
    for article in range(6):
        lines += [
            f"= Title {article} =",
            *(" ".join(f"word{article}" for _ in range(40)) for _ in range(5)),
            "too short",
        ]
    cuts = cut_samples(language, corpus_of(lines), None, "ptb", Sizes(samples=12, new_tokens=9), 0)
    assert len(cuts) == 12
    assert len(set(cuts.documents)) > 3
    assert all(len(row) == 9 for row in cuts.responses)
    text = language.tokenizer.decode(cuts.clean[0])
    assert len(text.split()) == 20
    own = corpus_of(["a " * 40] * 4, speech=["x", "x", "y", "y"])
    assert sorted(cut_samples(language, own, "speech", "ptb", Sizes(), 0).documents) == ["x", "x", "y", "y"]
    assert len(set(cut_samples(language, own, None, "ptb", Sizes(), 0).documents)) == 4


def test_first_documents_are_drawn_by_the_seed():
    corpus = corpus_of([str(index) for index in range(50)])
    some = first_documents(corpus, 10, 0).texts
    assert len(set(some)) == 10
    assert some != first_documents(corpus, 10, 1).texts
    assert first_documents(corpus, 99, 0).texts == corpus.texts
