import numpy as np
import pytest

from mechanisms.assets import AssetRecord
from mechanisms.corpora import Corpus
from mechanisms.errors import UserError
from mechanisms.nlu import LabelledTokens, label_corpus, label_tokens

FIRSTS = ["the pain was gone", "I could not sleep", "it did not work", "my skin was clear"]
SECONDS = ["no pain at all", "a good night", "it worked", "dry mouth"]
LABELS = ["1", "0", "0", "1"]
LIMITS = {"context_tokens": 256, "virtual_tokens": 20}


@pytest.fixture(scope="module")
def ids(own_language):
    return lambda text: tuple(own_language.tokenizer(text, add_special_tokens=False).input_ids)


@pytest.fixture(scope="module")
def label(own_language):
    def call(texts=FIRSTS, labels=LABELS, **options):
        return label_tokens(own_language.tokenizer, texts, labels, **{**LIMITS, **options})

    return call


def test_a_pair_is_its_texts_with_the_separator_between(label, ids):
    built = label(pairs=SECONDS, separator=" - ")
    assert built.tokens == tuple(ids(a) + ids(" - ") + ids(b) for a, b in zip(FIRSTS, SECONDS, strict=True))
    assert built.classes == ("0", "1")
    assert built.labels.tolist() == [1, 0, 0, 1]
    assert built.labels.dtype == np.int64


def test_a_single_text_has_no_separator(label, ids):
    assert label().tokens == tuple(map(ids, FIRSTS))


def test_numbers_are_labels_too_and_the_training_classes_can_be_given(label):
    assert label(labels=[7, 3, 3, 7]).classes == ("3", "7")
    built = label(labels=["b", "b", "a", "a"], classes=("c", "b", "a"))
    assert built.classes == ("c", "b", "a")
    assert built.labels.tolist() == [1, 1, 2, 2]


def test_the_longest_example_just_fits_with_the_virtual_tokens(label, ids):
    longest = max(len(ids(text)) for text in FIRSTS)
    assert len(label(context_tokens=longest + 20)) == 4
    row = max(range(4), key=lambda index: len(ids(FIRSTS[index])))
    with pytest.raises(
        UserError, match=f"at most {longest - 1} tokens, .* less 20 virtual tokens, got {longest} in row {row}"
    ):
        label(context_tokens=longest + 19)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["1"] * 4}, "two classes or more, got 1"),
        ({"labels": ["1", "0", None, "1"]}, "got none in row 2"),
        ({"labels": ["1", "0"]}, "one label a text"),
        ({"pairs": SECONDS[:3]}, "one label a text"),
        ({"texts": ["a", " \n", "b", "c"]}, "got ' \\\\n' in row 1"),
        ({"pairs": ["a", "b", None, "c"]}, "got None in row 2"),
        ({"pairs": SECONDS, "separator": ""}, "separator to be at least one token"),
        ({"classes": ("0", "2")}, "labels among 0, 2, got '1'"),
        ({"texts": [], "labels": []}, "two classes or more, got none"),
    ],
)
def test_bad_examples_are_refused(label, options, message):
    with pytest.raises(UserError, match=message):
        label(**options)


def test_a_corpus_gives_its_columns(own_language, label):
    record = AssetRecord("here", "file", "", "", "", "", "")
    corpus = Corpus(FIRSTS, {"text": FIRSTS, "other": SECONDS, "same": LABELS}, record)
    built = label_corpus(own_language.tokenizer, corpus, "same", pair_column="other", **LIMITS)
    assert built.tokens == label(pairs=SECONDS).tokens
    assert label_corpus(own_language.tokenizer, corpus, "same", text_column="other", **LIMITS).tokens == (
        label(texts=SECONDS).tokens
    )
    with pytest.raises(UserError, match="column of 'here'"):
        label_corpus(own_language.tokenizer, corpus, "absent", **LIMITS)


def test_parts_are_disjoint_and_keep_each_class(make_task):
    whole = make_task(50, 0)
    left, aside = whole.parted(0.2, seed=3)
    assert len(left) == 40
    assert len(aside) == 10
    assert np.bincount(aside.labels).tolist() == [5, 5]
    paired = sorted(zip([*left.tokens, *aside.tokens], [*left.labels, *aside.labels], strict=True))
    assert paired == sorted(zip(whole.tokens, whole.labels, strict=True))
    assert whole.parted(0.2, seed=3)[1].tokens == aside.tokens
    assert whole.parted(0.2, seed=4)[1].tokens != aside.tokens


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_both_parts_have_every_class_at_extreme_shares(make_task, share):
    for part in make_task(6, 0).parted(share, seed=0):
        assert set(part.labels.tolist()) == {0, 1}


def test_impossible_parts_are_refused(make_task):
    for share in (0.0, 1.0, -1.0):
        with pytest.raises(UserError, match="share in"):
            make_task(6, 0).parted(share, seed=0)
    lonely = LabelledTokens(((1,), (2,), (3,)), np.array([0, 0, 1]), ("many", "one"))
    with pytest.raises(UserError, match="two examples or more of class 'one', got 1"):
        lonely.parted(0.5, seed=0)
