"""Slices hold the tokens that their rule says, and the worst prompt's interval allows for its being the worst."""

import numpy as np
import pytest
from scipy import stats
from transformers import AutoTokenizer

from attacks.outcome import Outcome
from del_audit.evidence.intervals import clopper_pearson, clustered_rate
from del_audit.evidence.slices import (
    Slice,
    frequency_slices,
    measure_slice,
    name_spans,
    text_slices,
    token_texts,
    worst_prompt,
)
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator

RUNS = 2_000
PUBLIC = ["Doctors say that one tablet a day is enough, and that the pain on Mondays will go."]


def outcome_of(prompts, hits=None, documents=None, attack="attack"):
    """Returns the outcome of prompts of true tokens, of which the ones where hits are right."""
    truth = np.concatenate([np.asarray(prompt, dtype=np.int32) for prompt in prompts])
    right = np.zeros(len(truth), dtype=bool) if hits is None else np.asarray(hits)
    lengths = [len(prompt) for prompt in prompts]
    return Outcome(
        attack,
        1,
        3,
        tuple(map(str, range(len(prompts)) if documents is None else documents)),
        np.repeat(np.arange(len(prompts), dtype=np.int32), lengths),
        np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        truth,
        np.where(right, truth, truth + 1).astype(np.int32),
        right.astype(np.int32),
        np.zeros(len(truth), np.float32),
        np.where(right, 0.0, np.nan).astype(np.float32),
    )


@pytest.fixture(scope="module")
def tokenizer(tiny_lm_folder):
    return AutoTokenizer.from_pretrained(tiny_lm_folder)


def chosen_text(part, outcome, tokenizer):
    pieces = token_texts(tokenizer, outcome.truth.tolist())
    return [pieces[row] for row in np.flatnonzero(part.chosen)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Today I met Anna Berg. She knows Tom's sister; Lena is her name.", ["Anna", "Berg", "Tom's"]),
        ("We flew to Oslo on\nFriday, and “Nobody” saw O’Neil.", ["Oslo", "Nobody", "O’Neil"]),
        ("It was NOT good! And I'm told that the FDA says: Never.", []),
        ("so Monday it is, Émile", ["Émile"]),
        ("he said. “Then go, Ola”", ["Ola"]),
    ],
)
def test_names_follow_the_rule(text, names):
    assert [text[low:high] for low, high in name_spans(text, frozenset({"monday"}))] == names


def test_names_and_numbers_take_all_of_their_tokens(tokenizer):
    text = "The tablet that Annika Berg took was 250 mg, in 2019."
    outcome = outcome_of([tokenizer(text, add_special_tokens=False).input_ids])
    names, numbers = text_slices(outcome, tokenizer, PUBLIC)
    assert "".join(chosen_text(names, outcome, tokenizer)).replace(" ", "") == "AnnikaBerg"
    assert "".join(chosen_text(numbers, outcome, tokenizer)).replace(" ", "") == "2502019"
    assert names.chosen.sum() > 2  # a tiny vocabulary splits them


@pytest.mark.parametrize("text", ["Zoë’s café: 5 €, naïve 🙂 ok", "", "plain words", "🙂🙂 two"])
def test_token_texts_are_the_text(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False).input_ids
    pieces = token_texts(tokenizer, ids)
    assert "".join(pieces) == text
    assert len(pieces) == len(ids)


def test_token_texts_keep_the_spaces_of_word_pieces(tiny_bert_folder):
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert_folder)
    assert token_texts(tokenizer, tokenizer("a cat sat", add_special_tokens=False).input_ids) == ["a", " cat", " sat"]


def test_frequency_bands_follow_the_prior():
    prior = np.full(20_000, 1e-6)
    prior[5], prior[7], prior[9] = 0.5, 0.2, 0.1
    prior[10:300] = 1e-4
    first, second, third, rest, rare = frequency_slices(np.array([5, 7, 9, 10, 250, 299, 500, 19_999]), prior)
    assert first.name == "words 1 to 100"
    assert first.chosen.tolist() == [True] * 4 + [False] * 4
    assert second.chosen.tolist() == [False] * 4 + [True] * 3 + [False]
    assert not third.chosen.any()
    assert rest.chosen.tolist() == [False] * 7 + [True]
    assert rare.chosen.tolist() == [False] * 6 + [True] * 2
    assert np.sum([part.chosen for part in (first, second, third, rest)], axis=0).tolist() == [1] * 8


def test_a_small_vocabulary_has_fewer_bands():
    bands = frequency_slices(np.array([0, 199]), np.linspace(2, 1, 200) / 300)
    assert [part.name for part in bands] == ["words 1 to 100", "words 101 to 200", "rare words"]
    with pytest.raises(UserError, match=r"in 0\.\.199, got 0\.\.200"):
        frequency_slices(np.array([0, 200]), np.full(200, 1 / 200))


def test_a_slice_has_a_figure_beside_the_baseline():
    prompts = [[1] * 20] * 4
    hits = np.arange(80) % 4 == 0
    outcome, baseline = outcome_of(prompts, hits), outcome_of(prompts, attack="baseline")
    part = Slice("every second", "by position", np.arange(80) % 2 == 0)
    figure = measure_slice(part, outcome, baseline, seed=0)
    expected = clustered_rate(
        hits[part.chosen], outcome.clusters[part.chosen], "share of every second read", "tokens", 0
    )
    assert figure.success == expected
    assert (figure.success.value, figure.tokens, figure.documents) == (0.5, 40, 4)
    assert figure.baseline.value == 0
    assert figure.baseline.upper > 0


