"""What counts as recovered up to meaning: the token, another form of its word, and its neighbours; never less."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from attacks.outcome import Outcome
from attacks.ranking import Guesses
from del_audit.evidence.inversion.leakage import measure_leakage
from del_audit.evidence.inversion.meaning import NEIGHBOURS, SHARE_MEANT, Meaning, lemma, neighbours
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

TEXTS = (" runs", " running", " ran", " walks", "ning", " run", " 42", " 43", "Runs", ".", " dog", " Dogs", "n't")
ID = {text: number for number, text in enumerate(TEXTS)}
WORDS = len(TEXTS) * (1 + NEIGHBOURS)
"""Each text has NEIGHBOURS words of its own beside it in the table, which stand after all texts."""


def near(text, which):
    return len(TEXTS) + ID[text] * NEIGHBOURS + which


def table():
    """Each text points its own way, far from the origin, with its neighbours close to it."""
    rng, own = np.random.default_rng(0), np.eye(len(TEXTS))
    beside = np.repeat(own, NEIGHBOURS, axis=0) + rng.normal(0, 0.01, (len(TEXTS) * NEIGHBOURS, len(TEXTS)))
    return (10 + np.concatenate([own, beside])).astype(np.float32)


@pytest.fixture(scope="module")
def meaning():
    names = [text.replace(" ", "Ġ") for text in TEXTS]
    vocabulary = {name: number for number, name in enumerate([*names, *(f"x{i}" for i in range(WORDS - len(names)))])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="."))
    made.decoder = decoders.ByteLevel()
    return Meaning(table(), PreTrainedTokenizerFast(tokenizer_object=made))


class Named:
    name, version, context_free = "MAP", 1, True


def outcome(truths, guesses):
    """Returns the outcome of one guess per token of each prompt."""
    words = [Guesses(np.array(row, np.int32)[:, None], np.zeros((len(row), 1), np.float32)) for row in guesses]
    return Outcome.of(Named(), words, truths)


def recovered(meaning, prompt, *guesses):
    """Returns for each word of a prompt whether its guess counts."""
    truths = [ID[text] for text in prompt]
    return meaning.recovered([outcome([truths], [guesses])])[0].tolist()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("running", "runs"),
        (" ran", "Run"),
        ("mice", "mouse"),
        ("were", "is"),
        ("better", "good"),
        ("Tablets", "tablet"),
    ],
)
def test_forms_of_one_word_have_one_lemma(one, other):
    assert lemma(one) == lemma(other) is not None


@pytest.mark.parametrize(("one", "other"), [("pain", "paint"), ("doctor", "nurse"), ("run", "walk")])
def test_other_words_have_another(one, other):
    assert lemma(one) != lemma(other)


@pytest.mark.parametrize("text", ["", " ", " 42", "4th", ".", "n't", "a_b", "two words", "##ing", "\ufffd"])
def test_what_is_not_one_word_has_none(text):
    assert lemma(text) is None


def test_another_form_counts_whatever_its_case_and_space(meaning):
    prompt = (" runs", " dog", ".")
    assert recovered(meaning, prompt, ID[" running"], ID[" Dogs"], ID["."]) == [True, True, True]
    assert recovered(meaning, prompt, ID["Runs"], ID[" walks"], ID[" dog"]) == [True, False, False]


def test_a_true_piece_of_a_word_counts_by_itself_and_its_neighbours_alone(meaning):
    """In "run" + "ning" the first piece is no word; in "run dog" it is."""
    assert recovered(meaning, (" run", "ning"), ID[" runs"], ID["ning"]) == [False, True]
    assert recovered(meaning, (" run", " dog"), ID[" runs"], ID[" dog"]) == [True, True]
    assert recovered(meaning, (" run", "ning"), near(" run", 3), near("ning", 9)) == [True, True]


def test_numbers_and_punctuation_have_neighbours_alone(meaning):
    assert recovered(meaning, (" 42", "."), ID[" 43"], ID["n't"]) == [False, False]
    assert recovered(meaning, (" 42", "."), near(" 42", 0), near(".", 0)) == [True, True]
    assert recovered(meaning, (" 42", "."), near(" 43", 0), near(" dog", 0)) == [False, False]


def test_the_neighbours_are_those_of_the_true_word(meaning):
    """b may be among a's nearest without a being among b's: only the first counts."""
    true = near(" dog", 0)
    rows = meaning.table - meaning.table.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    nearest = set(np.argsort(-(rows @ rows[true]))[1 : NEIGHBOURS + 1].tolist())
    found = meaning.recovered([outcome([[true]], [[guess]]) for guess in range(WORDS)])
    assert {guess for guess, hit in enumerate(found) if hit[0]} == nearest | {true}


def test_neighbours_are_by_angle_from_the_mean_of_the_table():
    """Seen from the origin all four are one direction; from their mean, 2 is beside 0 and 1 opposite."""
    rows = np.array([[100, 1], [101, -1], [110, 11], [89, -11]], np.float32)
    assert neighbours(rows, np.array([0, 2]), 1).tolist() == [[2], [0]]
    assert sorted(neighbours(rows, np.array([0]), 10)[0].tolist()) == [1, 2, 3]
    with pytest.raises(UserError, match="count >= 1"):
        neighbours(rows, np.array([0]), 0)


@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([1, 4_000, 1 << 27]))
def test_neighbours_are_those_of_the_whole_matrix_whatever_the_memory(seed, count, memory):
    rows = np.random.default_rng(seed).normal(3, 1, (40, 6)).astype(np.float32)
    words = np.random.default_rng(seed + 1).permutation(40)[:9]
    centred = rows.astype(np.float64) - rows.astype(np.float64).mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    cosines = centred @ centred.T
    found = neighbours(rows, words, count, memory)
    assert found.shape == (9, count)
    for word, row in zip(words, found, strict=True):
        assert word not in row
        assert len(set(row.tolist())) == count
        others = np.delete(cosines[word], [word, *row])
        assert cosines[word, row].min() >= others.max() - 1e-5


def test_a_row_that_is_the_mean_is_near_nothing_and_breaks_nothing():
    rows = np.array([[1, 0], [-1, 0], [0, 0], [2, 0.1], [-2, -0.1]], np.float32)
    assert neighbours(rows, np.array([0]), 1).tolist() == [[3]]
    assert np.isfinite(neighbours(rows, np.array([2]), 2)).all()


prompts = st.lists(st.lists(st.integers(0, WORDS - 1), min_size=2, max_size=6), min_size=1, max_size=4)


@given(prompts, st.randoms(use_true_random=False))
def test_up_to_meaning_is_never_less_than_exactly_and_each_prompt_is_judged_alone(meaning, truths, random):
    guesses = [[random.choice([word, random.randrange(WORDS)]) for word in row] for row in truths]
    one, other = outcome(truths, guesses), outcome(truths[::-1], guesses[::-1])
    found, turned = meaning.recovered([one, other])
    assert (found >= one.hits).all()
    assert found.sum() == turned.sum()
    assert (one.hits == outcome(truths, guesses).hits).all()


def test_an_outcome_that_lacks_tokens_of_its_prompts_is_refused(meaning):
    whole = outcome([[ID[" run"], ID["ning"]]], [[0, 0]])
    with pytest.raises(UserError, match="whole prompts"):
        meaning.recovered([whole.where(np.array([False, True]))])


def test_the_figure_stands_beside_the_exact_one_with_an_interval_of_the_same_kind(meaning):
    rng = np.random.default_rng(1)
    truths = [rng.integers(0, len(TEXTS), 12).tolist() for _ in range(30)]
    guesses = [[word if rng.random() < 0.3 else near(TEXTS[word], 0) for word in row] for row in truths]
    ran = {"map": (Named(), outcome(truths, guesses)), "baseline": (Named(), outcome(truths, [[0] * 12] * 30))}
    spec, prior = QuantizerSpec(bits=2, dim=2, clip=0.05, scale=0.5), np.full(WORDS, 1 / WORDS)
    plain = measure_leakage(ran, spec, prior, 0, longest=12)
    found = measure_leakage(ran, spec, prior, 0, longest=12, meaning=meaning)
    assert [each.meaning for each in plain.attacks] == [None, None]
    assert [each.success for each in plain.attacks] == [each.success for each in found.attacks]  # the same draws
    attack, baseline = found.attacks
    assert attack.meaning.value == 1 > attack.success.value
    assert (attack.meaning.unit, attack.meaning.method) == (SHARE_MEANT, attack.success.method)
    assert (attack.meaning.sample, attack.meaning.documents) == (360, 30)
    assert attack.success.value < attack.meaning_above <= attack.meaning.lower < 1
    forms = np.isin(np.concatenate(truths), [ID[text] for text in (" runs", " running", " ran", " run", "Runs")])
    assert baseline.success.value < baseline.meaning.value <= forms.mean()
