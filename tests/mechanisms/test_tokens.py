"""One tokenizing of texts: the tokens of each text alone, whatever is read together."""

import pytest
from transformers import AutoTokenizer

from mechanisms.tokens import tokenized

TEXTS = ["The pain was gone.", "", "naïve 東京", "a", "The pain was gone. " * 40, "\n\t", "b c"]


@pytest.fixture(scope="module")
def tokenizer(tiny_lm_folder):
    return AutoTokenizer.from_pretrained(tiny_lm_folder)


@pytest.fixture(scope="module")
def alone(tokenizer):
    return [list(tokenizer(text, add_special_tokens=False).input_ids) for text in TEXTS]


@pytest.mark.parametrize("batch", [1, 2, 3, 1000])
def test_each_text_is_read_as_if_alone(tokenizer, alone, batch):
    assert tokenized(tokenizer, TEXTS, batch=batch) == alone
    assert tokenized(tokenizer, iter(TEXTS), batch=batch) == alone


def test_long_ones_are_cut_and_short_ones_left_out(tokenizer, alone):
    assert tokenized(tokenizer, TEXTS, limit=5) == [row[:5] for row in alone]
    assert tokenized(tokenizer, TEXTS, shortest=1) == [row for row in alone if row]
    assert tokenized(tokenizer, TEXTS, limit=2, shortest=4) == [row[:2] for row in alone if len(row) >= 4]


def test_no_texts_have_no_tokens(tokenizer):
    assert tokenized(tokenizer, []) == []


def test_never_more_texts_than_a_batch_are_read_together(tokenizer):
    seen = []

    def spy(texts, **options):
        seen.append(len(texts))
        return tokenizer(texts, **options)

    tokenized(spy, (str(number) for number in range(2500)))
    assert seen == [1000, 1000, 500]