@pytest.mark.parametrize("chosen", [np.arange(80) < 29, np.arange(80) < 0])
def test_a_slice_of_too_few_tokens_says_so(chosen):
    outcome = outcome_of([[1] * 20] * 4)
    figure = measure_slice(Slice("few", "rule", chosen), outcome, outcome, seed=0)
    assert figure.success is None
    assert f"too few tokens: {chosen.sum()} of " in figure.why


def test_a_slice_of_one_document_says_so():
    outcome = outcome_of([[1] * 40, [1] * 40])
    figure = measure_slice(Slice("first", "rule", np.arange(80) < 40), outcome, outcome, seed=0)
    assert (figure.success, figure.documents) == (None, 1)


def test_slices_refuse(tokenizer):
    outcome = outcome_of([[1, 2], [3]])
    with pytest.raises(UserError, match="same prompts"):
        measure_slice(Slice("s", "r", np.ones(3, bool)), outcome, outcome_of([[1, 2], [4]]), seed=0)
    with pytest.raises(UserError, match="same prompts"):
        measure_slice(Slice("s", "r", np.ones(3, bool)), outcome, outcome_of([[1, 2], [3]], documents="aa"), seed=0)
    with pytest.raises(UserError, match="of 3 tokens"):
        measure_slice(Slice("s", "r", np.ones(2, bool)), outcome, outcome, seed=0)
    for kept in ([False, True, True], [False, True, False], [True, True, False], [False] * 3):
        with pytest.raises(UserError, match="whole prompts"):
            text_slices(outcome.where(np.array(kept)), tokenizer, PUBLIC)
    with pytest.raises(UserError, match="public text"):
        text_slices(outcome, tokenizer, ["..."])
    with pytest.raises(UserError, match="at least one token"):
        worst_prompt(outcome.where(np.zeros(3, bool)), context_free=True)
    with pytest.raises(UserError, match="confidence"):
        worst_prompt(outcome, context_free=True, confidence=1.0)


def test_the_worst_prompt_is_named_with_limits_for_the_largest():
    lengths, right = [50, 20, 40], [10, 9, 3]
    hits = np.concatenate([np.arange(n) < k for k, n in zip(right, lengths, strict=True)])
    figure = worst_prompt(outcome_of([[1] * n for n in lengths], hits), context_free=True)
    assert figure.value == 9 / 20
    assert figure.lower == pytest.approx(clopper_pearson(9, 20, 1 - 0.05 / 3)[0], rel=1e-12)
    assert figure.upper == pytest.approx(clopper_pearson(9, 20)[1], rel=1e-12)
    assert (figure.sample, figure.documents) == (3, 3)


def worst_coverage(rates, lengths, runs, context_free=True):
    """Returns how often the interval holds the largest of the prompts' true rates; rates: of each token, by prompt."""
    generator, covered = simulation_generator(4, "worst"), 0
    truth, prompts = max(np.mean(row) for row in rates), [[1] * n for n in lengths]
    flat = np.concatenate(rates)
    for _ in range(runs):
        if context_free:
            hits = generator.random(len(flat)) < flat
        else:  # a prompt is read as a whole or not at all
            hits = np.concatenate(
                [np.full(n, generator.random() < row[0]) for row, n in zip(rates, lengths, strict=True)]
            )
        figure = worst_prompt(outcome_of(prompts, hits), context_free)
        covered += figure.lower <= truth <= figure.upper
    return covered / runs


@pytest.mark.parametrize("unequal", [False, True])
@pytest.mark.parametrize("rate", [0.01, 0.13, 0.5, 0.97])
def test_the_worst_prompts_interval_covers(rate, unequal):
    lengths = [8, 16, 64] * 4
    spread = min(rate, 1 - rate) if unequal else 0.0
    rates = [rate + spread * np.where(np.arange(n) % 2, 1, -1) for n in lengths]
    assert worst_coverage(rates, lengths, 400) >= 0.95


def test_the_worst_prompts_interval_covers_in_full():
    lengths = [16, 32] * 6
    assert worst_coverage([np.full(n, 0.3) for n in lengths], lengths, RUNS) >= 0.95


def test_prompts_read_as_a_whole_need_the_wider_interval():
    lengths = [40, 40, 40, 40]
    rates = [np.full(40, 0.3)] * 4
    assert worst_coverage(rates, lengths, RUNS, context_free=False) >= 0.95


def test_the_worst_prompt_as_if_picked_beforehand_would_not_cover():
    generator, covered = simulation_generator(4, "picked"), 0
    for _ in range(400):
        largest = generator.binomial(32, 0.3, 60).max()
        low, high = clopper_pearson(int(largest), 32)
        covered += low <= 0.3 <= high
    assert covered / 400 < 0.5


def test_unequal_rates_are_covered_at_the_edge():
    """One certain token and one near it: the limit of one success of two must not exceed the union bound."""
    outcome = outcome_of([[1, 1]], [True, False])
    assert worst_prompt(outcome, context_free=True).lower == pytest.approx(0.025 / 2, rel=1e-12)
    assert clopper_pearson(1, 2)[0] > 0.025 / 2
    assert stats.binom.sf(0, 2, 0.025 / 2) < 0.025
